from __future__ import annotations

import numpy as np
import pytest

from palate.errors import ConfigError
from palate.evaluate.sampling import sampled_candidates

NONE = np.zeros(0, np.int64)


def test_candidates_are_allowed_distinct_and_enough() -> None:
    users, targets = np.arange(50), np.arange(50) % 20 + 1
    rows, columns = np.repeat(users, 3), np.tile([4, 5, 6], 50)
    drawn = sampled_candidates(users, targets, 20, 10, rows=rows, columns=columns, seed=1)
    for user in users:
        assert len(set(drawn[user])) == 10
        assert not set(drawn[user]) & {0, 4, 5, 6, targets[user]}


def test_a_small_catalogue_leaves_places_empty() -> None:
    drawn = sampled_candidates(np.array([3]), np.array([1]), 4, 6, rows=np.array([0]), columns=np.array([2]), seed=0)
    assert sorted(drawn[0].tolist()) == [0, 0, 0, 0, 3, 4]


def test_candidates_depend_on_seed_and_user_alone() -> None:
    users, targets = np.arange(40), np.full(40, 7)
    whole = sampled_candidates(users, targets, 500, 20, rows=NONE, columns=NONE, seed=3)
    order = np.random.default_rng(0).permutation(40)[:11]
    part = sampled_candidates(users[order], targets[order], 500, 20, rows=NONE, columns=NONE, seed=3)
    assert np.array_equal(np.sort(part), np.sort(whole[order]))
    other = sampled_candidates(users, targets, 500, 20, rows=NONE, columns=NONE, seed=4)
    assert not np.array_equal(np.sort(other), np.sort(whole))
    assert len({tuple(sorted(row)) for row in whole.tolist()}) == 40


def test_every_item_is_equally_likely() -> None:
    users = np.arange(20_000)
    drawn = sampled_candidates(users, np.zeros(20_000, np.int64), 50, 5, rows=NONE, columns=NONE, seed=0)
    counts = np.bincount(drawn.ravel(), minlength=51)
    assert counts[0] == 0
    expected = 20_000 * 5 / 50
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 90  # chi-squared with 49 degrees: p = .0003


def test_count_is_checked() -> None:
    with pytest.raises(ConfigError, match="count = 0"):
        sampled_candidates(np.array([0]), np.array([1]), 5, 0, rows=NONE, columns=NONE, seed=0)
