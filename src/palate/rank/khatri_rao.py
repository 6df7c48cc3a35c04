r"""The product inside a QNN-alpha layer, forward and backward in one sweep that stays in the processor's cache.

With ``u`` the linear map's output, ``m`` and ``n`` the two dropout masks and ``P`` the order head by head,

.. math::
    g = \frac{1}{1-p} \sum_r m_r \odot \mathrm{ReLU}(u_r), \qquad
    y = \frac{n}{1-p} \odot (P(x) \odot g + x)

Two choices make it cheap. Rows are summed before they are multiplied, ``sum_r x ⊙ h_r = x ⊙ sum_r h_r``, so that the
``[B, H, R, d/H]`` product never exists. And in training all elementwise work on a few hundred rows is done while they
are in the cache: on a CPU this work, done tensor by tensor, costs as much as the matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from palate.rank.dropout import Dropout
from palate.rank.sweeps import sweeps

__all__ = ["KhatriRaoShape", "khatri_rao_plain", "khatri_rao_training"]


@dataclass(frozen=True, slots=True)
class KhatriRaoShape:
    """How a layer's numbers are laid out.

    Attributes:
        num_fields: ``F``.
        embedding_size: ``D``; the width is ``d = F D``.
        num_heads: ``H``, a divisor of ``D``: head ``η`` of the input is slice ``η`` of every embedding.
        num_rows: ``R``; the flat index in ``u`` is ``(head * R + row) * (d / H) + k``.
        aligned: Bring the product back into field order before the input is added. The authors' code does not.
    """

    num_fields: int
    embedding_size: int
    num_heads: int
    num_rows: int
    aligned: bool

    def to_heads(self, x: Tensor) -> Tensor:
        """Field by field -> head by head: ``[B, F, H, D/H]`` -> ``[B, H, F, D/H]``, flat ``[B, d]``."""
        if self.num_heads == 1:
            return x
        cut = self.embedding_size // self.num_heads
        return x.view(-1, self.num_fields, self.num_heads, cut).transpose(1, 2).flatten(1)

    def to_fields(self, y: Tensor) -> Tensor:
        """Head by head -> field by field, the inverse of :meth:`to_heads`."""
        if self.num_heads == 1:
            return y
        cut = self.embedding_size // self.num_heads
        return y.view(-1, self.num_heads, self.num_fields, cut).transpose(1, 2).flatten(1)

    def rows(self, h: Tensor) -> Tensor:
        """Return ``[B, R d]`` as ``[B, H, R, d/H]``."""
        return h.view(h.shape[0], self.num_heads, self.num_rows, -1)

    def sum_rows(self, h: Tensor) -> Tensor:
        """Return the sum over rows, at least in float32: ``[B, R d]`` -> ``[B, d]``."""
        first, *others = self.rows(h).unbind(2)  # adding slices is several times faster than a strided sum
        total = first.to(torch.promote_types(h.dtype, torch.float32), copy=True)
        for row in others:
            total = total.add_(row)
        return total.flatten(1)


def khatri_rao_plain(x: Tensor, h: Tensor, shape: KhatriRaoShape) -> Tensor:
    """Return ``P(x) ⊙ sum_r h_r + x``, for any activated factor ``h``.

    Shapes:
        x: ``[B, d]``; h: ``[B, R d]`` -> ``[B, d]``.

    Example:
        >>> shape = KhatriRaoShape(1, 2, num_heads=1, num_rows=2, aligned=False)
        >>> khatri_rao_plain(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 4.0]]), shape)
        tensor([[ 5., 10.]])
    """
    gate = shape.sum_rows(h)
    if shape.aligned:
        return torch.addcmul(x, x, shape.to_fields(gate))
    return torch.addcmul(x, shape.to_heads(x), gate)


def khatri_rao_training(
    x: Tensor, u: Tensor, shape: KhatriRaoShape, factor: Dropout, output: Dropout, passes: int = 1
) -> Tensor:
    """Return the layer's output with both dropouts, once or for several passes under independent masks.

    Args:
        x: The layer's input.
        u: The linear map's output, before ReLU.
        shape: The layout.
        factor: Dropout of the activated factor; draws ``m``.
        output: Dropout of the layer's output; draws ``n``.
        passes: How many times the same rows pass.

    Shapes:
        x: ``[B, d]``; u: ``[B, R d]`` -> ``[passes * B, d]``, the first pass on top.
    """
    noise = [(factor.draw(u), output.draw(x)) for _ in range(passes)]
    y: Tensor = _KhatriRao.apply(x, u, shape, noise, factor, output)  # type: ignore[no-untyped-call]
    return y


class _KhatriRao(torch.autograd.Function):
    """Keeps ``h = m ⊙ ReLU(u)`` for the way back: its sign tells where the gradient passes, its sum is the gate."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        u: Tensor,
        shape: KhatriRaoShape,
        noise: list[tuple[Tensor, Tensor]],
        factor: Dropout,
        output: Dropout,
    ) -> Tensor:
        x, u = x.contiguous(), u.contiguous()
        y = x.new_empty(len(noise) * len(x), x.shape[1])
        kept = [torch.empty_like(u) for _ in noise]
        for (factor_bits, output_bits), h, out in zip(noise, kept, torch.split(y, len(x)), strict=True):
            for part in sweeps(u):
                torch.clamp_min(u[part], 0.0, out=h[part])
                h[part].mul_(factor.mask(factor_bits[part], u.dtype))
                gate, x_part = shape.sum_rows(h[part]), x[part]
                if shape.aligned:
                    gate = shape.to_fields(gate)
                else:
                    x_part = shape.to_heads(x_part)
                torch.addcmul(x[part], x_part, gate, value=factor.scale, out=out[part])
                out[part].mul_(output.mask(output_bits[part], x.dtype).mul_(output.scale))
        ctx.save_for_backward(x, *kept, *(output_bits for _, output_bits in noise))
        ctx.shape, ctx.factor, ctx.output = shape, factor, output
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        passes, shape = len(saved) // 2, ctx.shape
        dx, du = torch.empty_like(x), torch.empty_like(saved[0])
        for part in sweeps(saved[0]):
            x_part = x[part] if shape.aligned else shape.to_heads(x[part])
            for place, dy in enumerate(torch.split(gradients[0], len(x))):
                h = saved[place][part]
                mask = ctx.output.mask(saved[passes + place][part], x.dtype).mul_(ctx.output.scale)
                dz = mask.mul_(dy[part])
                gate, dgate = shape.sum_rows(h), dz * x_part
                if shape.aligned:
                    gate, dgate = shape.to_fields(gate), shape.to_heads(dgate)
                dproduct = gate.mul_(dz)
                if not shape.aligned:
                    dproduct = shape.to_fields(dproduct)
                rows = shape.rows(h)
                dgate = dgate.mul_(ctx.factor.scale).to(h.dtype).view(rows.shape[0], rows.shape[1], 1, rows.shape[3])
                # The gradient of ReLU read off its output: zero where the number was negative or dropped.
                if place == 0:
                    torch.add(dz, dproduct, alpha=ctx.factor.scale, out=dx[part])
                    _relu_gradient(dgate.expand_as(rows), rows, out=shape.rows(du[part]))
                else:
                    dx[part].add_(dz.add_(dproduct, alpha=ctx.factor.scale))
                    du[part].add_(_relu_gradient(dgate.expand_as(rows), rows, out=torch.empty_like(rows)).view_as(h))
        return dx, du, None, None, None, None


def _relu_gradient(gradient: Tensor, h: Tensor, out: Tensor) -> Tensor:
    result: Tensor = torch.ops.aten.threshold_backward.grad_input(gradient, h, 0.0, grad_input=out)
    return result
