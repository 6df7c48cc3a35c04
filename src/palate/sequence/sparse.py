"""A sparse item-by-item matrix as buffers of a module, so that a counted model saves like a learned one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from palate.data.sequences import IntArray, SequenceLog

__all__ = ["ItemMatrix", "keep_largest", "user_item_matrix"]

_CELLS = 2_000_000  # entries that keep_largest sorts at once; bounds memory


class ItemMatrix(nn.Module):
    """A sparse matrix M over items; ``spread`` sums the rows of a weighted history.

    Equation:
        out[b, j] = sum over l of weights[b, l] * M[items[b, l], j]

    Shapes:
        items int64 ``[B, L]`` and weights float32 ``[B, L]`` -> float32 ``[B, V + 1]``.

    Example:
        >>> matrix = ItemMatrix(2)
        >>> matrix.fill(csr_matrix([[0, 0, 0], [0, 0, 3.0], [0, 0, 0]]))
        >>> matrix.spread(torch.tensor([[1]]), torch.tensor([[2.0]]))
        tensor([[0., 0., 6.]])
    """

    starts: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.num_items = num_items
        self.register_buffer("starts", torch.zeros(num_items + 2, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(0))

    def fill(self, matrix: csr_matrix) -> None:
        """Take over the entries of ``matrix``, ``[V + 1, V + 1]``."""
        device = self.starts.device
        self.starts = torch.from_numpy(matrix.indptr.astype(np.int64)).to(device)
        self.columns = torch.from_numpy(matrix.indices.astype(np.int64)).to(device)
        self.values = torch.from_numpy(matrix.data.astype(np.float32)).to(device)

    def spread(self, items: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted sum of the rows ``items``, ``[B, V + 1]``."""
        width = self.num_items + 1
        flat = items.reshape(-1)
        first, counts = self.starts[flat], self.starts[flat + 1] - self.starts[flat]
        owner = torch.repeat_interleave(torch.arange(len(flat), device=flat.device), counts)
        before = counts.cumsum(0) - counts
        place = torch.arange(len(owner), device=flat.device) - before[owner] + first[owner]
        row = owner // max(items.shape[1], 1)
        scores = self.values.new_zeros(items.shape[0] * width)
        scores.index_add_(0, row * width + self.columns[place], weights.reshape(-1)[owner] * self.values[place])
        return scores.view(items.shape[0], width)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room first: the number of entries is known only from what is loaded."""
        for name in ("starts", "columns", "values"):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.empty_like(saved, device=self.starts.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def user_item_matrix(log: SequenceLog) -> csr_matrix:
    """Return who has met what, as ones in a sparse ``[U, V + 1]`` matrix (repeats count once)."""
    matrix = csr_matrix(
        (np.ones(len(log.items), np.float32), log.items, log.offsets), shape=(log.num_users, log.num_items + 1)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def keep_largest(matrix: csr_matrix, count: int) -> csr_matrix:
    """Return ``matrix`` with the ``count`` largest entries of each row.

    Rows of similar length are padded into one block at a time, so that the work is a partial sort per row and
    the memory stays bounded.
    """
    entries: IntArray = np.diff(matrix.indptr).astype(np.int64)
    keep = np.repeat(entries <= count, entries)
    waiting = np.flatnonzero(entries > count)
    waiting = waiting[np.argsort(-entries[waiting], kind="stable")]
    while len(waiting):
        longest = int(entries[waiting[0]])
        rows, waiting = np.split(waiting, [max(_CELLS // longest, 1)])
        column = np.arange(longest)[None, :]
        place = np.minimum(matrix.indptr[rows].astype(np.int64)[:, None] + column, matrix.nnz - 1)
        worth = matrix.data[place]
        worth[column >= entries[rows][:, None]] = -np.inf
        largest = np.argpartition(worth, longest - count, axis=1)[:, longest - count :]
        keep[np.take_along_axis(place, largest, axis=1)] = True
    starts = np.concatenate([[0], np.cumsum(np.minimum(entries, count))])
    return csr_matrix((matrix.data[keep], matrix.indices[keep], starts), shape=matrix.shape)
