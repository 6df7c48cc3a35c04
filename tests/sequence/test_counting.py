"""Popularity, item-to-item and transitions on logs small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from palate.data.sequences import SequenceLog, pad_histories
from palate.errors import ConfigError, DataError, NotFittedError
from palate.registry import find
from palate.sequence.item_to_item import ItemToItem, ItemToItemConfig
from palate.sequence.popularity import Popularity
from palate.sequence.transitions import Transitions, TransitionsConfig, pairs_with_gap

COUNTERS = ["popularity", "item-to-item", "transitions"]


def log_of(*sequences: list[int], num_items: int) -> SequenceLog:
    offsets = np.cumsum([0, *map(len, sequences)])
    return SequenceLog(np.array([item for row in sequences for item in row], dtype=np.int64), offsets, num_items)


@pytest.fixture
def log() -> SequenceLog:
    return log_of([1, 2, 3], [1, 2, 4], [2, 3], [4], num_items=5)


def test_popularity_counts(log: SequenceLog) -> None:
    model = Popularity(5)
    model.count(log)
    scores = model.score(torch.tensor([[1, 0]]), torch.tensor([1]))[0]
    assert scores[0] == -math.inf
    np.testing.assert_allclose(scores[1:].numpy(), [2, 3, 2, 2, 0], atol=1e-5)


def test_item_to_item_is_the_cosine_of_user_sets(log: SequenceLog) -> None:
    model = ItemToItem(5)
    model.count(log)
    scores = model.score(torch.tensor([[1]]), torch.tensor([1]))[0]
    # users(1) = {a, b}, users(2) = {a, b, c}, users(3) = {a, c}, users(4) = {b, d}
    expected = [0, 2 / math.sqrt(6), 1 / 2, 1 / 2, 0]
    np.testing.assert_allclose(scores[1:].numpy(), expected, atol=2e-6)
    two = model.score(torch.tensor([[1, 3]]), torch.tensor([2]))[0]
    assert two[2].item() == pytest.approx(4 / math.sqrt(6), abs=2e-6)


def test_item_to_item_counts_a_repeat_once() -> None:
    model = ItemToItem(2)
    model.count(log_of([1, 1, 2, 2], num_items=2))
    assert model.score(torch.tensor([[1]]), torch.tensor([1]))[0, 2].item() == pytest.approx(1.0, abs=2e-6)


def test_item_to_item_looks_at_the_last_items_only(log: SequenceLog) -> None:
    model = ItemToItem(5, ItemToItemConfig(last=1))
    model.count(log)
    long = model.score(torch.tensor([[3, 4, 1]]), torch.tensor([3]))
    short = model.score(torch.tensor([[1]]), torch.tensor([1]))
    assert torch.equal(long, short)


def test_item_to_item_keeps_the_nearest_neighbors(log: SequenceLog) -> None:
    model = ItemToItem(5, ItemToItemConfig(num_neighbors=1))
    model.count(log)
    scores = model.score(torch.tensor([[1]]), torch.tensor([1]))[0]
    assert scores[2] > 0.8
    assert scores[3] < 1e-5


def test_transitions_by_hand(log: SequenceLog) -> None:
    model = Transitions(5)
    model.count(log)
    scores = model.score(torch.tensor([[1, 2]]), torch.tensor([2]))[0]
    # follows(1, 2) = 2, follows(1, 3) = follows(1, 4) = 1/2, follows(2, 3) = 2, follows(2, 4) = 1; counts 2, 3, 2, 2
    third, half = 1 / math.sqrt(3), 0.6
    expected = [0, half * 2 / 2, (2 + half * 0.5) * third, (1 + half * 0.5) * third, 0]
    np.testing.assert_allclose(scores[1:].numpy(), expected, atol=2e-6)


def test_transitions_never_cross_users() -> None:
    first, second = pairs_with_gap(log_of([1, 2], [3, 4, 5], num_items=5), 1)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(1, 2), (3, 4), (4, 5)]
    first, _ = pairs_with_gap(log_of([1, 2], [3, 4, 5], num_items=5), 3)
    assert len(first) == 0


def test_transitions_damping_trades_popularity(log: SequenceLog) -> None:
    free = Transitions(5, TransitionsConfig(damping=0.0))
    free.count(log)
    scores = free.score(torch.tensor([[2]]), torch.tensor([1]))[0]
    np.testing.assert_allclose(scores[3:5].numpy(), [2.0, 1.0], atol=2e-6)


@pytest.mark.parametrize("name", COUNTERS)
def test_empty_history_gives_popularity_order(name: str, log: SequenceLog) -> None:
    model = find("next-item", name).factory(5)
    model.count(log)
    ranking = model.rank(torch.zeros(1, 1, dtype=torch.long), torch.tensor([0]), k=5)
    assert ranking.items[0, 0] == 2
    assert ranking.items[0, -1] == 5
    assert torch.isfinite(ranking.scores).all()


@pytest.mark.parametrize("name", COUNTERS)
def test_batch_equals_single_and_padding_has_no_influence(name: str) -> None:
    generator = np.random.default_rng(0)
    log = log_of(*[generator.integers(1, 30, n).tolist() for n in generator.integers(1, 40, 50)], num_items=30)
    model = find("next-item", name).factory(30)
    model.count(log)
    items, lengths = pad_histories(log, np.arange(50), 50)
    together = model.score(items, lengths)
    for row in range(50):
        alone = model.score(items[row : row + 1, : int(lengths[row])], lengths[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])


@pytest.mark.parametrize("name", COUNTERS)
def test_saved_and_loaded_scores_the_same(name: str, log: SequenceLog) -> None:
    component = find("next-item", name)
    model = component.factory(5)
    model.count(log)
    loaded = component.factory(5)
    loaded.load_state_dict(model.state_dict())
    history = (torch.tensor([[1, 2]]), torch.tensor([2]))
    assert torch.equal(loaded.score(*history), model.score(*history))


@pytest.mark.parametrize("name", COUNTERS)
def test_counting_twice_equals_counting_once(name: str, log: SequenceLog) -> None:
    model = find("next-item", name).factory(5)
    model.count(log_of([5, 5, 1], num_items=5))
    model.count(log)
    fresh = find("next-item", name).factory(5)
    fresh.count(log)
    for key, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("name", COUNTERS)
def test_bad_use_says_what_is_wrong(name: str, log: SequenceLog) -> None:
    model = find("next-item", name).factory(7)
    with pytest.raises(NotFittedError, match="has not counted"):
        model.score(torch.tensor([[1]]), torch.tensor([1]))
    with pytest.raises(DataError, match="has 5 items; this .* was made for 7"):
        model.count(log)
    with pytest.raises(ConfigError, match="has no setting"):
        find("next-item", name).factory.Config(lastt=3)


def test_seen_items_are_excluded(log: SequenceLog) -> None:
    model = Transitions(5)
    model.count(log)
    ranking = model.rank(torch.tensor([[1]]), torch.tensor([1]), k=5, exclude=torch.tensor([[2, 0]]))
    assert 2 not in ranking.items
    assert ranking.items[0, -1] == 0
    assert ranking.scores[0, -1] == -math.inf


def test_an_empty_log_gives_no_evidence() -> None:
    for name in COUNTERS:
        model = find("next-item", name).factory(3)
        model.count(log_of([], [], num_items=3))
        scores = model.score(torch.tensor([[1]]), torch.tensor([1]))
        assert torch.equal(scores[0, 1:], torch.zeros(3))
