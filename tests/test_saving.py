from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from palate import saving
from palate.errors import SavedFolderError
from palate.saving import load_folder, restore_folder, save_folder, write_json, writing_folder


def save(path: Path, number: float, **more: object) -> Path:
    return save_folder(
        path,
        kind="thing",
        name="one",
        documents={"numbers": {"a": number, "b": float("nan")}},
        tensors={"weights": {"w": torch.full((3,), number)}},
        **more,  # type: ignore[arg-type]
    )


def test_a_round_trip(tmp_path):
    save(tmp_path / "x", 2.5, arrays={"more": {"v": np.arange(3)}}, texts={"CARD.md": "hello"}, facts={"step": 7})
    found = load_folder(tmp_path / "x", kind="thing")
    assert found.document("numbers") == {"a": 2.5, "b": None}
    assert found.tensors("weights")["w"].tolist() == [2.5] * 3
    assert found.arrays("more")["v"].tolist() == [0, 1, 2]
    assert (found.name, found.facts) == ("one", {"step": 7})
    assert sorted(os.listdir(tmp_path)) == ["x"]


def test_tied_and_overlapping_tensors_are_written_apart(tmp_path):
    table = nn.Embedding(4, 2)
    whole = torch.arange(6.0)
    tensors = {"m": {"a": table.weight, "b": table.weight, "whole": whole, "part": whole[:4]}}
    save_folder(tmp_path / "x", kind="thing", name="one", tensors=tensors)
    found = load_folder(tmp_path / "x").tensors("m")
    assert torch.equal(found["a"], table.weight)
    assert torch.equal(found["b"], table.weight)
    assert found["part"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_failing_writer_leaves_the_old_folder_alone(tmp_path):
    save(tmp_path / "x", 1.0)

    def fail_halfway() -> None:
        with writing_folder(tmp_path / "x") as folder:
            (folder / "half").write_text("h")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        fail_halfway()
    assert load_folder(tmp_path / "x").document("numbers")["a"] == 1.0
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("broken_rename", [1, 2])
def test_an_error_between_the_two_renames_puts_the_old_folder_back(tmp_path, monkeypatch, broken_rename):
    save(tmp_path / "x", 1.0)
    rename, calls = Path.rename, []

    def breaking(self, target):
        calls.append(target)
        if len(calls) == broken_rename:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", breaking)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "x", 2.0)
    # No reader has come by to repair it.
    assert json.loads((tmp_path / "x" / "numbers.json").read_text())["a"] == 1.0
    assert os.listdir(tmp_path) == ["x"]


def test_a_death_between_the_two_renames_is_repaired_by_the_next_reader_or_writer(tmp_path):
    for repair in (lambda: load_folder(tmp_path / "x"), lambda: restore_folder(tmp_path / "x")):
        save(tmp_path / "x", 1.0)
        (tmp_path / "x").rename(tmp_path / ".x.previous")
        repair()
        assert load_folder(tmp_path / "x").document("numbers")["a"] == 1.0
    (tmp_path / "x").rename(tmp_path / ".x.previous")
    save(tmp_path / "x", 3.0)
    assert load_folder(tmp_path / "x").document("numbers")["a"] == 3.0
    assert os.listdir(tmp_path) == ["x"]


def test_the_parent_is_on_disk_before_the_previous_folder_goes(tmp_path, monkeypatch):
    events: list[str] = []
    save(tmp_path / "x", 1.0)
    sync, rmtree = saving._sync, saving.shutil.rmtree
    monkeypatch.setattr(saving, "_sync", lambda path: (events.append(f"sync {path.name}"), sync(path))[1])
    monkeypatch.setattr(
        saving.shutil, "rmtree", lambda path, **k: (events.append(f"remove {Path(path).name}"), rmtree(path, **k))[1]
    )
    save(tmp_path / "x", 2.0)
    assert events[-2:] == [f"sync {tmp_path.name}", "remove .x.previous"]


def test_altered_lost_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(SavedFolderError, match="does not exist"):
        load_folder(tmp_path / "nothing")
    (tmp_path / "plain").mkdir()
    with pytest.raises(SavedFolderError, match=r"palate\.json is missing"):
        load_folder(tmp_path / "plain")
    save(tmp_path / "x", 1.0)
    with pytest.raises(SavedFolderError, match='holds a "thing"; a "recommender" is expected'):
        load_folder(tmp_path / "x", kind="recommender")
    file = tmp_path / "x" / "weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(SavedFolderError, match="altered or cut short"):
        load_folder(tmp_path / "x")
    file.unlink()
    with pytest.raises(SavedFolderError, match='lost its part "weights.safetensors"'):
        load_folder(tmp_path / "x")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "x"}', "\ufffd", '{"format": 1, "kind": 2, "files": 3}']
)
def test_a_broken_manifest_is_one_clear_error(tmp_path, content):
    save(tmp_path / "x", 1.0)
    (tmp_path / "x" / "palate.json").write_text(content)
    with pytest.raises(SavedFolderError, match="cannot be read"):
        load_folder(tmp_path / "x")


def test_a_newer_format_says_to_update(tmp_path):
    save(tmp_path / "x", 1.0)
    manifest = json.loads((tmp_path / "x" / "palate.json").read_text())
    (tmp_path / "x" / "palate.json").write_text(json.dumps(manifest | {"format": saving.FORMAT + 1}))
    with pytest.raises(SavedFolderError, match="Update Palate"):
        load_folder(tmp_path / "x")


def test_a_part_outside_the_folder_is_refused(tmp_path):
    save(tmp_path / "x", 1.0)
    (tmp_path / "secret").write_text("s")
    manifest = json.loads((tmp_path / "x" / "palate.json").read_text())
    manifest["files"]["../secret"] = "0"
    (tmp_path / "x" / "palate.json").write_text(json.dumps(manifest))
    with pytest.raises(SavedFolderError, match="lost its part"):
        load_folder(tmp_path / "x")


def test_json_is_written_at_once(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"x": [1.5, float("inf")]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1.5, None]}
    monkeypatch.setattr(saving.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_json(tmp_path / "a.json", {"x": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1.5, None]}
    assert os.listdir(tmp_path) == ["a.json"]
