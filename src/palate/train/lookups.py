"""Makes the embeddings of a model hand over their gradients the cheap way while it trains.

The backward pass of a torch look-up either adds every row of the batch into a fresh ``[V, D]`` tensor one by one, or
(``sparse=True``) filters the padding rows by a mask and leaves the summing of duplicates to whoever comes next. Both
cost more than the model on wide batches of ids. Here the backward pass sorts the ids once and sums duplicates in one
sweep; a small table then gets a dense gradient, a large one a gradient of its touched rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from palate.train.rows import RowGradient, put_rows, sum_rows

__all__ = ["hand_over"]

Embedding = nn.Embedding | nn.EmbeddingBag


def hand_over(module: Embedding, *, by_rows: bool) -> Callable[[], None]:
    """Change how ``module`` hands over the gradient of its table, and return what changes it back.

    What the module computes stays the same, padding rows included; only ``module.forward`` (or ``module.sparse``,
    where the look-up is not the plain one) is replaced for a while.

    Args:
        module: An embedding.
        by_rows: Whether the gradient should be a sparse tensor of the touched rows (else a dense one).
    """
    if isinstance(module, nn.Embedding) and _is_plain(module):
        own = module.__dict__.get("forward")
        module.forward = partial(_look_up, module, by_rows)  # type: ignore[method-assign]
        return partial(_restore_forward, module, own)
    can_be_sparse = not module.scale_grad_by_freq and getattr(module, "mode", "sum") != "max"
    before = module.sparse
    module.sparse = before or (by_rows and can_be_sparse)
    return partial(setattr, module, "sparse", before)


def _is_plain(module: nn.Embedding) -> bool:
    usual = type(module).forward is nn.Embedding.forward
    return usual and module.max_norm is None and not module.scale_grad_by_freq


def _look_up(module: nn.Embedding, by_rows: bool, ids: Tensor) -> Tensor:
    if not torch.is_grad_enabled() or not module.weight.requires_grad:
        return functional.embedding(ids, module.weight)
    padding = -1 if module.padding_idx is None else module.padding_idx
    looked_up: Tensor = _LookUp.apply(module.weight, ids, padding, by_rows)  # type: ignore[no-untyped-call]
    return looked_up


def _restore_forward(module: nn.Embedding, own: Any) -> None:
    module.__dict__.pop("forward", None)
    if own is not None:
        module.forward = own  # type: ignore[method-assign]


class _LookUp(torch.autograd.Function):
    """Rows of a table by id; backward sums the gradients of each id and leaves out the padding row."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int, by_rows: bool) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding, ctx.by_rows = weight.shape, padding, by_rows
        return functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (saved,) = ctx.saved_tensors
        ids, rows = saved.flatten(), gradient.reshape(-1, ctx.shape[1])
        if ctx.by_rows:
            distinct, sums = _without(ctx.padding, sum_rows(ids, rows, ctx.shape[0]))
            table = torch.sparse_coo_tensor(
                distinct.unsqueeze(0), sums, ctx.shape, is_coalesced=True, check_invariants=False
            )
            return table, None, None, None
        dense = rows.new_zeros(ctx.shape)
        if ctx.shape[1] == 1:
            dense.index_add_(0, ids, rows)
        else:
            put_rows(dense, *sum_rows(ids, rows, ctx.shape[0]))
        if ctx.padding >= 0:
            dense[ctx.padding] = 0
        return dense, None, None, None


def _without(row: int, gradient: RowGradient) -> RowGradient:
    """Return the gradient without a row that has none (-1: all have one)."""
    ids, rows = gradient
    if row < 0:
        return gradient
    place = int(torch.searchsorted(ids, row))
    if place == len(ids) or int(ids[place]) != row:
        return gradient
    if place == 0:
        return RowGradient(ids[1:], rows[1:])
    return RowGradient(torch.cat([ids[:place], ids[place + 1 :]]), torch.cat([rows[:place], rows[place + 1 :]]))
