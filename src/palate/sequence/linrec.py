"""LinRec: attention whose cost grows linearly with the history."""

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
from palate.sequence.blocks import FeedForward, PositionEmbedding, initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["LinRec", "LinRecConfig", "causal_linear_attention"]


class LinRecConfig(NeuralConfig):
    """Settings of LinRec.

    Attributes:
        num_layers: Blocks.
        num_heads: Attention heads; must divide ``embedding_size``.
        hidden_factor: Width of the feed-forward layer over ``embedding_size``.
        chunk_size: Items whose attention is one product; what came before them is a state of fixed size.
    """

    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)
    hidden_factor: int = Field(4, ge=1)
    chunk_size: int = Field(64, ge=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_layers": 1, "num_heads": 1},
        "small": {"embedding_size": 64, "num_layers": 2, "num_heads": 2},
        "base": {"embedding_size": 128, "num_layers": 2, "num_heads": 2, "max_length": 200},
    }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ConfigError(
                f"LinRecConfig: num_heads={self.num_heads} does not divide embedding_size={self.embedding_size}."
            )
        return self


def causal_linear_attention(query: Tensor, key: Tensor, value: Tensor, chunk_size: int) -> Tensor:
    """Return L2-normalised linear attention over what came before, in time and memory linear in L.

    Equation:
        q^_t = elu(q_t) / ||elu(q_t)||;  n_t = sqrt( sum_{s<=t} elu(k_s)^2 ) per column
        o_t = 1/sqrt(d) * (q^_t / n_t) . sum_{s<=t} elu(k_s)^T v_s

    The paper normalises the columns of the keys over the whole sequence; here over what came before, so that a later
    item never changes an earlier position. At the last position the two are the same.

    Shapes:
        query, key, value ``[B, h, L, d]`` -> ``[B, h, L, d]``.
    """
    key = functional.elu(key)
    columns = key.square().cumsum(-2).clamp(min=1e-12).sqrt()
    query = functional.normalize(functional.elu(query), dim=-1) / columns
    state = torch.zeros_like(query[..., :1, :].transpose(-1, -2) * value[..., :1, :])
    outputs = []
    for first in range(0, query.shape[-2], chunk_size):
        q, k, v = (part[..., first : first + chunk_size, :] for part in (query, key, value))
        outputs.append(q @ state + (q @ k.transpose(-1, -2)).tril() @ v)
        state = state + k.transpose(-1, -2) @ v
    return torch.cat(outputs, -2) / math.sqrt(query.shape[-1])


class LinRecBlock(nn.Module):
    """Linear attention and a feed-forward layer, each with a residual around and a norm after.

    Equation:
        x <- LN(x + dropout(attention(x)));  x <- LN(x + dropout(feed_forward(x)))
    """

    def __init__(self, config: LinRecConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.num_heads, self.chunk_size = config.num_heads, config.chunk_size
        self.inputs = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.attention_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, config.hidden_factor * size, config.dropout)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new states, ``[B, L, D]``."""
        batch, length, width = x.shape
        shape = (batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = self.inputs(x).view(shape).permute(2, 0, 3, 1, 4)
        mixed = causal_linear_attention(query, key, value, self.chunk_size)
        mixed = self.output(mixed.transpose(1, 2).reshape(batch, length, width))
        x = self.attention_norm(x + self.dropout(mixed))
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return out


@register("next-item", "linrec", source="Liu et al., SIGIR 2023")
class LinRec(NeuralModel):
    """Linear attention for long-term sequential recommendation.

    Equation:
        x_t = LN(e(i_t) + p_t);  x <- blocks of linear attention and feed-forward layers;  score(j) = <x_t, e_j>

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``, ``L`` at most ``max_length``.

    Example:
        >>> LinRec(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = LinRecConfig
    config: LinRecConfig

    def __init__(self, num_items: int, config: LinRecConfig | None = None) -> None:
        config = config or LinRecConfig.sized("tiny")
        super().__init__(num_items, config)
        self.position = PositionEmbedding(config.max_length, config.embedding_size)
        self.input_norm = nn.LayerNorm(config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(LinRecBlock(config) for _ in range(config.num_layers))
        self.apply(partial(initialise, std=config.initial_std))

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""
        x: Tensor = self.item_embedding(items) + self.position(items.shape[1])
        x = self.dropout(self.input_norm(x))
        for block in self.blocks:
            x = block(x)
        return x
