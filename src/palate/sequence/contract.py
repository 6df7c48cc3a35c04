"""The contract of a next-item model: what next, given what came before?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.sequences import SequenceBatch, SequenceLog

__all__ = ["NextItemModel", "Ranking"]


class Ranking(NamedTuple):
    """The best items per row: ``items`` int64 ``[B, k]`` (0 where fewer exist) and ``scores`` float32 ``[B, k]``."""

    items: Tensor
    scores: Tensor


class NextItemModel(nn.Module, ABC):
    """A model that scores every item of the catalogue after a history.

    Built from ``num_items`` and its config. Models that learn by gradient write ``loss``; models that count
    write ``count`` (one pass over the log) and say ``learns_by = "counting"``. ``personalised = False`` says that
    every history gets the same list.

    Shapes:
        score: histories int64 ``[B, L]`` right-padded with 0, lengths ``[B]`` -> scores float32 ``[B, V + 1]``;
            column 0 (padding) is ``-inf``. Higher is better; scores are not probabilities. An empty history has a
            defined answer (for example the most popular items first).
    """

    Config: ClassVar[type[ModelConfig]]
    learns_by: ClassVar[str] = "gradient"
    personalised: ClassVar[bool] = True

    def __init__(self, num_items: int, config: ModelConfig) -> None:
        super().__init__()
        self.num_items = num_items
        self.config = config

    @abstractmethod
    def score(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores of all items, ``[B, V + 1]``, with ``-inf`` in column 0."""

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Return the training loss of a batch, a scalar."""
        raise TypeError(f"{type(self).__name__} learns by {self.learns_by}, not by gradient.")

    def count(self, log: SequenceLog) -> None:
        """Learn from the whole log in one pass (models that count)."""
        raise TypeError(f"{type(self).__name__} learns by {self.learns_by}, not by counting.")

    @torch.inference_mode()
    def rank(self, items: Tensor, lengths: Tensor, k: int, *, exclude: Tensor | None = None) -> Ranking:
        """Return the ``k`` best items after each history.

        Args:
            items: int64 ``[B, L]``, right-padded with 0.
            lengths: int64 ``[B]``.
            k: How many items.
            exclude: int64 ``[B, X]`` items that must not be returned (0 = none), for example those already seen.
        """
        scores = self.score(items, lengths).float()
        if exclude is not None and exclude.numel():
            scores = scores.scatter(1, exclude, float("-inf"))
            scores[:, 0] = float("-inf")
        best = scores.topk(min(k, self.num_items), dim=1)
        return Ranking(torch.where(best.values.isneginf(), 0, best.indices), best.values)
