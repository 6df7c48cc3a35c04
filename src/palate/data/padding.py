"""Runs of a flat array as a padded matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["pad_left"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]

# Rows that are padded together, few enough to stay inside the cache.
_BLOCK = 4096


def pad_left(flat: Int32Array, start: IntArray, stop: IntArray, length: int) -> Int32Array:
    """Return ``flat[start:stop]`` of every row at the right end of ``length`` places, 0 before it.

    A run longer than ``length`` keeps its last entries (pre-truncation, as the padding is in front).

    Shapes:
        flat: int32 ``[nnz]``; start, stop: int64 ``[N]`` -> int32 ``[N, length]``.

    Example:
        >>> pad_left(np.array([5, 6, 7], np.int32), np.array([0, 2]), np.array([2, 2]), 3).tolist()
        [[0, 5, 6], [0, 0, 0]]
    """
    padded = np.zeros((len(start), length), dtype=np.int32)
    columns = np.arange(length) - length
    for row in range(0, len(start) if len(flat) else 0, _BLOCK):
        block = slice(row, row + _BLOCK)
        places = stop[block, None] + columns
        # A place before the run is clipped to some entry of ``flat``, which the product with False then blanks.
        np.multiply(flat.take(places, mode="clip"), places >= start[block, None], out=padded[block])
    return padded
