from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from palate.errors import ConfigError, DataError
from palate.evaluate.auc import auc
from palate.evaluate.grouped_auc import gauc, per_group_auc

SCORES = [0.2, 0.1, 0.9, 0.7, 0.6, 0.5]
LABELS = [0, 1, 1, 1, 0, 1]
GROUPS = ["A", "A", "A", "B", "B", "C"]


def test_hand_numbers() -> None:
    assert gauc(SCORES, LABELS, GROUPS) == pytest.approx(0.7, abs=1e-15)
    assert gauc(SCORES, LABELS, GROUPS, average="groups") == 0.75
    found = per_group_auc(SCORES, LABELS, GROUPS)
    assert found.groups.tolist() == ["A", "B", "C"]
    assert found.auc[:2].tolist() == [0.5, 1.0]
    assert math.isnan(found.auc[2])
    assert found.rows.tolist() == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spread", [1, 10**12])
def test_agrees_with_scikit_learn_group_by_group(dtype: type, spread: int) -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(-40, 40, 5000) * spread
    scores = np.round(rng.normal(size=5000), 1).astype(dtype)
    scores[:20] *= 0  # both signs of zero
    labels = rng.random(5000) < 0.3
    found = per_group_auc(scores, labels, groups)
    assert np.array_equal(found.groups, np.unique(groups))
    for group, value in zip(found.groups, found.auc, strict=True):
        mine = groups == group
        assert abs(value - roc_auc_score(labels[mine], scores[mine])) < 1e-12
    assert np.array_equal(found.rows, np.unique(groups, return_counts=True)[1])


def test_weight_is_repetition_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    groups, labels = rng.integers(0, 30, 600), rng.random(600) < 0.5
    scores, weight = rng.integers(0, 9, 600) / 3, rng.integers(0, 4, 600)
    weighted = per_group_auc(scores, labels, groups, weight)
    repeated = per_group_auc(*(np.repeat(column, weight) for column in (scores, labels, groups)))
    np.testing.assert_allclose(weighted.auc, repeated.auc, atol=1e-12)
    assert np.array_equal(weighted.rows, repeated.rows)
    order = rng.permutation(600)
    assert np.array_equal(
        per_group_auc(scores[order], labels[order], groups[order]).auc, per_group_auc(scores, labels, groups).auc
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.floats(-10, 10, width=32)), min_size=1, max_size=40))
def test_every_group_is_its_own_auc(drawn: list[tuple[int, bool, float]]) -> None:
    groups, labels = np.array([row[0] for row in drawn]), np.array([row[1] for row in drawn])
    for dtype in (np.float32, np.float64):
        scores = np.array([row[2] for row in drawn], dtype)
        for group, value in zip(*per_group_auc(scores, labels, groups)[:2], strict=True):
            np.testing.assert_allclose(value, auc(scores[groups == group], labels[groups == group]), atol=1e-12)


def test_no_group_with_both_classes_is_undefined() -> None:
    assert math.isnan(gauc([0.1, 0.2], [0, 1], ["A", "B"]))


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match='"row".*Did you mean "rows"'):
        gauc(SCORES, LABELS, GROUPS, average="row")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="groups has 2 rows; 6 are expected"):
        gauc(SCORES, LABELS, ["A", "B"])
    with pytest.raises(DataError, match="groups holds NaN"):
        gauc(SCORES[:2], LABELS[:2], [1.0, math.nan])
