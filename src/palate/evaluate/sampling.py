"""Sampled candidates for the 1:N protocol: the same for every model, whatever the batch."""

from __future__ import annotations

import numpy as np

from palate.errors import ConfigError
from palate.evaluate.columns import IntArray

__all__ = ["sampled_candidates"]


def sampled_candidates(
    users: IntArray,
    targets: IntArray,
    num_items: int,
    count: int,
    *,
    rows: IntArray,
    columns: IntArray,
    seed: int,
) -> IntArray:
    """Return ``count`` items per user, uniform without replacement, neither the target nor excluded.

    Each (seed, user, item) has a fixed pseudo-random key, and the allowed items with the smallest keys are taken. So a
    user's candidates do not depend on the batch, on the model, or on the other users.

    Args:
        users: Numbers of the users.
        targets: Their targets, 0 for none.
        num_items: Size of the catalogue ``V``; items are 1..V.
        count: How many candidates.
        rows: With ``columns``: pairs (place in ``users``, item) that may not be drawn.
        columns: See ``rows``.
        seed: Seed of the keys.

    Shapes:
        users, targets: ``[B]``; rows, columns: ``[n]``; result: int64 ``[B, count]``, 0 where fewer items are allowed.

    Example:
        >>> drawn = sampled_candidates(
        ...     np.array([7]), np.array([2]), 4, 3, rows=np.array([0]), columns=np.array([1]), seed=0
        ... )
        >>> sorted(drawn[0].tolist())
        [0, 3, 4]
    """
    if count < 1:
        raise ConfigError(f"count = {count} is not valid: at least 1 is expected.")
    keys = _keys(users, num_items, seed)
    barred = np.zeros(keys.shape, bool)
    barred[:, 0] = True
    barred[np.arange(len(users)), targets] = True
    barred[rows, columns] = True
    keys[barred] = np.iinfo(np.uint64).max
    kept = min(count, num_items)
    best = np.argpartition(keys, kept - 1, axis=1)[:, :kept]
    drawn = np.zeros((len(users), count), np.int64)
    drawn[:, :kept] = np.where(np.take_along_axis(barred, best, axis=1), 0, best)
    return drawn


def _keys(users: IntArray, num_items: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """Return the key of every item for every user, uint64 ``[B, V + 1]`` (Steele's SplitMix64 finaliser, twice)."""
    start = np.uint64(seed % 2**64)
    of_user = _mixed(users.astype(np.uint64) + _mixed(np.array([start]))[0])
    items = np.arange(num_items + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return _mixed(of_user[:, None] + items)


def _mixed(
    state: np.ndarray[tuple[int, ...], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
