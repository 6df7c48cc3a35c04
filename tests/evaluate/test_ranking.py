from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from palate.errors import ConfigError, DataError, UnknownNameError
from palate.evaluate.ranking import Relevance, coverage, metrics_of_lists, metrics_of_ranks

ALL = ["hr@3", "recall@3", "precision@3", "mrr@3", "map@3", "ndcg@3"]


def test_hand_numbers_for_several_relevant_items() -> None:
    # Relevant: 2, 7, 8. The list 5, 2, 9, 7 finds 2 at place 2 and 7 at place 4.
    relevant = Relevance.from_lists([[2, 7, 8]])
    found = metrics_of_lists([[5, 2, 9, 7]], relevant, ["ndcg@4", "map@4", "mrr@4", "recall@4", "precision@4", "hr@4"])
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["ndcg@4"] == pytest.approx([(1 / math.log2(3) + 1 / math.log2(5)) / ideal], abs=1e-15)
    assert found["map@4"] == pytest.approx([(1 / 2 + 2 / 4) / 3], abs=1e-15)
    assert found["mrr@4"].tolist() == [0.5]
    assert found["recall@4"] == pytest.approx([2 / 3])
    assert found["precision@4"].tolist() == [0.5]
    assert found["hr@4"].tolist() == [1.0]


def test_hand_numbers_for_graded_gains() -> None:
    relevant = Relevance.from_lists([[2, 7]], [[1.0, 3.0]])
    dcg, ideal = 1 / math.log2(3) + 3 / math.log2(4), 3 + 1 / math.log2(3)
    assert metrics_of_lists([[5, 2, 7]], relevant, "ndcg@3")["ndcg@3"] == pytest.approx([dcg / ideal], abs=1e-15)
    assert metrics_of_lists([[7, 2, 5]], relevant, "ndcg@3")["ndcg@3"] == pytest.approx([1.0], abs=1e-15)


def test_hand_numbers_for_one_target() -> None:
    found = metrics_of_ranks([1.0, 2.0, 3.0, 4.0, math.inf, math.nan, 2.5], ALL)
    assert found["hr@3"][:5].tolist() == [1, 1, 1, 0, 0]
    assert found["mrr@3"][:5] == pytest.approx([1, 1 / 2, 1 / 3, 0, 0])
    assert found["precision@3"][:5] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0])
    assert found["ndcg@3"][:5] == pytest.approx([1, 1 / math.log2(3), 1 / 2, 0, 0])
    assert found["ndcg@3"][6] == pytest.approx(1 / math.log2(3.5))
    assert all(math.isnan(values[5]) for values in found.values())
    assert metrics_of_ranks([4.0, math.inf], ["mrr", "ndcg"])["mrr"].tolist() == [0.25, 0.0]


# Six users with 1 to 9 relevant items each, and their gains. The numbers below were computed once with ranx 0.3.21
# and with ir-measures 0.4.3 (pytrec_eval), which agreed to 1e-15.
RANKED = [
    [10, 14, 8, 5, 1, 9, 7, 13],
    [3, 10, 6, 4, 2, 9, 5, 1],
    [9, 14, 3, 2, 12, 4, 11, 7],
    [7, 2, 6, 14, 8, 4, 11, 10],
    [3, 13, 2, 8, 14, 10, 1, 6],
    [12, 3, 4, 11, 7, 10, 14, 1],
]
RELEVANT = [[7], [1, 4, 10], [3, 4, 9, 11, 13], [3, 4], [2, 3, 4, 6, 7, 8, 10, 11, 13], [3, 5, 7, 14]]
GAINS = [[1], [1, 2, 2], [2, 2, 3, 3, 2], [3, 2], [3, 2, 3, 3, 2, 2, 1, 1, 3], [2, 3, 3, 1]]
FROZEN = {
    "recall@5": [0.0, 0.6666666666666666, 0.4, 0.0, 0.4444444444444444, 0.5],
    "precision@5": [0.0, 0.4, 0.4, 0.0, 0.8, 0.4],
    "hr@5": [0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
    "mrr@5": [0.0, 0.5, 1.0, 0.0, 1.0, 0.5],
    "map@5": [0.0, 0.3333333333333333, 0.3333333333333333, 0.0, 0.4444444444444444, 0.225],
    "map@8": [0.142857142857143, 0.458333333333333, 0.547619047619048, 1 / 12, 0.62037037037037, 0.332142857142857],
    "ndcg@5": [0.0, 0.498189257466413, 0.508740307910424, 0.0, 0.868794922487658, 0.397322006968535],
    "ndcg@8": [1 / 3, 0.646230212949346, 0.74260501236779, 0.218407436818164, 0.817834171108954, 0.527448690299236],
    "ndcg": [1 / 3, 0.646230212949346, 0.74260501236779, 0.218407436818164, 0.759967692188445, 0.527448690299236],
}
FROZEN_GRADED = {
    "ndcg@5": [0.0, 0.564405081917122, 0.531360357516088, 0.0, 0.739389280049096, 0.383083897069428],
    "ndcg@8": [1 / 3, 0.64826384277375, 0.758837636040869, 0.167160454966202, 0.744281665219799, 0.435797605482773],
    "ndcg": [1 / 3, 0.64826384277375, 0.758837636040869, 0.167160454966202, 0.722849777583696, 0.435797605482773],
    "map@8": FROZEN["map@8"],
}


@pytest.mark.parametrize(("gains", "frozen"), [(None, FROZEN), (GAINS, FROZEN_GRADED)])
def test_agrees_with_ranx_and_ir_measures(gains: list | None, frozen: dict[str, list[float]]) -> None:
    found = metrics_of_lists(np.array(RANKED), Relevance.from_lists(RELEVANT, gains), frozen)
    for name, values in frozen.items():
        np.testing.assert_allclose(found[name], values, atol=2e-15, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_laws_of_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(np.arange(1, 13)) for _ in range(7)])
    lists = [rng.choice(np.arange(1, 16), rng.integers(1, 8), replace=False).tolist() for _ in range(7)]
    relevant = Relevance.from_lists(lists)
    names = ["recall@5", "ndcg@5", "map@5", "mrr@5", "hr@5", "precision@5", "ndcg", "map", "mrr"]
    found = metrics_of_lists(ranked, relevant, names)
    for values in found.values():
        assert ((values >= 0) & (values <= 1)).all()
    for name in ("recall", "hr"):  # more places never find less
        deeper = metrics_of_lists(ranked, relevant, [f"{name}@{k}" for k in range(1, 13)])
        assert (np.diff(np.stack(list(deeper.values())), axis=0) >= 0).all()
    # other names for the same items, and another order of users, change nothing
    names_of = np.concatenate([[0], rng.permutation(np.arange(1, 16)) * 1000 - 9000])
    renamed = Relevance.from_lists([[int(names_of[item]) for item in items] for items in lists])
    order = rng.permutation(7)
    shuffled = Relevance.from_lists([lists[user] for user in order])
    for name, values in metrics_of_lists(names_of[ranked], renamed, names).items():
        np.testing.assert_array_equal(values, found[name])
    for name, values in metrics_of_lists(ranked[order], shuffled, names).items():
        np.testing.assert_array_equal(values, found[name][order])
    # scikit-learn on the full list
    truth = np.array([[item in items for item in range(1, 13)] for items in lists], float)
    for user in range(7):
        if truth[user].any() and max(lists[user]) <= 12:
            scores = np.empty(12)
            scores[ranked[user] - 1] = -np.arange(12.0)
            assert found["ndcg@5"][user] == pytest.approx(ndcg_score(truth[[user]], scores[None], k=5), abs=1e-12)
            assert found["map"][user] == pytest.approx(average_precision_score(truth[user], scores), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_lists_and_ranks_agree_for_one_target(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(np.arange(1, 10)) for _ in range(20)])
    targets = rng.integers(0, 12, 20)
    place = np.where(ranked == targets[:, None], np.arange(1, 10), 0).sum(1)
    ranks = np.where(targets == 0, np.nan, np.where(place == 0, np.inf, place))
    names = [*ALL, "mrr", "map", "ndcg"]
    by_list, by_rank = metrics_of_lists(ranked, targets, names), metrics_of_ranks(ranks, names)
    pairs = Relevance.from_pairs(np.flatnonzero(targets), targets[targets > 0], 20)
    by_pairs = metrics_of_lists(torch.from_numpy(ranked), pairs, names)
    for name in names:
        np.testing.assert_allclose(by_list[name], by_rank[name], atol=1e-15)
        np.testing.assert_allclose(by_pairs[name], by_rank[name], atol=1e-15)


