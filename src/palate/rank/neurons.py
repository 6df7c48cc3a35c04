"""A layer of quadratic neurons of any of the thirty formats in :mod:`palate.rank.neuron_formats`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from palate.errors import ConfigError
from palate.rank.layers import init_linear
from palate.rank.neuron_formats import Affine, Bilinear, Scale, neuron_format

__all__ = ["Neuron"]


class Neuron(nn.Module):
    """A layer ``Q`` of quadratic neurons of one format.

    Args:
        name: ``T1`` to ``T30``.
        width: Width ``d`` of input and output; even for T12 to T15.
        batch_norm: Follow every linear or bilinear map inside the layer by a BatchNorm.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.

    Raises:
        UnknownNameError: If there is no such format.
        ConfigError: If the width does not suit it.

    Example:
        >>> Neuron("T19", 8)(torch.zeros(2, 8)).shape
        torch.Size([2, 8])

    Source:
        Li et al., "Revisiting Feature Interactions from the Perspective of Quadratic Neural Networks for
        Click-through Rate Prediction", KDD 2025.
    """

    def __init__(self, name: str, width: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.format = neuron_format(name)
        if width < 1 or (self.format.even and width % 2):
            remedy = "It halves the width: use an even one." if self.format.even else "Use 1 or more."
            raise ConfigError(f"{name} cannot have width {width}.", remedy=remedy)
        self.maps = nn.ModuleList(_build(each, width, batch_norm) for each in self.format.maps)
        init_linear(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``Q(x)``."""
        return self.format.apply(x, *self.maps)

    def extra_repr(self) -> str:
        """Return the format shown by ``repr``."""
        return f"{self.format.name}: {self.format.formula}"


def _build(declared: Affine | Bilinear | Scale, d: int, batch_norm: bool) -> nn.Module:
    if isinstance(declared, Scale):
        return _Scale(d)
    built: nn.Module
    if isinstance(declared, Bilinear):
        width, built = d, _Bilinear(d, d, d)
    else:
        width = int(declared.outputs * d)
        built = nn.Linear(int(declared.inputs * d), width)
    return nn.Sequential(built, nn.BatchNorm1d(width)) if batch_norm else built


class _Bilinear(nn.Bilinear):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # the same input on both sides
        # All x^T M_k by one matrix product, then a dot product with x each: many times faster than torch's own form,
        # for B n^2 numbers of memory.
        rows, width = x.shape
        left = (x @ self.weight.permute(1, 0, 2).reshape(width, -1)).view(rows, width, width)
        return torch.bmm(left, x.unsqueeze(2)).squeeze(2) + self.bias


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
