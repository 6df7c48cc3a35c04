"""Caser: convolutions over the last few items, and the user's general taste."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from palate.config import Size
from palate.registry import register
from palate.sequence.blocks import initialise, running_mean
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["Caser", "CaserConfig"]


class CaserConfig(NeuralConfig):
    """Settings of Caser.

    Attributes:
        window: How many of the latest items the convolutions see (L in the paper).
        horizontal_filters: Filters per height 1..window.
        vertical_filters: Filters that weigh the items of the window.
    """

    window: int = Field(5, ge=1)
    horizontal_filters: int = Field(16, ge=1)
    vertical_filters: int = Field(4, ge=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "horizontal_filters": 8, "vertical_filters": 2},
        "small": {"embedding_size": 64, "horizontal_filters": 16, "vertical_filters": 4},
        "base": {"embedding_size": 64, "horizontal_filters": 16, "vertical_filters": 4, "dropout": 0.5},
    }


@register("next-item", "caser", source="Tang and Wang, WSDM 2018, arXiv 1809.07426")
class Caser(NeuralModel):
    """Convolutional sequence embedding.

    Equation:
        E_t = vectors of items t - window + 1 .. t, [window, D], zeros where there are none
        o = max over places of relu(conv of heights 1..window);  v = vertical conv of E_t
        z_t = relu(W [v; o] + b);  state_t = [z_t; taste_t; 1];  score(j) = <state_t, [w_j; b_j]>

    The paper keeps a vector per user for the general taste. Here it is the running mean of taste vectors of the items
    so far, so that a user who was never seen before has one too.

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, 2 D + 1]``.

    Example:
        >>> Caser(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = CaserConfig
    config: CaserConfig

    def __init__(self, num_items: int, config: CaserConfig | None = None) -> None:
        config = config or CaserConfig.sized("tiny")
        size = config.embedding_size
        super().__init__(num_items, config, state_size=2 * size + 1)
        self.taste_embedding = nn.Embedding(num_items + 1, size, padding_idx=0)
        self.output_embedding = nn.Embedding(num_items + 1, 2 * size, padding_idx=0)
        self.output_bias = nn.Parameter(torch.zeros(num_items + 1, 1))
        self.horizontal = nn.ModuleList(
            nn.Linear(height * size, config.horizontal_filters) for height in range(1, config.window + 1)
        )
        self.vertical = nn.Linear(config.window, config.vertical_filters)
        found = config.horizontal_filters * config.window + config.vertical_filters * size
        self.joined = nn.Linear(found, size)
        self.dropout = Dropout(config.dropout)
        self.apply(partial(initialise, std=config.initial_std))
        nn.init.xavier_uniform_(self.joined.weight)

    def output_table(self) -> Tensor:
        """Return output vectors with their biases as a last column, ``[V + 1, 2 D + 1]``."""
        return torch.cat([self.output_embedding.weight, self.output_bias], 1)

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, 2 D + 1]``; zeros at padding."""
        real = items > 0
        vectors = functional.pad(self.item_embedding(items), (0, 0, self.config.window - 1, 0))
        windows = vectors.unfold(1, self.config.window, 1)[real].transpose(1, 2)  # [N, window, D]
        taste = running_mean(self.taste_embedding(items))[real]
        state = torch.cat([self._read(windows), taste, taste.new_ones(len(taste), 1)], 1)
        return state.new_zeros(*items.shape, state.shape[1]).index_put((real,), state)

    def _read(self, windows: Tensor) -> Tensor:
        """Return z of windows ``[N, window, D]``, ``[N, D]``; each convolution is one product."""
        found = [self.vertical(windows.transpose(1, 2)).flatten(1)]
        for height, filters in enumerate(self.horizontal, 1):
            patches = windows.unfold(1, height, 1).transpose(2, 3).flatten(2)  # [N, places, height * D]
            found.append(torch.relu(filters(patches)).amax(1))
        return torch.relu(self.joined(self.dropout(torch.cat(found, 1))))
