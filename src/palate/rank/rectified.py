"""ReLU and dropout in one sweep, in the memory of their input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from palate.rank.dropout import Dropout
from palate.rank.sweeps import sweeps

__all__ = ["rectified"]


def rectified(u: Tensor, dropout: Dropout | None = None) -> Tensor:
    r"""Overwrite ``u`` with its positive part, dropped and scaled; for training.

    .. math:: h = \frac{m}{1 - p} \odot \mathrm{ReLU}(u)

    Args:
        u: What a layer just returned and does not need for its own gradient: a linear map, a normalisation.
        dropout: Draws ``m``; left out (or inactive), nothing is dropped.

    Shapes:
        u: ``[B, n]`` -> ``[B, n]``, the same memory.

    Example:
        >>> rectified(torch.tensor([[-1.0, 2.0]]))
        tensor([[0., 2.]])
    """
    active = dropout is not None and dropout.active
    bits = dropout.draw(u) if dropout is not None and active else None
    h: Tensor = _Rectified.apply(u, dropout, bits)  # type: ignore[no-untyped-call]
    return h


class _Rectified(torch.autograd.Function):
    """Keeps ``h`` alone, which the next layer keeps anyway: its sign tells where the gradient passes."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, dropout: Dropout | None, bits: Tensor | None) -> Tensor:
        ctx.scale = 1.0
        for part in sweeps(u):
            h = u[part].clamp_min_(0.0)
            if dropout is not None and bits is not None:
                # The scale is a number of its own, so that bfloat16 does not round it.
                ctx.scale = dropout.scale
                h.mul_(dropout.mask(bits[part], h.dtype)).mul_(dropout.scale)
        ctx.mark_dirty(u)
        ctx.save_for_backward(u)
        return u

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (h,) = ctx.saved_tensors
        d_u = torch.empty_like(h)
        for part in sweeps(h):
            scaled = torch.mul(gradient[part], ctx.scale, out=d_u[part])
            torch.ops.aten.threshold_backward.grad_input(scaled, h[part], 0.0, grad_input=scaled)
        return d_u, None, None
