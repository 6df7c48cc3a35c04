"""The two networks of MCNet's monotone function: a slope that is always positive, and an offset."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.calibrate.stacked import StackedLinear, per_row

__all__ = ["Activation", "Offset", "Positive", "PositiveDerivative"]

Activation = Literal["tanh", "softplus", "silu", "relu"]
Positive = Literal["elu", "softplus"]

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "softplus": functional.softplus,
    "silu": functional.silu,
    "relu": functional.relu,
}
# keeps f1 above zero where exp underflows; the smallest slope that the map can have
_FLOOR = 1e-6


class PositiveDerivative(nn.Module):
    """``f1_k(t, h) > 0``: a free network per bin whose last activation is positive.

    ``f1 = positive(W_L phi(... phi(w t~ + W h + b))) + 1e-6`` with ``t~ = (t - centre) / scale``; ``positive`` is
    ``ELU + 1`` or softplus.

    Shapes:
        forward: points ``[N, M]``, bins ``[N]``, context vectors ``[N, E]`` -> ``[N, M]``, all above zero.
    """

    def __init__(
        self,
        bins: int,
        context_size: int,
        hidden_size: int,
        num_layers: int,
        activation: Activation,
        positive: Positive,
    ) -> None:
        super().__init__()
        self.activation, self.positive, self.floor = activation, positive, _FLOOR
        self.point = nn.Parameter(torch.empty(bins, hidden_size))
        self.context = StackedLinear(bins, context_size, hidden_size)
        self.hidden = nn.ModuleList([StackedLinear(bins, hidden_size, hidden_size) for _ in range(num_layers - 1)])
        self.output = StackedLinear(bins, hidden_size, 1)
        self.register_buffer("centre", torch.empty(()))
        self.register_buffer("scale", torch.empty(()))

    def reset(self, centre: float, scale: float, generator: torch.Generator, start: float = 1.0) -> None:
        """Draw the hidden weights; a zero last layer makes f1 = ``start`` everywhere, a straight line."""
        with torch.no_grad():
            self.get_buffer("centre").fill_(centre)
            self.get_buffer("scale").fill_(scale)
            self.point.normal_(0.0, 1.0, generator=generator)
            self.context.reset(generator)
            self.context.bias.normal_(0.0, 1.0, generator=generator)
            for layer in self.hidden:
                assert isinstance(layer, StackedLinear)
                layer.reset(generator, gain=1.5)
            self.output.weight.zero_()
            self.output.bias.fill_(self._before(start))

    def forward(self, points: Tensor, bins: Tensor, context: Tensor) -> Tensor:
        """Return the slope at every point."""
        activate = _ACTIVATIONS[self.activation]
        scaled = ((points - self.get_buffer("centre")) / self.get_buffer("scale")).unsqueeze(-1)
        hidden = scaled * per_row(self.point, bins).unsqueeze(1) + self.context(context.unsqueeze(1), bins)
        for layer in self.hidden:
            hidden = layer(activate(hidden), bins)
        out = self.output(activate(hidden), bins).squeeze(-1)
        if self.positive == "softplus":
            return functional.softplus(out) + self.floor
        return functional.elu(out) + 1.0 + self.floor

    def _before(self, slope: float) -> float:
        """Return what the last activation turns into ``slope``."""
        if self.positive == "softplus":
            return math.log(math.expm1(slope))
        return slope - 1.0 if slope >= 1.0 else math.log(slope)


class Offset(nn.Module):
    """``f2_k(h)``: the value at the lower limit; without context, one number per bin.

    Shapes:
        forward: bins ``[N]``, context vectors ``[N, E]`` -> ``[N]``.
    """

    def __init__(self, bins: int, context_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = StackedLinear(bins, context_size, hidden_size) if context_size else None
        self.weight = nn.Parameter(torch.empty(bins, hidden_size)) if context_size else None
        self.bias = nn.Parameter(torch.empty(bins, 1))

    def reset(self, start: Tensor, generator: torch.Generator) -> None:
        """Begin at ``start [K]`` for every context."""
        with torch.no_grad():
            self.bias.copy_(start.reshape(-1, 1))
            if self.hidden is not None and self.weight is not None:
                self.hidden.reset(generator)
                self.weight.zero_()

    def forward(self, bins: Tensor, context: Tensor) -> Tensor:
        """Return the offset of every row."""
        offset = per_row(self.bias, bins).squeeze(1)
        if self.hidden is None or self.weight is None:
            return offset
        hidden = torch.tanh(self.hidden(context.unsqueeze(1), bins)).squeeze(1)
        return offset + (hidden * per_row(self.weight, bins)).sum(1)
