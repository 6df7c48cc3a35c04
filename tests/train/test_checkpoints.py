from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest
import torch

from palate.errors import CheckpointError
from palate.train.checkpoints import CheckpointStore


def save(store: CheckpointStore, step: int):
    return store.save(
        step,
        name="Model",
        documents={"run": {"step": step}},
        tensors={"model": {"w": torch.full((4,), float(step))}},
        facts={"step": step},
    )


def names(store: CheckpointStore) -> list[str]:
    return sorted(os.listdir(store.folder))


def test_the_last_ones_stay(tmp_path):
    store = CheckpointStore(tmp_path / "run", keep=2)
    assert store.newest() is None
    for step in (5, 10, 15):
        assert save(store, step).name == f"checkpoint-{step:06d}"
    assert names(store) == ["checkpoint-000010", "checkpoint-000015"]
    newest = store.newest()
    assert newest is not None
    assert newest.facts["step"] == newest.document("run")["step"] == 15
    assert newest.tensors("model")["w"].tolist() == [15.0] * 4


def test_steps_are_ordered_as_numbers(tmp_path):
    store = CheckpointStore(tmp_path, keep=3)
    for step in (999_999, 1_000_000, 7_000_000):
        save(store, step)
    assert [path.name.split("-")[1] for path in store.paths()] == ["999999", "1000000", "7000000"]


def test_an_old_one_goes_only_after_the_new_one_is_there(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 1)
    drop, seen = store._drop, []
    monkeypatch.setattr(store, "_drop", lambda path: (seen.append(names(store)), drop(path)))
    save(store, 2)
    assert seen == [["checkpoint-000001", "checkpoint-000002"]]


def test_damaged_ones_are_skipped_and_then_replaced(tmp_path, caplog):
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3):
        save(store, step)
    (tmp_path / "checkpoint-000003" / "run.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        newest = store.newest()
    assert newest is not None
    assert newest.facts["step"] == 2
    assert "checkpoint-000003 is damaged and skipped" in caplog.text
    # Going on from 2 must not push 2 out in favour of the damaged 3.
    os.rename(tmp_path / "checkpoint-000003", tmp_path / "checkpoint-000009")
    save(store, 4)
    assert names(store) == ["checkpoint-000002", "checkpoint-000004"]


def test_when_none_can_be_read_it_says_so(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 1)
    (tmp_path / "checkpoint-000001" / "palate.json").unlink()
    with pytest.raises(CheckpointError, match=r"None of the checkpoints .* checkpoint-000001.*resume=False"):
        store.newest()


def test_cleaning_removes_what_a_kill_left_and_nothing_else(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 1)
    save(store, 2)
    (tmp_path / "checkpoint-000002").rename(tmp_path / ".checkpoint-000002.previous")
    for name in (
        ".checkpoint-000003.new-0123456789ab",
        ".checkpoint-000000.old-0123456789ab",
        ".checkpoint-000001.previous",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("h")
    for name in ("notes.txt", ".checkpoint-mine", "checkpoint-best"):
        (tmp_path / name).write_text("keep me")
    newest = store.newest()
    assert newest is not None
    assert newest.facts["step"] == 2
    store.clean()
    kept = [".checkpoint-mine", "checkpoint-000001", "checkpoint-000002", "checkpoint-best", "notes.txt"]
    assert names(store) == kept
    assert [path.name for path in store.paths()] == ["checkpoint-000001", "checkpoint-000002"]
    store.clear()
    assert names(store) == [".checkpoint-mine", "checkpoint-best", "notes.txt"]


# A process that imports torch once, then over and over: forks a child that saves in a loop and reports what it saved,
# kills it at a random moment, and reads what is on disk.
KILLER = """
import json, os, random, signal, struct, sys, time
import torch
from palate.train.checkpoints import CheckpointStore

torch.set_num_threads(1)
folder, kills = sys.argv[1], int(sys.argv[2])
choose = random.Random(7)


def victim(pipe):
    store = CheckpointStore(folder, keep=2)
    store.clean()
    found = store.newest()
    step = 0 if found is None else found.facts["step"]
    while True:
        step += 1
        # Twice: the second time replaces a folder, with its two renames.
        for _ in range(2):
            tensors = {part: {"w": torch.full((1 << 18,), float(step))} for part in ("model", "optimiser", "best")}
            store.save(step, name="Model", documents={"run": {"step": step}}, tensors=tensors, facts={"step": step})
            os.write(pipe, struct.pack("q", step))


last, landed = 0, {"writing": 0, "between": 0}
for trial in range(kills):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        victim(writer)
    os.close(writer)
    # Every third one is left until it has saved something, the others die anywhere, also while reading and cleaning.
    data = os.read(reader, 8) if trial % 3 == 0 else b""
    time.sleep(choose.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while chunk := os.read(reader, 1 << 16):
        data += chunk
    os.close(reader)
    if len(data) >= 8:
        last = struct.unpack("q", data[len(data) // 8 * 8 - 8 : len(data) // 8 * 8])[0]
    landed["writing" if any(".new-" in name for name in os.listdir(folder)) else "between"] += 1
    found = CheckpointStore(folder, keep=2).newest()
    step = 0 if found is None else found.facts["step"]
    assert step >= last, (trial, step, last)
    if found is not None:
        assert found.document("run")["step"] == step
        for part in ("model", "optimiser", "best"):
            assert bool((found.tensors(part)["w"] == step).all()), (trial, part)
CheckpointStore(folder, keep=2).clean()
print(json.dumps({"kills": kills, "last": last, "left": sorted(os.listdir(folder)), **landed}))
"""


def kill(folder, kills: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(folder), str(kills)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, object] = json.loads(done.stdout)
    return report


def check(report: dict[str, object], kills: int) -> None:
    assert report["kills"] == kills
    assert int(str(report["last"])) >= kills // 3, "the children got to save"
    assert int(str(report["writing"])) >= kills // 5, "the kills landed inside writes"
    left = report["left"]
    assert isinstance(left, list)
    assert 1 <= len(left) <= 3
    assert all(name.startswith("checkpoint-") for name in left), "cleaning leaves nothing half written"


def test_killed_at_random_moments_the_newest_checkpoint_is_whole(tmp_path):
    check(kill(tmp_path, 20), 20)


@pytest.mark.slow
def test_killed_two_hundred_times(tmp_path):
    check(kill(tmp_path, 200), 200)
