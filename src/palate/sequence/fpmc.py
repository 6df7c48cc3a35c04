"""FPMC: a matrix factorisation of taste plus a factorised Markov chain of the last item."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from palate.config import Size
from palate.registry import register
from palate.sequence.blocks import initialise, running_mean
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["FPMC", "FPMCConfig"]


class FPMCConfig(NeuralConfig):
    """Settings of FPMC; the paper trains with ``loss="bpr"``."""

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32},
        "small": {"embedding_size": 64},
        "base": {"embedding_size": 64, "loss": "bpr", "num_negatives": 1, "dropout": 0.0},
    }


@register("next-item", "fpmc", source="Rendle et al., WWW 2010")
class FPMC(NeuralModel):
    """Factorising personalised Markov chains.

    Equation:
        score(j) = <taste_t, v_j> + <l(i_t), m_j>
        taste_t = mean of u(i_1) .. u(i_t)

    The paper keeps a factor per user. Here it is the mean of user-side factors of the items so far, so that a user
    who was never seen before has one too; ``v`` and ``m`` are the item's factors towards users and towards the last
    item, and ``l`` is that of the last item.

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, 2 D]``.

    Example:
        >>> FPMC(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = FPMCConfig
    config: FPMCConfig

    def __init__(self, num_items: int, config: FPMCConfig | None = None) -> None:
        config = config or FPMCConfig.sized("tiny")
        size = config.embedding_size
        super().__init__(num_items, config, state_size=2 * size)
        self.taste_embedding = nn.Embedding(num_items + 1, size, padding_idx=0)
        self.output_embedding = nn.Embedding(num_items + 1, 2 * size, padding_idx=0)
        self.dropout = Dropout(config.dropout)
        self.apply(partial(initialise, std=config.initial_std))

    def output_table(self) -> Tensor:
        """Return the two factors of every item side by side, ``[V + 1, 2 D]``."""
        return self.output_embedding.weight

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return taste and last item of every position, ``[B, L, 2 D]``."""
        taste = running_mean(self.taste_embedding(items))
        states: Tensor = self.dropout(torch.cat([taste, self.item_embedding(items)], 2))
        return states
