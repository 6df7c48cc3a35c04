"""TTT4Rec: a recommender whose recurrent state is a model that trains itself on the history."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch.nn.functional as functional
from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import Size
from palate.errors import ConfigError
from palate.registry import register
from palate.sequence.blocks import RMSNorm, initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel
from palate.sequence.ttt import TTTLinear
from palate.sequence.ttt_mlp import TTTMLP

__all__ = ["TTT4Rec", "TTT4RecConfig"]


class TTT4RecConfig(NeuralConfig):
    """Settings of TTT4Rec.

    Attributes:
        num_layers: Blocks.
        num_heads: Heads, each with an inner model.
        inner: The inner model: ``mlp`` (the paper's choice) or ``linear``.
        mini_batch_size: Tokens of an inner mini-batch.
        inner_rate: Base rate of the inner update.
        rope_base: Base of the rotary positions.
        hidden_factor: Width of the gated feed-forward layer over ``embedding_size``.
    """

    num_layers: int = Field(1, ge=1)
    num_heads: int = Field(4, ge=1)
    inner: Literal["mlp", "linear"] = "mlp"
    mini_batch_size: int = Field(8, ge=1)
    inner_rate: float = Field(1.0, ge=0)
    rope_base: float = Field(1000.0, gt=1)
    hidden_factor: int = Field(4, ge=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_heads": 2, "inner": "linear"},
        "small": {"embedding_size": 64, "num_heads": 4},
        "base": {"embedding_size": 64, "num_heads": 4, "dropout": 0.2},
    }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % (2 * self.num_heads):
            raise ConfigError(
                f"TTT4RecConfig: embedding_size={self.embedding_size} cannot be split into "
                f"num_heads={self.num_heads} heads of even width."
            )
        return self


class TTTBlock(nn.Module):
    """A test-time-training layer and a gated feed-forward layer, each with a norm before and a residual around.

    Equation:
        x <- x + TTT(RMSNorm(x));  n = RMSNorm(x);  x <- x + W3 (silu(W1 n) o W2 n)
    """

    def __init__(self, config: TTT4RecConfig) -> None:
        super().__init__()
        size, hidden = config.embedding_size, config.hidden_factor * config.embedding_size
        layer = TTTMLP if config.inner == "mlp" else TTTLinear
        self.ttt_norm = RMSNorm(size)
        self.ttt = layer(
            size,
            config.num_heads,
            config.mini_batch_size,
            inner_rate=config.inner_rate,
            rope_base=config.rope_base,
        )
        self.feed_forward_norm = RMSNorm(size)
        self.gate = nn.Linear(size, hidden, bias=False)
        self.up = nn.Linear(size, hidden, bias=False)
        self.down = nn.Linear(hidden, size, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the new states, ``[B, L, D]``."""
        x = x + self.dropout(self.ttt(self.ttt_norm(x), lengths))
        normed = self.feed_forward_norm(x)
        out: Tensor = x + self.dropout(self.down(functional.silu(self.gate(normed)) * self.up(normed)))
        return out


@register("next-item", "ttt4rec", source="Yang et al. 2024, arXiv 2409.19142")
class TTT4Rec(NeuralModel):
    """Test-time training for rapid adaptation in sequential recommendation.

    Equation:
        x_t = LN(dropout(e(i_t)));  x <- blocks of test-time training;  state_t = RMSNorm(x_t)
        score(j) = <state_t, e_j>

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``.

    Example:
        >>> import torch
        >>> TTT4Rec(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = TTT4RecConfig
    config: TTT4RecConfig

    def __init__(self, num_items: int, config: TTT4RecConfig | None = None) -> None:
        config = config or TTT4RecConfig.sized("tiny")
        super().__init__(num_items, config)
        self.input_norm = nn.LayerNorm(config.embedding_size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(TTTBlock(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.embedding_size)
        self.apply(partial(initialise, std=config.initial_std))

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""
        x = self.input_norm(self.dropout(self.item_embedding(items)))
        for block in self.blocks:
            x = block(x, lengths)
        states: Tensor = self.norm(x)
        return states