def test_users_without_relevant_items_have_no_value() -> None:
    found = metrics_of_lists([[1, 2], [1, 2]], Relevance.from_lists([[], [2]]), ["recall@2", "ndcg@2", "hr@2"])
    for values in found.values():
        assert math.isnan(values[0])
        assert not math.isnan(values[1])
    assert np.isnan(metrics_of_lists([[1, 2]], Relevance.from_lists([[]]), ["map@2"])["map@2"]).all()


def test_empty_places_hit_nothing_and_do_not_count_as_coverage() -> None:
    assert metrics_of_lists([[3, 0, 0]], [0], "hr@3")["hr@3"].tolist() != [1.0]
    assert coverage([[1, 2, 0], [2, 3, -1]], num_items=6) == 0.5
    assert coverage([[1, 2, 0], [2, 3, -1]], num_items=6, k=1) == pytest.approx(2 / 6)
    with pytest.raises(DataError, match="Item 7"):
        coverage([[7]], num_items=6)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: metrics_of_ranks([0.5], ["hr@1"]), DataError, "count from 1"),
        (lambda: metrics_of_ranks([1.0], ["hit@1"]), UnknownNameError, "ranking metric"),
        (lambda: metrics_of_ranks([1.0], ["coverage@1"]), ConfigError, "no value per user"),
        (lambda: metrics_of_lists([[1]], [1], ["coverage@1"]), ConfigError, "no value per user"),
        (lambda: metrics_of_lists([[1, 2]], [1], ["hr@5"]), ConfigError, "lists of 5 items; 2 came"),
        (lambda: metrics_of_lists([[1, 2]], [1, 2], ["hr@2"]), DataError, "targets has 2 rows"),
        (lambda: metrics_of_lists([1, 2], [1], ["hr@2"]), DataError, r"\[U, K\]"),
        (lambda: metrics_of_lists([[1.0]], [1], ["hr@1"]), DataError, r"\[U, K\]"),
        (lambda: metrics_of_lists([[2, 1, 1]], [1], ["hr@3"]), DataError, "user 0 .* twice"),
        (
            lambda: metrics_of_lists([[3, 4], [1, 1]], Relevance.from_lists([[3], [1, 2]]), ["hr@2"]),
            DataError,
            "user 1 .* twice",
        ),
        (lambda: Relevance.from_lists([[1, 1]]), DataError, "same relevant item twice"),
        (lambda: Relevance(np.array([1]), np.array([0, 2])), DataError, "end at 1"),
        (lambda: Relevance.from_lists([[1]], [[0.0]]), DataError, "positive"),
        (lambda: Relevance.from_pairs([3], [1], 2), DataError, "0 to 1"),
        (lambda: metrics_of_lists([[1]], Relevance.from_lists([[1], [2]]), ["hr@1"]), DataError, "2 users"),
    ],
)
def test_bad_input_is_named(call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
