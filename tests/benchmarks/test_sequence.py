from __future__ import annotations

import importlib.util
import math
import sys
import types
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from palate.data.sequences import SequenceLog

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(ROOT / "benchmarks"))  # the files there import one another
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return module


sequence, peer = load("sequence"), load("sequence_peer")


def log_of(*rows: list[int], num_items: int = 9) -> SequenceLog:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return SequenceLog(np.concatenate([np.array(row, np.int64) for row in rows]), offsets, num_items)


def rows_of(log: SequenceLog) -> list[list[int]]:
    return [row.tolist() for row in np.split(log.items, log.offsets[1:-1])]


def test_items_that_training_never_shows_leave_catalogue_histories_and_targets() -> None:
    task = sequence.task_of(log_of([2, 5, 7, 9], [5, 2, 5, 8, 3], [7, 7, 4, 2]))
    assert task.train.num_items == task.histories.num_items == 3  # 2, 5, 7 are now 1, 2, 3
    assert rows_of(task.train) == [[1, 2], [2, 1, 2], [3, 3]]
    assert rows_of(task.histories) == [[1, 2, 3], [2, 1, 2], [3, 3]]
    assert task.targets.tolist() == [0, 0, 1]
    assert task.positions == 1 + 2 + 1


def test_only_the_last_items_are_learnt_from_and_all_are_seen() -> None:
    task = sequence.task_of(log_of([1, 2, *[3, 4] * 30, 3, 4]))
    assert task.train.num_items == 2
    assert task.positions == 50
    assert len(task.histories.items) == 61  # all but 1, 2 and the last


def test_a_share_takes_whole_users_in_their_order() -> None:
    log = log_of(*([user, user, 9] for user in range(1, 9)))
    half = rows_of(sequence.some_users(log, 0.5))
    assert len(half) == 4
    assert half == sorted(half)
    assert half == rows_of(sequence.some_users(log, 0.5))
    assert rows_of(sequence.some_users(log, 1.0)) == rows_of(log)
    with pytest.raises(SystemExit, match="share"):
        sequence.some_users(log, 0.0)


def test_quality_comes_from_the_lists_and_misses_what_is_not_in_the_catalogue() -> None:
    lists = np.array([[4, 6, 0], [5, 3, 2], [1, 2, 3], [0, 0, 0]])
    found = sequence.quality(lists, np.array([6, 5, 9, 0]))
    assert found["recall@10"] == 0.5
    assert found["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1) / 4)


def test_our_lists_hold_unseen_items_for_every_user() -> None:
    model = sequence.SASRec(30, sequence.SASRecConfig.sized("tiny")).eval()
    rows = [[1, 2, 3], [4], [*range(1, 21), 5]]
    histories = log_of(*rows, num_items=30)
    lists = sequence.lists_of(model, histories, batch=2)
    for history, listed in zip(rows, lists.tolist(), strict=True):
        assert len(set(listed)) == 10
        assert set(listed) <= set(range(1, 31)) - set(history)
    alone = model.score(torch.tensor([[4]]), torch.tensor([1])).index_fill(1, torch.tensor([4]), -torch.inf)
    assert lists[1].tolist() == alone.topk(10).indices[0].tolist()


def test_the_first_round_is_not_counted_and_the_start_changes() -> None:
    calls: list[str] = []

    def side(name: str) -> Any:
        return lambda: calls.append(name) or sequence.Timing(float(len(calls)), None)

    taken = sequence.in_turns({"ours": side("ours"), "peer": side("peer")}, 3)
    assert calls == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert [timing.seconds for timing in taken["ours"]] == [3.0, 6.0]


@pytest.mark.parametrize(("found", "met"), [([1, 2], True), ([2, 1], False)])
def test_a_fast_model_that_learns_less_is_a_miss(found: list[int], met: bool) -> None:
    task = sequence.task_of(log_of([1, 2, 1, 2, 1], [2, 1, 1, 2, 2]))
    assert task.targets.tolist() == [1, 2]
    ours, theirs = (np.array(lists)[:, None] for lists in (found, [1, 2]))
    trained = sequence.Alternation((sequence.Timing(1.0, None, 1.0),), (sequence.Timing(90.0, None, 45.0),))
    ranked = sequence.Alternation((sequence.Timing(1.0, ours, 1.0),), (sequence.Timing(4.0, theirs, 4.0),))
    rows = sequence.rows_of("SASRec", "rectools", task, trained, ranked, {"epochs": 3})
    assert [row["target"] for row in rows] == [15.0, 3.0]
    assert [row["ratio"]["median"] for row in rows] == [90.0, 4.0]
    assert rows[0]["cpu_ratio"]["median"] == 45.0
    assert [row["met"] for row in rows] == [met, met]
    assert [row["what"].endswith("(with a lower NDCG@10 than the peer's)") for row in rows] == [not met] * 2
    assert rows[0]["peer_name"] == "rectools 0.19.0"
    assert rows[0]["processor seconds of peer"] == 45.0


def test_a_training_of_the_peer_waits_between_its_epochs() -> None:
    done: list[int] = []

    def fit() -> None:
        for number in peer.Range(1, 3, disable=True):
            done.append(number)  # noqa: PERF402 - one by one

    peer.held["epochs"] = epochs = peer.Epochs(fit)
    epochs.start()
    assert done == []
    assert epochs.turn()["seconds"] >= 0.0
    assert done == [1]
    assert set(epochs.turn()) == {"seconds", "cpu"}
    epochs.finish()
    assert done == [1, 2]


def test_a_training_of_the_peer_that_fails_says_so() -> None:
    def fit() -> None:
        raise ValueError("no such loss")

    epochs = peer.Epochs(fit)
    epochs.start()
    with pytest.raises(ValueError, match="no such loss"):
        epochs.turn()
    with pytest.raises(ValueError, match="no such loss"):
        epochs.finish()


def test_cornac_ranks_by_what_is_unseen_and_reads_the_last_items() -> None:
    read: list[list[int]] = []

    def rank(user: int, candidates: Any, k: int, history_items: list[int]) -> tuple[Any, None]:
        read.append(history_items)
        return candidates[::-1], None

    peer.held.update(num_items=6, length=2)
    side = types.SimpleNamespace(model=types.SimpleNamespace(rank=rank))
    best = peer.Cornac.rank(side, [[0, 5, 1], [3]], 2)
    assert read == [[5, 1], [3]]
    assert peer.Cornac.lists(side, best, 2).tolist() == [[5, 4], [6, 5]]
