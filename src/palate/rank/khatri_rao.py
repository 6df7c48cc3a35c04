"""The gate of QNN-alpha: rectify, drop, and add up the rows, in one sweep that stays in the processor's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from palate.rank.dropout import Dropout

__all__ = ["rectified_row_sum"]

_CHUNK = 1 << 17  # numbers per sweep: half a megabyte in float32


def rectified_row_sum(u: Tensor, num_heads: int, num_rows: int, dropout: Dropout) -> Tensor:
    r"""Return the gate: for every head and coordinate the sum over rows of the rectified, masked numbers.

    .. math:: g_{b,h,k} = \frac{1}{1-p} \sum_{r=1}^{R} m_{b,h,r,k}\ \mathrm{ReLU}(u_{b,h,r,k})

    Summing before multiplying with the input is what keeps the Khatri-Rao product from being materialised:
    ``sum_r x ⊙ h_r = x ⊙ sum_r h_r``.

    Args:
        u: The linear map's output; flat index ``(h * R + r) * (d / H) + k``.
        num_heads: ``H``.
        num_rows: ``R``.
        dropout: Draws the mask ``m`` in training.

    Shapes:
        u: ``[B, R * d]`` -> float32 (or wider) ``[B, d]``, heads outermost.

    Example:
        >>> rectified_row_sum(torch.tensor([[1.0, -2.0, 3.0, 4.0]]), 1, 2, Dropout(0.0))
        tensor([[4., 4.]])
    """
    if not dropout.active:
        h = torch.relu(u).view(len(u), num_heads, num_rows, -1)
        return h.sum(dim=2, dtype=torch.promote_types(u.dtype, torch.float32)).flatten(1)
    gate: Tensor = _MaskedRowSum.apply(  # type: ignore[no-untyped-call]
        u, dropout.draw(u), dropout.threshold, dropout.scale, num_heads, num_rows
    )
    return gate


class _MaskedRowSum(torch.autograd.Function):
    """The training form. Keeps ``h = m ReLU(u)`` for the way back: its sign is all that the gradient needs."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, bits: Tensor, threshold: int, scale: float, num_heads: int, num_rows: int
    ) -> Tensor:
        u = u.contiguous()
        rows, width = u.shape
        h = torch.empty_like(u)
        gate = u.new_empty(rows, width // num_rows, dtype=torch.promote_types(u.dtype, torch.float32))
        shape = (-1, num_heads, num_rows, width // (num_heads * num_rows))
        for part in _chunks(u):
            kept = torch.clamp_min(u[part], 0.0, out=h[part])
            mask = torch.empty_like(kept)
            kept.mul_(torch.ge(bits[part], threshold, out=mask))
            first, *others = kept.view(shape).unbind(2)
            total = gate[part].view(first.shape).copy_(first)
            for row in others:
                total.add_(row)
            total.mul_(scale)
        ctx.save_for_backward(h)
        ctx.shape, ctx.scale = shape, scale
        return gate

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (h,) = ctx.saved_tensors
        gradient_u = torch.empty_like(h)
        for part in _chunks(h):
            kept = h[part].view(ctx.shape)
            scaled = (gradients[0][part] * ctx.scale).to(h.dtype).view(-1, kept.shape[1], 1, kept.shape[3])
            # The gradient of ReLU, read off its output: zero where the number was negative or dropped.
            torch.ops.aten.threshold_backward.grad_input(
                scaled.expand_as(kept), kept, 0.0, grad_input=gradient_u[part].view(ctx.shape)
            )
        return gradient_u, None, None, None, None, None


def _chunks(x: Tensor) -> list[slice]:
    """Return row ranges small enough for the cache (one range on an accelerator)."""
    step = max(1, _CHUNK // x.shape[1]) if x.device.type == "cpu" else max(1, x.shape[0])
    return [slice(start, start + step) for start in range(0, x.shape[0], step)]
