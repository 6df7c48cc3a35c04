"""Mamba4Rec: a state-space model whose memory depends on what it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from palate.config import Size
from palate.registry import register
from palate.sequence.blocks import FeedForward, initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["Mamba4Rec", "Mamba4RecConfig", "MambaLayer", "selective_scan"]


class Mamba4RecConfig(NeuralConfig):
    """Settings of Mamba4Rec.

    Attributes:
        num_layers: Blocks; with one block there is no residual around the Mamba layer, as in the paper.
        state_size: Memory ``S`` per channel.
        conv_size: Items seen by the causal convolution.
        expand: Inner width ``E`` over ``embedding_size``.
        hidden_factor: Width of the feed-forward layer over ``embedding_size``.
    """

    num_layers: int = Field(1, ge=1)
    state_size: int = Field(32, ge=1)
    conv_size: int = Field(4, ge=1)
    expand: int = Field(2, ge=1)
    hidden_factor: int = Field(4, ge=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "state_size": 8},
        "small": {"embedding_size": 64, "state_size": 16},
        "base": {"embedding_size": 64, "state_size": 32, "dropout": 0.2},
    }


def selective_scan(x: Tensor, delta: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Return what a selective state-space model reads out of its memory at every position.

    Equation:
        h_t = exp(delta_t A) o h_{t-1} + delta_t x_t B_t;  y_t = h_t C_t

    Shapes:
        x, delta ``[B, L, E]``, decay A ``[E, S]`` (negative), write B and read C ``[B, L, S]`` -> ``[B, L, E]``.

    Example:
        >>> one = torch.ones(1, 2, 1)
        >>> selective_scan(one, one, torch.tensor([[-math.log(2.0)]]), one, one).flatten().tolist()
        [1.0, 1.5]
    """
    memory = x.new_zeros(x.shape[0], x.shape[2], decay.shape[1])
    scaled, outputs = delta * x, []
    for t in range(x.shape[1]):
        memory = torch.exp(delta[:, t, :, None] * decay) * memory + scaled[:, t, :, None] * write[:, t, None, :]
        outputs.append((memory * read[:, t, None, :]).sum(-1))
    return torch.stack(outputs, 1)


class MambaLayer(nn.Module):
    """The Mamba layer: a gated selective state-space model behind a short causal convolution.

    Equation:
        [u, g] = W_in x;  u <- silu(causal conv(u));  [d, B, C] = W_x u
        delta = softplus(W_d d + b_d);  y = scan(u, delta, A, B, C) + D o u;  out = W_out (y o silu(g))

    Shapes:
        x ``[B, L, D]`` -> ``[B, L, D]``.
    """

    def __init__(self, size: int, state_size: int, conv_size: int, expand: int) -> None:
        super().__init__()
        width, rank = expand * size, math.ceil(size / 16)
        self.rank, self.state_size = rank, state_size
        self.inputs = nn.Linear(size, 2 * width, bias=False)
        self.conv = nn.Conv1d(width, width, conv_size, groups=width, padding=conv_size - 1)
        self.select = nn.Linear(width, rank + 2 * state_size, bias=False)
        self.delta = nn.Linear(rank, width)
        self.log_decay = nn.Parameter(torch.arange(1, state_size + 1.0).log().repeat(width, 1))
        self.skip = nn.Parameter(torch.ones(width))
        self.output = nn.Linear(width, size, bias=False)

    def reset(self) -> None:
        """Draw the step sizes so that softplus gives 0.001 to 0.1, log-uniformly, as Mamba does."""
        step = torch.exp(torch.rand_like(self.delta.bias) * math.log(100.0) + math.log(1e-3))
        with torch.no_grad():
            nn.init.uniform_(self.delta.weight, -(self.rank**-0.5), self.rank**-0.5)
            self.delta.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, ``[B, L, D]``."""
        value, gate = self.inputs(x).chunk(2, -1)
        value = functional.silu(self.conv(value.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        rank, write, read = self.select(value).split([self.rank, self.state_size, self.state_size], -1)
        delta = functional.softplus(self.delta(rank))
        y = selective_scan(value, delta, -self.log_decay.exp(), write, read) + self.skip * value
        out: Tensor = self.output(y * functional.silu(gate))
        return out


class MambaBlock(nn.Module):
    """A Mamba layer and a feed-forward layer with norms after.

    Equation:
        x <- LN(dropout(mamba(x)) [+ x, with more than one block]);  x <- LN(x + dropout(feed_forward(x)))
    """

    def __init__(self, config: Mamba4RecConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.residual = config.num_layers > 1
        self.mamba = MambaLayer(size, config.state_size, config.conv_size, config.expand)
        self.mamba_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, config.hidden_factor * size, config.dropout)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new states, ``[B, L, D]``."""
        mixed = self.dropout(self.mamba(x))
        x = self.mamba_norm(mixed + x if self.residual else mixed)
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return out


@register("next-item", "mamba4rec", source="Liu et al. 2024, arXiv 2403.03900")
class Mamba4Rec(NeuralModel):
    """Sequential recommendation with selective state-space models.

    Equation:
        x_t = LN(dropout(e(i_t)));  x <- blocks of Mamba and feed-forward layers;  score(j) = <x_t, e_j>

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``.

    Example:
        >>> Mamba4Rec(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = Mamba4RecConfig
    config: Mamba4RecConfig

    def __init__(self, num_items: int, config: Mamba4RecConfig | None = None) -> None:
        config = config or Mamba4RecConfig.sized("tiny")
        super().__init__(num_items, config)
        self.input_norm = nn.LayerNorm(config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(MambaBlock(config) for _ in range(config.num_layers))
        self.apply(partial(initialise, std=config.initial_std))
        for module in self.modules():
            if isinstance(module, MambaLayer):
                module.reset()

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""
        x: Tensor = self.input_norm(self.dropout(self.item_embedding(items)))
        for block in self.blocks:
            x = block(x)
        return x
