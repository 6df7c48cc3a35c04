"""Gradients of embedding tables as (ids, rows): only what a batch touched, duplicates summed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["RowGradient", "put_rows", "row_gradient", "sum_rows"]

# From so many integers on torch sorts them by radix, three times faster than anything that compares.
_RADIX = 1 << 15


class RowGradient(NamedTuple):
    """The gradient of a table: ``ids`` int64 ``[U]``, distinct and ascending, and ``rows`` ``[U, D]``."""

    ids: Tensor
    rows: Tensor


def sum_rows(ids: Tensor, rows: Tensor, num_rows: int) -> RowGradient:
    """Sum the rows that share an id.

    ``out[u] = sum_{n: ids[n] = u} rows[n]``, the terms of one id added in the order in which they stand, whatever
    the number of threads.

    This is several times faster than the coalescing of a sparse tensor. On a CPU the ids of a small batch are packed
    with their positions into one integer each, so that a single vectorised sort of plain integers gives the distinct
    ids and the order at once; large ones are sorted by radix.

    Args:
        ids: Row of the table for each gradient row, in ``[0, num_rows)``.
        rows: The gradient rows.
        num_rows: Height of the table.

    Shapes:
        ids: int64 ``[N]``; rows: ``[N, D]``; returns ``[U]`` and ``[U, D]`` with ``U <= N``.

    Example:
        >>> sum_rows(torch.tensor([4, 1, 4]), torch.tensor([[1.0], [2.0], [3.0]]), 5).rows.tolist()
        [[2.0], [4.0]]
    """
    if ids.numel() == 0:
        return RowGradient(ids, rows)
    count = ids.numel()
    shift = (count - 1).bit_length()
    if ids.device.type == "cpu" and count < _RADIX and (num_rows - 1).bit_length() + shift <= 63:
        packed = (ids << shift).bitwise_or_(torch.arange(count))
        packed.numpy().sort()
        order = packed & ((1 << shift) - 1)
        ascending = packed >> shift
    else:
        # Half as wide, twice as fast.
        ascending, order = torch.sort(ids.int() if num_rows < 1 << 31 else ids, stable=True)
    distinct, repeats = torch.unique_consecutive(ascending, return_counts=True)
    starts = repeats.cumsum(0).sub_(repeats)
    return RowGradient(distinct.long(), functional.embedding_bag(order, rows, starts, mode="sum"))


def row_gradient(gradient: Tensor) -> RowGradient:
    """Return the gradient of a table by rows, from a sparse tensor or a dense one (then its rows that are not zero).

    Where the ids of a sparse gradient are distinct and ascending already, its own memory is returned.

    Shapes:
        gradient: ``[V, D]``, sparse (coalesced or not) or dense.
    """
    if gradient.is_sparse:
        ids, rows = gradient._indices()[0], gradient._values()
        # torch forgets that a gradient is coalesced when it keeps it; looking is far cheaper than sorting again.
        if bool((ids[1:] > ids[:-1]).all()):
            return RowGradient(ids, rows)
        return sum_rows(ids, rows, gradient.shape[0])
    ids = gradient.ne(0).any(dim=1).nonzero().view(-1)
    return RowGradient(ids, gradient.index_select(0, ids))


def put_rows(table: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Write ``table[ids] = rows`` in place, for distinct ids.

    On a CPU whole rows are copied as bytes, in a little more than half the time of ``index_copy_``.

    Shapes:
        table: ``[V, D]``; ids: int64 ``[U]``; rows: ``[U, D]``.
    """
    if table.device.type != "cpu" or not (table.is_contiguous() and rows.is_contiguous()) or not rows.numel():
        table.index_copy_(0, ids, rows)
        return
    _bytes(table)[ids.numpy()] = _bytes(rows)
    # NumPy wrote past torch: say so, for whoever holds the table in a graph.
    torch.autograd.graph.increment_version(table)


def _bytes(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.void]]:
    """Return the rows of a contiguous matrix as opaque bytes, ``[V]``, in the same memory."""
    raw = tensor.detach().view(torch.uint8).numpy()
    return raw.view(np.dtype((np.void, raw.shape[1])))[:, 0]
