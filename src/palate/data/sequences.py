"""What a next-item model sees: every user's items in time order, as one flat array with offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SequenceBatch", "SequenceLog", "pad_histories"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class SequenceLog:
    """Items per user, oldest first, in compressed rows: user ``u`` owns ``items[offsets[u]:offsets[u + 1]]``.

    Attributes:
        items: int64 ``[nnz]``, item indices 1..V (0 is padding and never occurs).
        offsets: int64 ``[U + 1]``.
        num_items: ``V``.
        times: int64 ``[nnz]`` seconds since 1970, or ``None``.
    """

    items: IntArray
    offsets: IntArray
    num_items: int
    times: IntArray | None = None

    @property
    def num_users(self) -> int:
        """Number of users ``U``."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Number of items per user, int64 ``[U]``."""
        return np.diff(self.offsets)

    def drop_last(self, count: int) -> SequenceLog:
        """Return the log without the last ``count`` items of each user (users may become empty)."""
        keep = np.maximum(self.lengths - count, 0)
        offsets = np.concatenate([[0], np.cumsum(keep)])
        inside = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], keep)
        taken = np.repeat(self.offsets[:-1], keep) + inside
        times = None if self.times is None else self.times[taken]
        return SequenceLog(self.items[taken], offsets, self.num_items, times)

    def last(self, back: int = 0) -> IntArray:
        """Return the item ``back`` places before the last of each user, 0 where there is none: int64 ``[U]``."""
        place = self.offsets[1:] - 1 - back
        exists = place >= self.offsets[:-1]
        return (
            np.where(exists, self.items[np.maximum(place, 0)], 0)
            if len(self.items)
            else np.zeros(self.num_users, np.int64)
        )


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """Histories for a next-item model, oldest first, padded with 0 at the right.

    Shapes:
        items: int64 ``[B, L]``, item indices 1..V, 0 = padding. ``L`` is the longest of *this* batch.
        lengths: int64 ``[B]``, real items per row (0 for an empty history).
        targets: int64 ``[B, L]``, the item that follows each position, 0 where there is none; or ``None``.
        users: int64 ``[B]`` or ``None``.
        negatives: int64 ``[B, L, N]`` or ``[N]`` (shared) or ``None``.
        log_q: float32, shape of ``negatives``: log of the probability with which each was drawn; ``None`` means
            that all items were equally likely.
    """

    items: Tensor
    lengths: Tensor
    targets: Tensor | None = None
    users: Tensor | None = None
    negatives: Tensor | None = None
    log_q: Tensor | None = None

    def __len__(self) -> int:
        return int(self.items.shape[0])

    def to(self, device: torch.device | str) -> SequenceBatch:
        """Return the batch on ``device``."""
        rest = (self.targets, self.users, self.negatives, self.log_q)
        moved = [None if tensor is None else tensor.to(device) for tensor in rest]
        return SequenceBatch(self.items.to(device), self.lengths.to(device), *moved)


def pad_histories(log: SequenceLog, users: IntArray, max_length: int) -> tuple[Tensor, Tensor]:
    """Return the last ``max_length`` items of ``users`` as ``items [B, L]`` (right-padded) and ``lengths [B]``.

    ``L`` is the longest kept history of these users, at least 1.
    """
    lengths = np.minimum(log.lengths[users], max_length)
    width = max(int(lengths.max(initial=1)), 1)
    column = np.arange(width)[None, :]
    place = (log.offsets[1:][users] - lengths)[:, None] + column
    real = column < lengths[:, None]
    items = (
        np.where(real, log.items[np.where(real, place, 0)], 0)
        if len(log.items)
        else np.zeros((len(users), width), np.int64)
    )
    return torch.from_numpy(items.astype(np.int64, copy=False)), torch.from_numpy(lengths.astype(np.int64, copy=False))
