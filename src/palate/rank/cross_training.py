r"""Cross layers with full matrices, forward and backward with the elementwise work done in the cache.

.. math::
    u_l = W_l x_l + b_l, \qquad x_{l+1} = x_0 \odot u_l + x_l

and back, with ``g_l`` the gradient at ``x_l``:

.. math::
    \nabla u_l = g_{l+1} \odot x_0, \qquad g_l = g_{l+1} + W_l^\top \nabla u_l, \qquad
    \nabla x_0 = g_0 + \sum_l g_{l+1} \odot u_l

All layers are one function for autograd, so that ``g`` and the gradient of ``x_0`` are summed up in place. Taken
operator by operator, the same sums pass through memory a dozen times per layer. Under autocast the products are taken
in its type and everything else in that of ``x_0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from palate.rank.sweeps import sweeps

__all__ = ["cross_training"]


def cross_training(x_0: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Return the crossed features, for training.

    Shapes:
        x_0: ``[B, d]``; layers: maps with bias from ``d`` to ``d`` -> ``[B, d]``.

    Example:
        >>> x, layer = torch.ones(1, 2), nn.Linear(2, 2)
        >>> torch.equal(cross_training(x, [layer]), x * layer(x) + x)
        True
    """
    device = x_0.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_0.dtype
    maps = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    crossed: Tensor = _Cross.apply(x_0, dtype, *maps)  # type: ignore[no-untyped-call]
    return crossed


class _Cross(torch.autograd.Function):
    """Keeps every ``x_l`` and ``u_l`` in the type of the products."""

    @staticmethod
    def forward(ctx: Any, x_0: Tensor, dtype: torch.dtype, *maps: Tensor) -> Tensor:
        x, inputs, factors = x_0, [x_0.to(dtype)], []
        for weight, bias in zip(maps[::2], maps[1::2], strict=True):
            u = functional.linear(inputs[-1], weight.to(dtype), bias.to(dtype))
            y = torch.empty_like(x)
            narrow = y if dtype == y.dtype else torch.empty_like(u)
            for part in sweeps(x):
                torch.addcmul(x[part], x_0[part], u[part].to(x.dtype), out=y[part])
                if narrow is not y:
                    narrow[part].copy_(y[part])
            factors.append(u)
            inputs.append(narrow)
            x = y
        ctx.save_for_backward(x_0, *maps[::2], *factors, *inputs[:-1])
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_0, *saved = ctx.saved_tensors
        count = len(saved) // 3
        layers = zip(saved[:count], saved[count : 2 * count], saved[2 * count :], strict=True)
        g, d_x_0, d_maps = gradient, torch.zeros_like(x_0), list[Tensor]()
        for weight, u, x in reversed(list(layers)):
            d_u = torch.empty_like(u)
            for part in sweeps(x_0):
                torch.mul(g[part], x_0[part], out=d_u[part])
                d_x_0[part].addcmul_(g[part], u[part].to(g.dtype))
            d_maps += [d_u.sum(dim=0, dtype=g.dtype), (d_u.t() @ x).to(g.dtype)]
            if u.dtype == g.dtype:
                # The first time into memory of its own: the gradient that came may be used elsewhere.
                g = torch.addmm(g, d_u, weight, out=None if g is gradient else g)
            else:
                back = d_u @ weight.to(u.dtype)
                g = torch.add(g, back, out=torch.empty_like(g) if g is gradient else g)
        return d_x_0.add_(g), None, *reversed(d_maps)
