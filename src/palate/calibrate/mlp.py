"""A plain multilayer perceptron whose numbers come from a generator of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        sizes: Width of the input, the hidden layers and the output. With an input of width 0 the output is a
            learned constant.

    Shapes:
        forward: ``[N, sizes[0]]`` -> ``[N, sizes[-1]]``.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        widths = sizes if sizes[0] else [0, sizes[-1]]
        pairs = itertools.pairwise(widths)
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(out, inner)) for inner, out in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.empty(out)) for out in widths[1:]])

    def reset(self, generator: torch.Generator, *, output: Tensor | float = 0.0, output_gain: float = 0.0) -> None:
        """Draw the hidden layers (He); begin at the constant ``output``, plus a share of random output weights."""
        with torch.no_grad():
            for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                last = place == len(self.weights) - 1
                gain = output_gain if last else 2.0**0.5
                weight.normal_(0.0, gain / max(weight.shape[1], 1) ** 0.5, generator=generator)
                bias.zero_()
                if last:
                    bias += torch.as_tensor(output)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs."""
        hidden = inputs
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight.T + bias if weight.shape[1] else bias.expand(len(inputs), -1)
            if place < len(self.weights) - 1:
                hidden = torch.relu(hidden)
        return hidden
