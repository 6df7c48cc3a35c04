"""Runs of a flat array as a padded matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["pad_left"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]


def pad_left(flat: Int32Array, start: IntArray, stop: IntArray, length: int) -> Int32Array:
    """Return ``flat[start:stop]`` of every row at the right end of ``length`` places, 0 before it.

    A run longer than ``length`` keeps its last entries (pre-truncation, as the padding is in front).

    Shapes:
        flat: int32 ``[nnz]``; start, stop: int64 ``[N]`` -> int32 ``[N, length]``.

    Example:
        >>> pad_left(np.array([5, 6, 7], np.int32), np.array([0, 2]), np.array([2, 2]), 3).tolist()
        [[0, 5, 6], [0, 0, 0]]
    """
    if not len(flat):
        return np.zeros((len(start), length), dtype=np.int32)
    places = stop[:, None] - length + np.arange(length)
    real = places >= start[:, None]
    padded: Int32Array = np.where(real, flat[np.where(real, places, 0)], np.int32(0))
    return padded
