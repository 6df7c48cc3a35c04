"""HSTU: attention without softmax, gated, with a bias for how far apart two items are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as functional
from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import Size
from palate.errors import ConfigError
from palate.registry import register
from palate.sequence.blocks import PositionEmbedding, initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["HSTU", "HSTUConfig"]


class HSTUConfig(NeuralConfig):
    """Settings of HSTU.

    Attributes:
        num_layers: Blocks.
        num_heads: Heads; must divide ``embedding_size``.
        temperature: With a number, states and item vectors are L2-normalised and scores divided by it, as in the
            published experiments (0.05); ``None`` compares them as they are.
    """

    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)
    temperature: float | None = Field(None, gt=0)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_layers": 1, "num_heads": 1},
        "small": {"embedding_size": 64, "num_layers": 2, "num_heads": 2},
        "base": {
            "embedding_size": 64,
            "num_layers": 4,
            "num_heads": 4,
            "loss": "sampled-softmax",
            "num_negatives": 512,
            "temperature": 0.05,
        },
    }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ConfigError(
                f"HSTUConfig: num_heads={self.num_heads} does not divide embedding_size={self.embedding_size}."
            )
        return self


class HSTUBlock(nn.Module):
    """A hierarchical sequential transduction unit.

    Equation:
        [U, V, Q, K] = split(silu(W1 LN(X)))
        A = silu(Q K^T + bias of distance) / N, 0 above the diagonal, N = max_length
        Y = X + dropout(W2 (LN(A V) o U))

    The division by a constant, in place of a softmax, keeps how *much* evidence there is.

    Shapes:
        x ``[B, L, D]`` -> ``[B, L, D]``.
    """

    def __init__(self, config: HSTUConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.num_heads, self.max_length = config.num_heads, config.max_length
        self.input_norm = nn.LayerNorm(size)
        self.inputs = nn.Linear(size, 4 * size)
        self.distance_bias = nn.Parameter(torch.randn(config.max_length) * config.initial_std)
        self.mixed_norm = nn.LayerNorm(size)
        self.output = nn.Linear(size, size)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new states, ``[B, L, D]``."""
        batch, length, width = x.shape
        gate, *rest = functional.silu(self.inputs(self.input_norm(x))).chunk(4, -1)
        heads = (batch, length, self.num_heads, width // self.num_heads)
        value, query, key = (part.view(heads).transpose(1, 2) for part in rest)
        places = torch.arange(length, device=x.device)
        distance = (places[:, None] - places).clamp(min=0)
        attention = functional.silu(query @ key.transpose(-1, -2) + self.distance_bias[distance])
        mixed = (attention.tril() / self.max_length) @ value
        mixed = self.mixed_norm(mixed.transpose(1, 2).reshape(batch, length, width))
        out: Tensor = x + self.dropout(self.output(mixed * gate))
        return out


@register("next-item", "hstu", source="Zhai et al., ICML 2024, arXiv 2402.17152")
class HSTU(NeuralModel):
    """Hierarchical sequential transduction units.

    Equation:
        x_t = sqrt(D) * e(i_t) + p_t;  x <- blocks;  score(j) = <x_t, e_j>  (cosine / temperature if that is set)

    The published biases also have buckets of time; a history here has order only.

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``, ``L`` at most ``max_length``.

    Example:
        >>> HSTU(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = HSTUConfig
    config: HSTUConfig

    def __init__(self, num_items: int, config: HSTUConfig | None = None) -> None:
        config = config or HSTUConfig.sized("tiny")
        super().__init__(num_items, config)
        self.position = PositionEmbedding(config.max_length, config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(HSTUBlock(config) for _ in range(config.num_layers))
        self.apply(partial(initialise, std=config.initial_std))

    def output_table(self) -> Tensor:
        """Return the vectors that states are compared with, ``[V + 1, D]``."""
        table = self.item_embedding.weight
        return table if self.config.temperature is None else functional.normalize(table, dim=-1)

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""
        x: Tensor = self.item_embedding(items) * math.sqrt(self.config.embedding_size)
        x = self.dropout(x + self.position(items.shape[1]))
        for block in self.blocks:
            x = block(x)
        if self.config.temperature is None:
            return x
        return functional.normalize(x, dim=-1) / self.config.temperature
