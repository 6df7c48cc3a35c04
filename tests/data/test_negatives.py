"""Negatives: never a known positive, drawn by their weights exactly, counted, and undone in the logits."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.dataset import Dataset
from palate.data.leakage import check_leakage
from palate.data.negatives import NegativeSampling, correct_logits, sample_negatives, with_negatives
from palate.data.split import PARTS, Split
from palate.data.splits import split_by_time
from palate.errors import ConfigError, DataError

V = 9
pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(1, V - 1)), min_size=1, max_size=40)


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    users, items = np.array(rows, dtype=np.int64).T
    return users, items


@settings(max_examples=50, deadline=None)
@given(pairs, st.integers(1, 4), st.sampled_from([0.0, 0.75, 2.0]), st.integers(0, 3))
def test_no_negative_is_a_known_positive(rows: list[tuple[int, int]], k: int, alpha: float, seed: int) -> None:
    users, items = columns(rows)
    drawn, facts = sample_negatives(users, items, V, per_positive=k, popularity=alpha, seed=seed)
    assert drawn.shape == (len(rows), k)
    assert drawn.min() >= 1
    assert drawn.max() <= V
    taken = set(rows)
    assert not any(
        (u, i) in taken for u, negatives in zip(users.tolist(), drawn.tolist(), strict=True) for i in negatives
    )
    assert (facts.positives, facts.negatives, facts.num_items) == (len(rows), len(rows) * k, V)
    again, _ = sample_negatives(users, items, V, per_positive=k, popularity=alpha, seed=seed)
    assert drawn.tolist() == again.tolist()


def test_uniform_draws_reach_every_other_item_alike() -> None:
    users, items = np.zeros(3, np.int64), np.array([2, 5, 5])
    drawn, facts = sample_negatives(users, items, V, per_positive=70_000)
    counts = np.bincount(drawn.ravel(), minlength=V + 1)
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    expected = 210_000 / 7
    assert np.abs(counts[[1, 3, 4, 6, 7, 8, 9]] - expected).max() < 5 * np.sqrt(expected)
    # every row has 7 possible negatives, of which 70,000 draws were made
    assert facts.rate == pytest.approx(70_000 / 7)
    assert facts.item_rates is None


def test_draws_by_popularity_follow_the_weights() -> None:
    # user 0 has taken item 3; items 1, 2, 4 have 9, 4 and 0 positives, so weights 3, 2 and 1
    drawn, _ = sample_negatives(
        np.array([0]), np.array([3]), 4, per_positive=60_000, popularity=0.5, counts=np.array([0, 9, 4, 1, 0])
    )
    shares = np.bincount(drawn.ravel(), minlength=5)[1:] / 60_000
    np.testing.assert_allclose(shares, np.array([3, 2, 0, 1]) / 6, atol=0.01)


@settings(max_examples=50, deadline=None)
@given(pairs, st.sampled_from([0.0, 1.0]), st.integers(1, 3))
def test_rates_agree_with_a_slow_count(rows: list[tuple[int, int]], alpha: float, k: int) -> None:
    users, items = columns(rows)
    _, facts = sample_negatives(users, items, V, per_positive=k, popularity=alpha)
    counts = np.maximum(np.bincount(items, minlength=V + 1)[1:], 1).astype(float) ** alpha
    taken = {user: {item for other, item in rows if other == user} for user, _ in rows}
    drawn, possible = np.zeros(V + 1), np.zeros(V + 1)
    for user, _ in rows:
        free = [item for item in range(1, V + 1) if item not in taken[user]]
        total = sum(counts[item - 1] for item in free)
        for item in free:
            drawn[item] += k * counts[item - 1] / total
            possible[item] += 1
    assert facts.rate == pytest.approx(drawn.sum() / possible.sum())
    if facts.item_rates is not None:
        met = possible > 0
        np.testing.assert_allclose(facts.item_rates[met], (drawn / np.maximum(possible, 1))[met], rtol=1e-6)


def test_corrected_logits_give_back_the_true_rate() -> None:
    """A world where each of 1,000 users takes one of 50 items: the truth is 1 in 50."""
    users = np.arange(1000)
    items = np.random.default_rng(0).integers(1, 51, 1000)
    _, facts = sample_negatives(users, items, 50, per_positive=4)
    best_constant = np.log(1000 / 4000)  # what a model of the sampled rows learns: 1 in 5
    probability = 1 / (1 + np.exp(-correct_logits([best_constant], facts)[0]))
    assert facts.rate == pytest.approx(4 / 49)
    assert probability == pytest.approx(1 / 50)


def test_correction_by_item_needs_the_items() -> None:
    facts = NegativeSampling(1, 1, 2, 1, 0.5, 0, rate=0.5, item_rates=np.array([np.nan, 0.25, 0.5]))
    corrected = correct_logits([0.0, 0.0], facts, np.array([1, 2]))
    np.testing.assert_allclose(corrected, np.log([0.25, 0.5]))
    with pytest.raises(ConfigError, match="correction depends on the item"):
        correct_logits([0.0], facts)
    document, arrays = facts.to_saved()
    again = NegativeSampling.from_saved(json.loads(json.dumps(document)), arrays)
    np.testing.assert_array_equal(correct_logits([0.0, 1.0], again, np.array([2, 1])), [np.log(0.5), 1 + np.log(0.25)])


def make(rows: int = 60) -> Dataset:
    rng = np.random.default_rng(1)
    log = pl.DataFrame(
        {
            "user": rng.integers(0, 6, rows),
            "item": rng.integers(100, 112, rows),
            "time": np.arange(rows),
            "place": "home",
        }
    )
    items = pl.DataFrame({"item": range(100, 140), "name": [f"n{i}" for i in range(40)]})
    return Dataset.from_tables(log, items=items, time="time", title="name", categorical="place")


def test_a_data_set_with_its_negatives() -> None:
    data = make()
    grown = with_negatives(data, per_positive=3, seed=5)
    frame, labels = grown.dataset.interactions, grown.dataset.labels()
    assert len(frame) == 60 * 4
    assert labels.tolist() == [1, 0, 0, 0] * 60
    positives = frame.filter(pl.Series(labels == 1)).drop("label")
    assert positives.equals(data.interactions)
    assert frame.schema["item"] == data.interactions.schema["item"]
    context = frame.select("user", "time", "place")
    assert context.equals(data.interactions.select("user", "time", "place")[np.repeat(np.arange(60), 4)])
    taken = set(data.interactions.select("user", "item").rows())
    negatives = frame.filter(pl.Series(labels == 0)).select("user", "item").rows()
    assert not taken.intersection(negatives)
    assert any(item >= 112 for _, item in negatives)  # items that nobody took yet are in the catalogue
    assert grown.split is None
    assert grown.sampling["all"].negatives == 180
    assert with_negatives(data, per_positive=3, seed=5).dataset.interactions.equals(frame)
    assert not with_negatives(data, per_positive=3, seed=6).dataset.interactions.equals(frame)


def test_negatives_of_train_know_nothing_of_the_test() -> None:
    """Training negatives are the same whatever the held-out rows are."""
    data = make()
    split = split_by_time(data, (0.5, 0.25, 0.25))
    other = data.replace(
        interactions=data.interactions.with_columns(
            item=pl.when(pl.col("time") >= 30).then(pl.lit(139)).otherwise(pl.col("item"))
        )
    )
    one, two = with_negatives(data, split), with_negatives(other, split)
    assert one.split is not None
    assert one.split == two.split
    train = one.split.train
    assert one.dataset.interactions[train].equals(two.dataset.interactions[train])
    assert one.sampling["train"] == two.sampling["train"]
    # ... while a test negative is nothing that the user took in any part
    frame = one.dataset.interactions[one.split.test]
    taken = set(data.interactions.select("user", "item").rows())
    negatives = frame.filter(pl.col("label") == 0).select("user", "item").rows()
    assert not taken.intersection(negatives)


def test_rows_follow_their_positive_into_its_part() -> None:
    data = make()
    split = split_by_time(data)
    grown = with_negatives(data, split, per_positive=2)
    assert grown.split is not None
    for part in PARTS:
        times = set(data.interactions["time"][split.part(part)].to_list())
        rows = grown.split.part(part)
        assert len(rows) == 3 * len(split.part(part))
        assert set(grown.dataset.interactions["time"][rows].to_list()) == times
    assert check_leakage(grown.dataset, grown.split) == []


def test_rows_outside_the_split_are_left_out() -> None:
    split = Split(np.arange(5, 20), np.empty(0, np.int64), np.arange(30, 40), how="column")
    grown = with_negatives(make(), split, per_positive=1)
    assert len(grown.dataset) == 50
    assert grown.split is not None
    assert (len(grown.split.train), len(grown.split.validation), len(grown.split.test)) == (30, 0, 20)
    assert set(grown.sampling) == {"train", "test"}


def test_bad_input_is_refused() -> None:
    labelled = Dataset.from_tables(pl.DataFrame({"user": [1], "item": [2], "y": [1]}), label="y")
    with pytest.raises(ConfigError, match="has labels"):
        with_negatives(labelled)
    everything = Dataset.from_tables(pl.DataFrame({"user": [1, 1], "item": [2, 3]}))
    with pytest.raises(DataError, match="has taken every one of the 2 items"):
        with_negatives(everything)
    nobody = Dataset.from_tables(pl.DataFrame({"user": [1, None], "item": [2, 3]}))
    with pytest.raises(DataError, match="1 rows have no user"):
        with_negatives(nobody)
    users, items = columns([(0, 1)])
    for wrong, message in (
        ({"per_positive": 0}, "per_positive is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"popularity": -0.5}, "popularity is -0.5"),
    ):
        with pytest.raises(ConfigError, match=message):
            sample_negatives(users, items, V, **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="numbered from 0 to 0"):
        sample_negatives(users, np.array([0]), V)
