"""States on disk: whole or not there, never another user's, and gone back to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.device.device_model import DeviceModel
from palate.device.device_state import DeviceState
from palate.device.runtime import DeviceRuntime
from palate.device.state_file import OtherModelError, pack_state, unpack_state
from palate.device.state_folder import StateFolder
from palate.errors import ConfigError, SavedFolderError


@pytest.fixture(scope="module")
def opened(export: Path) -> DeviceModel:
    return DeviceModel.open(export)


@pytest.fixture
def folder(opened: DeviceModel, tmp_path: Path) -> Iterator[StateFolder]:
    with StateFolder(tmp_path / "states", opened.manifest, keep=4) as states:
        yield states


def walked(opened: DeviceModel, *items: int) -> DeviceState:
    state = opened.initial()
    for item in items:
        state = opened.after(state, item)
    return state


def assert_same(one: DeviceState | None, two: DeviceState) -> None:
    assert one is not None
    for name, array in one.to_arrays().items():
        np.testing.assert_array_equal(array, two.to_arrays()[name])


def files(states: StateFolder) -> list[Path]:
    return sorted(states.path.glob("*/*.state"))


def test_what_was_saved_comes_back_bit_for_bit(folder: StateFolder, opened: DeviceModel) -> None:
    assert folder.load("ann") is None
    state = walked(opened, 3, 1, 4)
    folder.save("ann", state)
    assert_same(folder.load("ann"), state)
    assert folder.nbytes("ann") == files(folder)[0].stat().st_size


def test_the_file_does_not_grow_with_the_clicks(folder: StateFolder, opened: DeviceModel) -> None:
    sizes = set()
    state = opened.initial()
    for click in range(60):
        state = opened.after(state, 1 + click % 50)
        folder.save("ann", state)
        sizes.add(folder.nbytes("ann"))
    assert len(sizes) == 1
    assert len(files(folder)) == 4


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", "ANN", 7, "../7", ""]), st.integers(1, 300)), max_size=12))
def test_users_never_mix(export: Path, tmp_path_factory: Any, clicks: list[tuple[str | int, int]]) -> None:
    path, alone = tmp_path_factory.mktemp("mixed"), {}
    with DeviceRuntime(export, path, verify=False) as device:
        for user, item in clicks:
            device.click(user, 1000 + item)
            alone.setdefault(user, []).append(item)
        for user in ("ann", "bob", "ANN", 7, "../7", ""):
            assert_same(device.state(user), walked(device.model, *alone.get(user, [])))
    assert {file.parent for file in path.rglob("*")} <= {path, *path.iterdir()}  # no name left the folder


def test_a_copied_state_is_not_taken_for_another_users(folder: StateFolder, opened: DeviceModel) -> None:
    folder.save("ann", walked(opened, 3))
    folder.save("bob", walked(opened, 4, 5))
    one, two = (next(file for file in files(folder) if file.stem.endswith(count)) for count in "12")
    two.with_name("000000000000009.state").write_bytes(one.read_bytes())
    assert_same(folder.load("bob"), walked(opened, 4, 5))
    two.unlink()
    with pytest.raises(SavedFolderError, match="another user"):
        folder.load("bob")


def test_names_of_users_are_not_written_down(folder: StateFolder, opened: DeviceModel) -> None:
    folder.save("ann.smith@example.org", walked(opened, 3))
    for path in folder.path.rglob("*"):
        assert "ann" not in path.name
        assert path.is_dir() or b"smith" not in path.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
def test_a_damaged_state_is_passed_over_for_the_one_before(
    folder: StateFolder, opened: DeviceModel, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.save("ann", walked(opened, 3))
    folder.save("ann", walked(opened, 3, 1))
    last = files(folder)[-1]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"cut": content[:-1], "empty": b"", "flipped": content, "other": b"[1, 2, 3]" * 99}[damage])
    assert_same(folder.load("ann"), walked(opened, 3))
    assert "passed over" in caplog.text
    folder.save("ann", walked(opened, 3, 9))  # and life goes on
    assert_same(folder.load("ann"), walked(opened, 3, 9))
    for file in files(folder):
        file.write_bytes(b"")
    with pytest.raises(SavedFolderError, match="None of the 2 states"):
        folder.load("ann")


@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    arrays = {"seen": np.array([3], np.int64), "user": np.arange(4, dtype=np.float32)}
    content = pack_state(arrays, user="a" * 32, model_version="v")
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    for hostile in (bytes(changed), content[:place], content + b"x"):
        with pytest.raises(SavedFolderError):
            unpack_state(hostile, user="a" * 32, model_version="v")
    assert unpack_state(content, user="a" * 32, model_version="v")["seen"] == 3


@given(st.binary(max_size=200))
def test_a_body_that_only_looks_whole_is_refused(body: bytes) -> None:
    import hashlib
    import struct

    content = struct.pack("<4sI32s", b"PLTS", 1, hashlib.sha256(body).digest()) + body
    with pytest.raises(SavedFolderError):
        unpack_state(content, user="a", model_version="v")


def test_a_newer_format_says_so() -> None:
    content = pack_state({"seen": np.array([1])}, user="a", model_version="v")
    with pytest.raises(SavedFolderError, match=r"format 2.*Update Palate"):
        unpack_state(content[:4] + b"\x02\0\0\0" + content[8:], user="a", model_version="v")


def test_a_state_of_another_model_is_refused_and_kept(folder: StateFolder, opened: DeviceModel) -> None:
    folder.save("ann", walked(opened, 3))
    folder.close()
    other = opened.manifest.replace(model_version="another")
    with StateFolder(folder.path, other) as states:
        with pytest.raises(OtherModelError, match="Forget the user"):
            states.load("ann")
        assert len(files(states)) == 1
        states.forget("ann")
        assert states.load("ann") is None


def test_arrays_of_another_shape_are_refused(opened: DeviceModel) -> None:
    arrays = walked(opened, 3).to_arrays()
    for broken in ({**arrays, "user": arrays["user"][:-1]}, {**arrays, "seen": np.array([1.0])}, {}):
        with pytest.raises(SavedFolderError, match="is expected"):
            DeviceState.from_arrays(broken, opened.manifest)


def test_clicks_can_be_undone_as_far_as_states_are_kept(folder: StateFolder, opened: DeviceModel) -> None:
    items = [3, 1, 4, 1, 5, 9]
    for count in range(1, 7):
        folder.save("ann", walked(opened, *items[:count]))
    with pytest.raises(ConfigError, match="6 were made and 3 can be gone back"):
        folder.rollback("ann", 4)
    with pytest.raises(ConfigError, match="0 clicks"):
        folder.rollback("ann", 0)
    assert_same(folder.rollback("ann", 2), walked(opened, *items[:4]))
    assert_same(folder.load("ann"), walked(opened, *items[:4]))
    folder.save("ann", walked(opened, *items[:4], 200))  # another way from there
    assert_same(folder.rollback("ann"), walked(opened, *items[:4]))


def test_the_first_click_can_be_undone(folder: StateFolder, opened: DeviceModel) -> None:
    folder.save("ann", walked(opened, 3))
    with pytest.raises(ConfigError, match="1 were made and 1 can be gone back"):
        folder.rollback("ann", 2)
    assert folder.rollback("ann") is None
    assert folder.load("ann") is None
    with pytest.raises(ConfigError, match="0 were made"):
        folder.rollback("bob")


def test_forgetting_leaves_nothing_of_one_user(folder: StateFolder, opened: DeviceModel) -> None:
    folder.save("ann", walked(opened, 3))
    folder.save("bob", walked(opened, 4))
    folder.forget("ann")
    folder.forget("nobody")
    assert folder.load("ann") is None
    assert_same(folder.load("bob"), walked(opened, 4))
    assert len(list(folder.path.iterdir())) == 2  # the lock and bob


def test_two_processes_do_not_share_a_folder(folder: StateFolder, opened: DeviceModel) -> None:
    with pytest.raises(SavedFolderError, match="in use by another process"):
        StateFolder(folder.path, opened.manifest)
    folder.close()
    StateFolder(folder.path, opened.manifest).close()
    with pytest.raises(ConfigError, match="keep is 0"):
        StateFolder(folder.path, opened.manifest, keep=0)


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "unlink"])
def test_a_fault_at_any_step_of_saving_leaves_a_good_state(
    folder: StateFolder, opened: DeviceModel, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in range(1, 5):
        folder.save("ann", walked(opened, *[3, 1, 4, 1][:count]))
    new = walked(opened, 3, 1, 4, 1, 5)

    def fault(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        if step == "write":
            patched.setattr("palate.device.state_folder.pack_state", lambda *_, **__: fault())
        elif step == "fsync":
            patched.setattr(os, "fsync", fault)
        else:
            patched.setattr(Path, step, fault)
        with pytest.raises(OSError, match="no space left"):
            folder.save("ann", new)
    left = folder.load("ann")
    assert_same(left, new if step == "unlink" else walked(opened, 3, 1, 4, 1))
    folder.save("ann", new)
    assert_same(folder.load("ann"), new)


CLICKING = """
    import sys
    from palate.device.runtime import DeviceRuntime
    with DeviceRuntime(sys.argv[1], sys.argv[2], verify=False) as device:
        print("ready", flush=True)
        for click in range(device.state("ann").seen, 100_000):
            device.click("ann", 1001 + click * 7 % 300)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_a_killed_process_leaves_the_last_good_state(
    export: Path, tmp_path: Path, opened: DeviceModel, kills: int
) -> None:
    rng, seen = np.random.default_rng(0), 0
    for _ in range(kills):
        script = [sys.executable, "-c", textwrap.dedent(CLICKING), str(export), str(tmp_path)]
        with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
            time.sleep(float(rng.uniform(0.02, 0.4)))
            process.send_signal(signal.SIGKILL)
        with StateFolder(tmp_path, opened.manifest) as states:
            state = states.load("ann") or opened.initial()
        assert state.seen >= seen
        seen = state.seen
    assert seen > 0
    assert_same(state, walked(opened, *(1 + click * 7 % 300 for click in range(seen))))


def test_the_kept_step_state_is_what_the_manifest_promises(exported: Callable[..., Path]) -> None:
    opened = DeviceModel.open(exported())
    assert opened.initial().upload().shape == (0, 16)
    assert walked(opened, *range(1, 8)).upload().shape == (7, 16)
    assert walked(opened, *([1] * 70)).upload().shape == (50, 16)
