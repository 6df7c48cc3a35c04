"""SASRec: causal self-attention over the items of a history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import Size
from palate.errors import ConfigError
from palate.registry import register
from palate.sequence.blocks import PositionEmbedding, TransformerBlock, initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["SASRec", "SASRecConfig"]


class SASRecConfig(NeuralConfig):
    """Settings of SASRec.

    Attributes:
        num_layers: Transformer blocks.
        num_heads: Attention heads; must divide ``embedding_size``.
        hidden_factor: Width of the feed-forward layer over ``embedding_size`` (1 in the paper).
        attention_dropout: Share of attention weights dropped in training.
    """

    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)
    hidden_factor: int = Field(1, ge=1)
    attention_dropout: float = Field(0.2, ge=0, lt=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_layers": 1, "num_heads": 1},
        "small": {"embedding_size": 64, "num_layers": 2, "num_heads": 2},
        "base": {
            "embedding_size": 64,
            "num_layers": 2,
            "num_heads": 2,
            "dropout": 0.5,
            "attention_dropout": 0.5,
            "max_length": 50,
        },
    }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ConfigError(
                f"{type(self).__name__}: num_heads={self.num_heads} does not divide "
                f"embedding_size={self.embedding_size}."
            )
        return self


@register("next-item", "sasrec", source="Kang and McAuley, ICDM 2018, arXiv 1808.09781")
class SASRec(NeuralModel):
    """Self-attentive sequential recommendation.

    Equation:
        x_t = sqrt(D) * e(i_t) + p_t
        x <- blocks of causal self-attention and feed-forward layers
        state_t = LN(x_t);  score(j) = <state_t, e_j>

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``, ``L`` at most ``max_length``.

    Example:
        >>> import torch
        >>> model = SASRec(num_items=100, config=SASRecConfig.sized("tiny")).eval()
        >>> model.score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = SASRecConfig
    config: SASRecConfig

    def __init__(self, num_items: int, config: SASRecConfig | None = None) -> None:
        config = config or SASRecConfig.sized("tiny")
        super().__init__(num_items, config)
        size = config.embedding_size
        self.position = PositionEmbedding(config.max_length, size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                size, config.num_heads, config.hidden_factor * size, config.dropout, config.attention_dropout
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(size)
        self.apply(partial(initialise, std=config.initial_std))

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""
        x = self.item_embedding(items) * math.sqrt(self.config.embedding_size)
        x = self.dropout(x + self.position(items.shape[1]))
        for block in self.blocks:
            x = block(x)
        states: Tensor = self.norm(x)
        return states
