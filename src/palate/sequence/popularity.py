"""Popularity: everyone gets what most people took. The floor that any model must beat."""

from __future__ import annotations

from torch import Tensor

from palate.config import ModelConfig
from palate.data.sequences import SequenceLog
from palate.registry import register
from palate.sequence.counting import CountingModel

__all__ = ["Popularity", "PopularityConfig"]


class PopularityConfig(ModelConfig):
    """Popularity has nothing to set."""


@register("next-item", "popularity", source="the usual floor")
class Popularity(CountingModel):
    """The most often taken items first, the same for everyone.

    Equation:
        score(j) = count(j)

    Example:
        >>> import numpy as np, torch
        >>> log = SequenceLog(np.array([1, 2, 2]), np.array([0, 1, 3]), num_items=3)
        >>> model = Popularity(3)
        >>> model.count(log)
        >>> model.rank(torch.tensor([[0]]), torch.tensor([0]), k=2).items
        tensor([[2, 1]])
    """

    Config = PopularityConfig
    personalised = False

    def __init__(self, num_items: int, config: PopularityConfig | None = None) -> None:
        super().__init__(num_items, config or PopularityConfig())

    def learn(self, log: SequenceLog) -> None:
        """Nothing beyond the counts is needed."""

    def evidence(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the counts, once per row."""
        return self.counts.repeat(items.shape[0], 1)
