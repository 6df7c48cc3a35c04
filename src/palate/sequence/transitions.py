"""Transitions: what people took shortly after these items."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from palate.config import ModelConfig
from palate.data.sequences import IntArray, SequenceLog
from palate.registry import register
from palate.sequence.counting import CountingModel, recency
from palate.sequence.sparse import ItemMatrix, keep_largest

__all__ = ["Transitions", "TransitionsConfig"]


class TransitionsConfig(ModelConfig):
    """Settings of transitions.

    Attributes:
        max_gap: Pairs up to so many places apart count, with weight 1 / gap.
        damping: Weights are divided by (count of the follower + 1) to this power: 0 trusts popularity fully,
            1 not at all.
        last: How many of the latest items of a history count.
        decay: Weight of an item against the one after it.
        num_neighbors: How many followers each item keeps.
    """

    max_gap: int = Field(3, ge=1)
    damping: float = Field(0.5, ge=0)
    last: int = Field(5, ge=1)
    decay: float = Field(0.6, gt=0, le=1)
    num_neighbors: int = Field(200, ge=1)


@register("next-item", "transitions", source="a first-order Markov chain with skips")
class Transitions(CountingModel):
    """What followed the latest items within a few steps, damped by popularity.

    Equation:
        follows(i, j) = sum over the places t of i, and gaps g with j at t + g, of 1 / g
        score(j) = sum over the last items i, r places before the end, of
                   decay^r * follows(i, j) / (count(j) + 1)^damping

    A strong and honest yardstick: a neural model that does not beat it on a log with order is not trained well.

    Example:
        >>> log = SequenceLog(np.array([1, 2, 3, 1, 2]), np.array([0, 3, 5]), num_items=3)
        >>> model = Transitions(3)
        >>> model.count(log)
        >>> model.rank(torch.tensor([[1]]), torch.tensor([1]), k=2).items
        tensor([[2, 3]])
    """

    Config = TransitionsConfig
    config: TransitionsConfig

    def __init__(self, num_items: int, config: TransitionsConfig | None = None) -> None:
        super().__init__(num_items, config or TransitionsConfig())
        self.followers = ItemMatrix(num_items)

    def learn(self, log: SequenceLog) -> None:
        """Count the pairs of every gap and keep the strongest followers of each item."""
        size = log.num_items + 1
        follows = csr_matrix((size, size), dtype=np.float64)
        for gap in range(1, self.config.max_gap + 1):
            first, second = pairs_with_gap(log, gap)
            follows = follows + csr_matrix((np.full(len(first), 1.0 / gap), (first, second)), shape=(size, size))
        damped = follows @ diags((self.counts.cpu().numpy().astype(np.float64) + 1.0) ** -self.config.damping)
        self.followers.fill(keep_largest(csr_matrix(damped), self.config.num_neighbors))

    def evidence(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the decayed sum over the followers of the latest items, ``[B, V + 1]``."""
        back = recency(items, lengths)
        weights = self.config.decay ** back.clamp(min=0).float()
        recent = (back >= 0) & (back < self.config.last)
        return self.followers.spread(items, torch.where(recent, weights, torch.zeros_like(weights)))


def pairs_with_gap(log: SequenceLog, gap: int) -> tuple[IntArray, IntArray]:
    """Return all pairs of items that are ``gap`` places apart in one user's sequence."""
    user = np.repeat(np.arange(log.num_users), log.lengths)
    same = user[gap:] == user[:-gap]
    return log.items[:-gap][same], log.items[gap:][same]
