"""The device as an application uses it: clicks in, lists out, whatever the cloud does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palate.device.correction import Correction
from palate.device.correction_client import CorrectionClient
from palate.device.device_model import DeviceModel
from palate.device.runtime import DeviceRuntime
from palate.errors import ConfigError, NonFiniteError, SavedFolderError, UnknownItemError
from palate.next_item_recommender import NextItemRecommender
from palate.sequence.cocorrrec import CoCorrRec


@pytest.fixture
def device(export: Path, tmp_path: Path) -> Iterator[DeviceRuntime]:
    with DeviceRuntime(export, tmp_path / "states", verify=False) as opened:
        yield opened


def test_lists_are_the_recommenders_own(
    device: DeviceRuntime, recommender: NextItemRecommender, model: CoCorrRec
) -> None:
    model.lag = None
    for history in ([], ["Film 3"], ["Film 3", 1044, "film 9", "1100", "Film 3"]):
        device.forget("ann")
        for item in history:
            device.click("ann", item)
        for exclude in (True, False):
            mine = device.recommend("ann", 7, exclude_seen=exclude)
            theirs = recommender.recommend(history=history, k=7, exclude_seen=exclude)
            assert [(one.rank, one.item, one.title) for one in mine] == [(t.rank, t.item, t.title) for t in theirs]
            np.testing.assert_allclose([one.score for one in mine], [t.score for t in theirs], atol=1e-4, rtol=1e-4)
    model.lag = 0


def test_a_list_may_be_the_whole_catalogue_and_no_shorter_than_one(device: DeviceRuntime) -> None:
    device.click("ann", 1001)
    assert len(device.recommend("ann", 1000)) == 299
    assert len(device.recommend("ann", 1000, exclude_seen=False)) == 300
    with pytest.raises(ConfigError, match="k is 0"):
        device.recommend("ann", 0)


def test_an_unknown_item_changes_nothing(device: DeviceRuntime) -> None:
    device.click("ann", "Film 3")
    before = device.recommend("ann")
    with pytest.raises(UnknownItemError, match=r'"Flim 3" is not known[^$]*Did you mean "Film 3"'):
        device.click("ann", "Flim 3")
    assert device.state("ann").seen == 1
    assert device.recommend("ann") == before
    with pytest.raises(ConfigError, match="no item number 301"):
        device.model.after(device.state("ann"), 301)


def test_a_restart_goes_on_exactly(export: Path, device: DeviceRuntime, make: Any, model: CoCorrRec) -> None:
    cloud = make.cloud(model)
    for item in range(1001, 1008):
        device.click("ann", item)
        device.click("bob", item)
        if device.due("bob"):
            assert device.sync("bob", cloud) == "corrected"
    path = device.states.path
    device.close()
    with DeviceRuntime(export, path, verify=False) as again:
        assert again.correction("bob").active
        assert not again.correction("ann").active
        for user in ("ann", "bob"):
            assert again.state(user).seen == 7
        assert again.click("bob", 1050).user.tolist() != again.click("ann", 1050).user.tolist()
        assert cloud.asked == 1


def test_undoing_gives_the_same_list_again(device: DeviceRuntime) -> None:
    lists = [device.recommend("ann")]
    for item in range(1001, 1006):
        device.click("ann", item)
        lists.append(device.recommend("ann"))
    device.rollback("ann", 2)
    assert device.recommend("ann") == lists[3]
    device.rollback("ann", 3)
    assert device.recommend("ann") == lists[0]


def test_the_cloud_is_asked_as_often_as_in_training(device: DeviceRuntime) -> None:
    assert not device.due("ann")
    due = []
    for count in range(1, 12):
        device.click("ann", 1000 + count)
        if device.due("ann"):
            due.append(count)
    assert due == [5, 10]


def test_a_correction_holds_for_its_clicks_and_then_no_more(device: DeviceRuntime, make: Any, model: CoCorrRec) -> None:
    items = list(range(1001, 1013))
    plain = {}
    for count, item in enumerate(items, start=1):
        plain[count] = device.click("plain", item).user
    for count, item in enumerate(items, start=1):
        user = device.click("ann", item).user
        assert (np.abs(user - plain[count]).max() < 1e-7) == (not 6 <= count <= 10), count
        if count == 5:
            assert device.sync("ann", make.cloud(model, ttl_steps=5)) == "corrected"
            assert (device.correction("ann").made_at, device.correction("ann").clicks_left) == (5, 5)
    assert device.correction("ann").active is False
    assert device.correction("ann").clicks_left == 0


class Wrong:
    """A cloud that changes one thing of a right answer."""

    def __init__(self, cloud: Any, **changes: Any) -> None:
        self.cloud, self.changes = cloud, changes

    def request(self, hidden: np.ndarray, seq_no: int) -> Correction:
        return replace(self.cloud.request(hidden, seq_no), **self.changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seq_no": 3},
        {"attention_weight": float("nan")},
        {"bias": np.full((2, 5, 8), np.inf, np.float32)},
        {"attention": np.zeros((2, 5, 4), np.float32)},
        {"bias": np.zeros((2, 5, 8), np.float64)},
    ],
)
def test_a_wrong_answer_is_refused_and_clicks_go_on_uncorrected(
    device: DeviceRuntime, make: Any, model: CoCorrRec, changes: dict[str, Any]
) -> None:
    for item in range(1001, 1006):
        device.click("ann", item)
        device.click("plain", item)
    assert device.sync("ann", Wrong(make.cloud(model), **changes)) == "refused"
    np.testing.assert_array_equal(device.click("ann", 1200).user, device.click("plain", 1200).user)


def test_without_an_answer_nothing_changes(device: DeviceRuntime) -> None:
    class Silent:
        def request(self, hidden: np.ndarray, seq_no: int) -> None:
            assert hidden.shape == (seq_no, 16)

    assert device.sync("ann", Silent()) == "unanswered"  # nothing to ask with before the first click
    device.click("ann", 1001)
    assert device.sync("ann", Silent()) == "unanswered"
    assert not device.correction("ann").active


def test_an_answer_that_comes_after_an_undo_is_refused(device: DeviceRuntime, make: Any, model: CoCorrRec) -> None:
    class Late:
        def request(self, hidden: np.ndarray, seq_no: int) -> Correction:
            device.rollback("ann", 1)
            answer: Correction = make.cloud(model).request(hidden, seq_no)
            return answer

    device.click("ann", 1001)
    device.click("ann", 1002)
    assert device.sync("ann", Late()) == "refused"
    assert device.state("ann").seen == 1


def test_clicks_during_a_slow_upload_are_kept_and_do_not_wait(
    device: DeviceRuntime, make: Any, model: CoCorrRec
) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow:
        def request(self, hidden: np.ndarray, seq_no: int) -> Correction:
            asked.set()
            assert answer.wait(20)
            told: Correction = make.cloud(model, ttl_steps=9).request(hidden, seq_no)
            return told

    device.click("ann", 1001)
    thread = threading.Thread(target=device.sync, args=("ann", Slow()))
    thread.start()
    assert asked.wait(20)
    device.click("ann", 1002)  # would hang here if scoring waited for the cloud
    device.recommend("ann")
    answer.set()
    thread.join(20)
    state = device.state("ann")
    assert (state.seen, state.correction.seq_no) == (2, 1)


def test_a_real_client_with_nobody_at_the_other_end(device: DeviceRuntime) -> None:
    client = CorrectionClient(
        "http://127.0.0.1:9", model_version=device.manifest.model_version, shape=(2, 5, 8), timeout=0.2
    )
    device.click("ann", 1001)
    start = time.monotonic()
    assert device.sync("ann", client) == "unanswered"
    assert time.monotonic() - start < 5  # its own limit is tested with it; this is a floor against hanging
    assert device.click("ann", 1002).seen == 2


def test_an_export_without_corrections_says_so(exported: Any, tmp_path: Path, make: Any, model: CoCorrRec) -> None:
    with DeviceRuntime(exported(corrections=False), tmp_path) as device:
        device.click("ann", 1001)
        assert not device.due("ann")
        with pytest.raises(ConfigError, match="takes no corrections"):
            device.sync("ann", make.cloud(model))


def test_a_state_that_is_not_finite_is_never_kept(device: DeviceRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    device.click("ann", 1001)
    run = device.model.step.run

    def broken(*inputs: Any) -> Any:
        result = run(*inputs)
        result.state["weight"] = result.state["weight"] * np.float32("inf")
        return result

    monkeypatch.setattr(device.model.step, "run", broken)
    with pytest.raises(NonFiniteError, match="Click 2 on item 1002"):
        device.click("ann", 1002)
    monkeypatch.undo()
    assert device.state("ann").seen == 1


@pytest.mark.parametrize("file", ["step.onnx", "items.safetensors", "catalogue.safetensors", "device.json"])
def test_an_altered_export_is_refused(export: Path, tmp_path: Path, file: str) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(export, copy)
    content = bytearray((copy / file).read_bytes())
    content[-20] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(SavedFolderError, match=f'"{file}".*altered'):
        DeviceModel.open(copy)
    (copy / file).unlink()
    with pytest.raises(SavedFolderError, match=f'lost its part "{file}"'):
        DeviceModel.open(copy)


def test_a_run_is_not_an_export(recommender: NextItemRecommender, tmp_path: Path) -> None:
    recommender.save(tmp_path / "run")
    with pytest.raises(SavedFolderError, match='holds a "recommender"; a "device" is expected'):
        DeviceRuntime(tmp_path / "run", tmp_path / "states")
