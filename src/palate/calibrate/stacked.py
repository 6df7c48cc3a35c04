"""Many small networks as one: bin k has its own weights, and a batch runs through all bins without a loop."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

__all__ = ["StackedLinear", "per_row"]


class StackedLinear(nn.Module):
    """K affine maps side by side; each row goes through the map of its bin.

    ``y_n = x_n W[k_n] + b[k_n]``

    Shapes:
        weight: ``[K, in, out]``; bias: ``[K, out]``.
        forward: inputs ``[N, M, in]`` (M points per row), bins int64 ``[N]`` -> ``[N, M, out]``.
    """

    def __init__(self, bins: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(bins, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(bins, out_features))

    def reset(self, generator: torch.Generator, gain: float = 1.0) -> None:
        """Draw weights of variance ``gain^2 / in`` and set the bias to zero."""
        with torch.no_grad():
            self.weight.normal_(0.0, gain / max(self.weight.shape[1], 1) ** 0.5, generator=generator)
            self.bias.zero_()

    def forward(self, inputs: Tensor, bins: Tensor) -> Tensor:
        """Return the affine image of every point."""
        bias = per_row(self.bias, bins).unsqueeze(1)
        if not self.weight.shape[1]:  # no inputs: a constant per bin
            return bias.expand(-1, inputs.shape[1], -1)
        weight = per_row(self.weight.flatten(1), bins).view(-1, *self.weight.shape[1:])
        return torch.baddbmm(bias, inputs, weight)


def per_row(table: Tensor, bins: Tensor) -> Tensor:
    """Return ``table[bins]`` through the embedding kernel, whose gradient sums in a fixed order on every thread count.

    Shapes:
        table: ``[K, D]``; bins: int64 ``[N]`` -> ``[N, D]``.
    """
    return functional.embedding(bins, table)
