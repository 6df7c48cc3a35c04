"""What all models that count have in common: the popularity of items, and the answer where there is no evidence."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from palate.config import ModelConfig
from palate.data.sequences import SequenceLog
from palate.errors import DataError, NotFittedError
from palate.sequence.contract import NextItemModel

__all__ = ["CountingModel", "recency"]

# Far below any evidence that counts can give, so that popularity only orders items without evidence.
_PRIOR = 1e-6


class CountingModel(NextItemModel):
    """A model that learns in one pass over the log; items without evidence follow by popularity.

    Equation:
        score(j) = evidence(j) + 1e-6 * count(j) / max count

    A subclass writes ``learn`` (keep what it needs of the log in buffers) and ``evidence``.

    Shapes:
        evidence: items ``[B, L]``, lengths ``[B]`` -> float32 ``[B, V + 1]``, at least 0; 0 for an empty history.
    """

    learns_by = "counting"
    counts: Tensor
    counted: Tensor

    def __init__(self, num_items: int, config: ModelConfig) -> None:
        super().__init__(num_items, config)
        self.register_buffer("counts", torch.zeros(num_items + 1))
        self.register_buffer("counted", torch.tensor(False))

    @abstractmethod
    def learn(self, log: SequenceLog) -> None:
        """Keep what ``evidence`` needs; ``counts`` is already there."""

    @abstractmethod
    def evidence(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return what the history says for each item, ``[B, V + 1]``."""

    def count(self, log: SequenceLog) -> None:
        """Learn from the whole log in one pass; what was counted before is forgotten.

        Raises:
            DataError: If the log has another number of items than the model.
        """
        if log.num_items != self.num_items:
            raise DataError(
                f"The log has {log.num_items:,} items; this {type(self).__name__} was made for {self.num_items:,}.",
                remedy="Build the model with num_items=log.num_items.",
            )
        counts = np.bincount(log.items, minlength=log.num_items + 1).astype(np.float32)
        self.counts = torch.from_numpy(counts).to(self.counts.device)
        self.learn(log)
        self.counted.fill_(True)

    @torch.inference_mode()
    def score(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores of all items, ``[B, V + 1]``.

        Raises:
            NotFittedError: If nothing was counted yet.
        """
        if not self.counted:
            raise NotFittedError(f"This {type(self).__name__} has not counted a log yet.", remedy="Call count(log).")
        prior = _PRIOR * self.counts / self.counts.max().clamp(min=1.0)
        scores = self.evidence(items, lengths) + prior
        scores[:, 0] = float("-inf")
        return scores

    def extra_repr(self) -> str:
        """Show the size in ``repr``."""
        return f"num_items={self.num_items}"


def recency(items: Tensor, lengths: Tensor) -> Tensor:
    """Return how many real items follow each position, ``[B, L]``; negative at padding.

    Example:
        >>> recency(torch.tensor([[5, 6, 0]]), torch.tensor([2]))
        tensor([[ 1,  0, -1]])
    """
    places = torch.arange(items.shape[1], device=items.device)
    return lengths[:, None] - 1 - places[None, :]
