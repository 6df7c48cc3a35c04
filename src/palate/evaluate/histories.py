"""Users' histories in compressed rows, cut into batches: padded items for the model, pairs to take out of the race."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from palate.errors import DataError
from palate.evaluate.columns import IntArray

__all__ = ["Histories", "check_histories", "last_items", "seen_pairs", "wide_pairs"]


class Histories(Protocol):
    """Items per user, oldest first, in compressed rows (``palate.data.sequences.SequenceLog`` is one)."""

    @property
    def items(self) -> IntArray:
        """Items 1..V, int64 ``[nnz]``."""
        ...

    @property
    def offsets(self) -> IntArray:
        """User ``u`` owns ``items[offsets[u]:offsets[u + 1]]``; int64 ``[U + 1]``."""
        ...

    @property
    def num_items(self) -> int:
        """Size of the catalogue, ``V``."""
        ...


def check_histories(histories: Histories, what: str, *, num_users: int, num_items: int) -> None:
    """Refuse histories of other users or of items outside the catalogue."""
    if len(histories.offsets) - 1 != num_users:
        raise DataError(f"{what} has {len(histories.offsets) - 1:,} users; {num_users:,} are expected.")
    if len(histories.items) and not (histories.items.min() > 0 and histories.items.max() <= num_items):
        low, high = histories.items.min(), histories.items.max()
        raise DataError(f"{what} has items from {low} to {high}; the catalogue has 1 to {num_items}.")


def last_items(histories: Histories, users: IntArray, max_length: int) -> tuple[IntArray, IntArray]:
    """Return the last items of each user, right-padded with 0, ``[B, L]``, and how many are real, ``[B]``."""
    stops = histories.offsets[users + 1]
    lengths = np.minimum(stops - histories.offsets[users], max_length).astype(np.int64)
    width = max(int(lengths.max(initial=1)), 1)
    real = np.arange(width) < lengths[:, None]
    items = np.zeros((len(users), width), np.int64)
    items[real] = histories.items[((stops - lengths)[:, None] + np.arange(width))[real]]
    return items, lengths


def seen_pairs(histories: Histories | None, users: IntArray) -> tuple[IntArray, IntArray]:
    """Return (row, item) for every item in the histories of these users, row by row; none for ``None``."""
    if histories is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts = histories.offsets[users]
    lengths = (histories.offsets[users + 1] - starts).astype(np.int64)
    rows = np.repeat(np.arange(len(users)), lengths)
    inside = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, histories.items[starts[rows] + inside].astype(np.int64)


def wide_pairs(rows: IntArray, items: IntArray, batch: int) -> IntArray:
    """Return pairs that are sorted by row as ``[B, X]``, padded with 0."""
    counts = np.bincount(rows, minlength=batch)
    wide = np.zeros((batch, max(int(counts.max(initial=0)), 1)), np.int64)
    wide[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = items
    return wide
