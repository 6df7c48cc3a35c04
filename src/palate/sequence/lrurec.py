"""LRURec: linear recurrences with complex decay, trained in parallel and served one step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from palate.config import Size
from palate.registry import register
from palate.sequence.blocks import FeedForward, initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["LRURec", "LRURecConfig", "LinearRecurrentUnit", "decayed_sums"]


class LRURecConfig(NeuralConfig):
    """Settings of LRURec.

    Attributes:
        num_layers: Blocks.
        expand: Width of the complex state over ``embedding_size``.
        hidden_factor: Width of the feed-forward layer over ``embedding_size``.
        min_radius, max_radius: Bounds of the initial absolute decay.
    """

    num_layers: int = Field(2, ge=1)
    expand: int = Field(2, ge=1)
    hidden_factor: int = Field(4, ge=1)
    min_radius: float = Field(0.8, ge=0, lt=1)
    max_radius: float = Field(0.99, gt=0, lt=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_layers": 1},
        "small": {"embedding_size": 64, "num_layers": 2},
        "base": {"embedding_size": 64, "num_layers": 2, "dropout": 0.2},
    }


def decayed_sums(inputs: Tensor, decay: Tensor) -> Tensor:
    """Return h with h_t = decay * h_{t-1} + inputs_t, in log2(L) parallel rounds.

    Round r adds what lies 2^r steps back, decayed by decay^(2^r), so that after it every position holds the last
    2^(r+1) inputs.

    Shapes:
        inputs ``[B, L, H]``, decay ``[H]``, real or complex -> ``[B, L, H]``.

    Example:
        >>> decayed_sums(torch.tensor([[[1.0], [1.0], [1.0]]]), torch.tensor([0.5])).flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    step, power = 1, decay
    while step < inputs.shape[1]:
        inputs = torch.cat([inputs[:, :step], inputs[:, step:] + power * inputs[:, :-step]], 1)
        step, power = 2 * step, power * power
    return inputs


class LinearRecurrentUnit(nn.Module):
    """A diagonal linear recurrence with complex state.

    Equation:
        decay = exp(-exp(nu) + i exp(theta));  gamma = exp(log_gamma), at first sqrt(1 - |decay|^2)
        h_t = decay o h_{t-1} + gamma o (B x_t + b);  y_t = Re(C h_t + c)

    Shapes:
        x ``[B, L, D]`` -> ``[B, L, D]``.
    """

    def __init__(self, size: int, hidden: int, min_radius: float, max_radius: float, std: float) -> None:
        super().__init__()
        radius = torch.rand(hidden) * (max_radius**2 - min_radius**2) + min_radius**2  # squared, uniform on the ring
        self.nu = nn.Parameter((-0.5 * radius.log()).log())
        self.theta = nn.Parameter((2 * math.pi * torch.rand(hidden).clamp(min=1e-6)).log())
        self.log_gamma = nn.Parameter((1 - radius).sqrt().log())
        self.inputs = nn.Linear(size, 2 * hidden)  # real and imaginary parts of B and b
        self.outputs = nn.Linear(2 * hidden, size)  # Re(C h) = Re C Re h - Im C Im h
        for layer in (self.inputs, self.outputs):
            initialise(layer, std)

    def decay(self) -> Tensor:
        """Return the complex decay of each channel, ``[H]``."""
        return torch.exp(torch.complex(-self.nu.exp(), self.theta.exp()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the real outputs, ``[B, L, D]``."""
        real, imaginary = self.inputs(x).chunk(2, -1)
        gamma = self.log_gamma.exp()
        hidden = decayed_sums(torch.complex(gamma * real, gamma * imaginary), self.decay())
        out: Tensor = self.outputs(torch.cat([hidden.real, hidden.imag], -1))
        return out


class LRUBlock(nn.Module):
    """A linear recurrent unit and a feed-forward layer, each with a residual around and a norm after.

    Equation:
        x <- LN(x + dropout(LRU(x)));  x <- LN(x + dropout(feed_forward(x)))
    """

    def __init__(self, config: LRURecConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.unit = LinearRecurrentUnit(
            size, config.expand * size, config.min_radius, config.max_radius, config.initial_std
        )
        self.unit_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, config.hidden_factor * size, config.dropout)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = Dropout(config.dropout)
        self.feed_forward.apply(lambda module: initialise(module, config.initial_std))

    def forward(self, x: Tensor) -> Tensor:
        """Return the new states, ``[B, L, D]``."""
        x = self.unit_norm(x + self.dropout(self.unit(x)))
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return out


@register("next-item", "lrurec", source="Yue et al., WSDM 2024, arXiv 2310.02367")
class LRURec(NeuralModel):
    """Linear recurrent units for sequential recommendation.

    Equation:
        x_t = LN(dropout(e(i_t)));  x <- blocks of linear recurrence and feed-forward layers
        score(j) = <x_t, e_j> + b_j

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D + 1]``.

    Example:
        >>> LRURec(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = LRURecConfig
    config: LRURecConfig

    def __init__(self, num_items: int, config: LRURecConfig | None = None) -> None:
        config = config or LRURecConfig.sized("tiny")
        size = config.embedding_size
        super().__init__(num_items, config, state_size=size + 1)
        self.input_norm = nn.LayerNorm(size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(LRUBlock(config) for _ in range(config.num_layers))
        self.item_bias = nn.Parameter(torch.zeros(num_items + 1, 1))
        initialise(self.item_embedding, config.initial_std)

    def output_table(self) -> Tensor:
        """Return item vectors with their biases as a last column, ``[V + 1, D + 1]``."""
        return torch.cat([self.item_embedding.weight, self.item_bias], 1)

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D + 1]``."""
        x = self.input_norm(self.dropout(self.item_embedding(items)))
        for block in self.blocks:
            x = block(x)
        return torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)
