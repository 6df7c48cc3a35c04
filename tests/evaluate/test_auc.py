from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from palate.errors import DataError
from palate.evaluate.auc import auc


def tied_rows(seed: int, rows: int = 4000, levels: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, rows) / 7.0
    return scores, (rng.random(rows) < 0.2 + 0.5 * scores / scores.max()).astype(int)


def test_hand_numbers() -> None:
    assert auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert auc([0.3, 0.3, 0.3, 0.3], [0, 1, 0, 1]) == 0.5
    assert auc([3, 2, 1], [1, 0, 0]) == 1.0
    assert auc([1, 2, 2, 3], [0, 0, 1, 1]) == 0.875


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("positives", [0.03, 0.5, 0.97])
def test_agrees_with_scikit_learn(dtype: type, positives: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.random(20_000) < positives
    scores = np.round(rng.normal(size=20_000) + labels, 2).astype(dtype)
    assert abs(auc(scores, labels) - roc_auc_score(labels, scores)) < 1e-12


def test_weighted_agrees_with_scikit_learn() -> None:
    scores, labels = tied_rows(1)
    weight = np.random.default_rng(2).random(len(scores))
    weight[:50] = 0.0
    assert abs(auc(scores, labels, weight) - roc_auc_score(labels, scores, sample_weight=weight)) < 1e-12


def test_order_of_rows_does_not_matter() -> None:
    scores, labels = tied_rows(4)
    order = np.random.default_rng(5).permutation(len(scores))
    weight = np.random.default_rng(6).random(len(scores))
    assert auc(scores, labels) == auc(scores[order], labels[order])
    assert abs(auc(scores, labels, weight) - auc(scores[order], labels[order], weight[order])) < 1e-12


def test_infinite_scores_are_ordered_and_inputs_stay_as_they_are() -> None:
    scores, labels = np.array([np.inf, -np.inf, 0.0, -0.0]), np.array([1, 0, 1, 0])
    before = scores.copy()
    assert auc(scores, labels) == 0.875
    assert np.array_equal(scores, before)


def test_accepts_tensors_of_any_float_type() -> None:
    scores, labels = torch.tensor([0.125, 0.5, 0.25, 0.75]), torch.tensor([0, 0, 1, 1])
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert auc(scores.to(dtype).requires_grad_(), labels) == 0.75


def test_one_class_is_undefined() -> None:
    assert math.isnan(auc([0.1, 0.2], [1, 1]))
    assert math.isnan(auc([0.1, 0.2], [0, 0], [1.0, 2.0]))
    assert math.isnan(auc([0.1, 0.2], [0, 1], [1.0, 0.0]))


@pytest.mark.parametrize(
    ("scores", "labels", "weight", "says"),
    [
        ([0.1, math.nan], [0, 1], None, "NaN in 1 of 2 rows"),
        ([0.1, 0.2], [0, 2], None, "values other than 0 and 1"),
        ([0.1, 0.2], [0, math.nan], None, "values other than 0 and 1"),
        ([0.1, 0.2], [0, 1, 1], None, "labels has 3 rows; 2 are expected"),
        ([], [], None, "no rows"),
        ([[0.1, 0.2]], [0, 1], None, "shape"),
        (["a", "b"], [0, 1], None, "real numbers"),
        ([0.1, 0.2], ["no", "yes"], None, "rating >= 4"),
        ([0.1, 0.2], [0, 1], [1.0, -1.0], "negative"),
        ([0.1, 0.2], [0, 1], [0.0, 0.0], "sums to 0"),
    ],
)
def test_bad_input_is_named(scores: list, labels: list, weight: list | None, says: str) -> None:
    with pytest.raises(DataError, match=says):
        auc(scores, labels, weight)


rows = st.lists(st.tuples(st.integers(-20, 20), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40)


@settings(deadline=None, max_examples=150)
@given(rows)
def test_laws(drawn: list[tuple[int, bool, int]]) -> None:
    scores = np.array([row[0] for row in drawn], float)
    labels = np.array([row[1] for row in drawn])
    repeats = np.array([row[2] for row in drawn])
    value = auc(scores, labels)
    pairs = [(s > t) + 0.5 * (s == t) for s in scores[labels] for t in scores[~labels]]
    if not pairs:
        assert math.isnan(value)
        return
    assert value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auc(np.exp(scores) * 3 - 1, labels) == value
    assert auc(-scores, labels) == pytest.approx(1 - value, abs=1e-12)
    assert auc(scores, ~labels) == pytest.approx(1 - value, abs=1e-12)
    if (repeats[labels].sum() > 0) and (repeats[~labels].sum() > 0):
        repeated = auc(np.repeat(scores, repeats), np.repeat(labels, repeats))
        assert auc(scores, labels, repeats) == pytest.approx(repeated, abs=1e-12)
