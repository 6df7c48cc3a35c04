from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from palate.errors import DataError
from palate.evaluate import ranks as ranks_module
from palate.evaluate.ranks import ranks_of_targets

SCORES = [[0.1, 0.9, 0.5, 0.5], [0.3, 0.3, 0.3, 0.3], [4.0, 3.0, 2.0, 1.0]]


def test_hand_numbers() -> None:
    assert ranks_of_targets(SCORES, [2, 0, 3]).tolist() == [2.5, 2.5, 4.0]
    assert ranks_of_targets(np.array(SCORES), np.array([1, 3, 0])).tolist() == [1.0, 2.5, 1.0]
    assert ranks_of_targets([[3, 2, 1]], [2]).tolist() == [3.0]


def test_excluded_columns_leave_the_race() -> None:
    exclude = [[1, -1], [0, 0], [0, 1]]
    assert ranks_of_targets(SCORES, [2, 2, 2], exclude=exclude).tolist() == [1.5, 2.0, 1.0]
    mask = np.zeros((3, 4), bool)
    for row, columns in enumerate(exclude):
        mask[row, [column for column in columns if column >= 0]] = True
    assert ranks_of_targets(SCORES, [2, 2, 2], exclude=mask).tolist() == [1.5, 2.0, 1.0]


def test_a_target_out_of_the_race_is_never_shown_and_no_target_has_no_rank() -> None:
    ranks = ranks_of_targets(SCORES, [1, -1, 0], exclude=[[1], [-1], [2]])
    assert ranks[0] == math.inf
    assert math.isnan(ranks[1])
    assert ranks[2] == 1.0


def test_infinitely_low_scores_tie_with_each_other_but_not_with_excluded_ones() -> None:
    low = -math.inf
    assert ranks_of_targets([[low, low, 1.0, low]], [1]).tolist() == [3.0]
    assert ranks_of_targets([[low, low, 1.0, low]], [1], exclude=[[0]]).tolist() == [2.5]


def test_inputs_stay_as_they_are_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, targets = np.round(rng.normal(size=(97, 31)), 1), rng.integers(-1, 31, 97)
    exclude, before = rng.integers(-1, 31, (97, 6)), scores.copy()
    whole = ranks_of_targets(torch.from_numpy(scores), torch.from_numpy(targets), exclude=exclude)
    monkeypatch.setattr(ranks_module, "_ENTRIES", 31 * 5)
    np.testing.assert_array_equal(ranks_of_targets(scores, targets, exclude=exclude), whole)
    assert np.array_equal(scores, before)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_scipy_rankdata(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, 5, (6, 12)).astype(np.float32), rng.integers(0, 12, 6)
    exclude = rng.integers(-1, 12, (6, 4))
    exclude[exclude == targets[:, None]] = -1
    found = ranks_of_targets(scores, targets, exclude=exclude)
    for row in range(6):
        kept = [column for column in range(12) if column not in exclude[row]]
        expected = rankdata(-scores[row, kept])[kept.index(targets[row])]
        assert found[row] == expected


def test_bad_input_is_named() -> None:
    with pytest.raises(DataError, match="NaN in row 1"):
        ranks_of_targets([[1.0, 2.0], [math.nan, 1.0]], [0, 1])
    with pytest.raises(DataError, match="do not fit"):
        ranks_of_targets(SCORES, [0, 1])
    with pytest.raises(DataError, match="column 4"):
        ranks_of_targets(SCORES, [0, 1, 4])
    with pytest.raises(DataError, match="exclude names column 9"):
        ranks_of_targets(SCORES, [0, 1, 2], exclude=[[9], [0], [0]])
    with pytest.raises(DataError, match="exclude has the shape"):
        ranks_of_targets(SCORES, [0, 1, 2], exclude=np.zeros((3, 2), bool))
