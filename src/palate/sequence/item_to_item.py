"""Item-to-item: what people who took these items also took."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from palate.config import ModelConfig
from palate.data.sequences import SequenceLog
from palate.registry import register
from palate.sequence.counting import CountingModel, recency
from palate.sequence.sparse import ItemMatrix, keep_largest, user_item_matrix

__all__ = ["ItemToItem", "ItemToItemConfig"]

_BLOCK = 2048  # items whose neighbours are computed at once; bounds memory


class ItemToItemConfig(ModelConfig):
    """Settings of item-to-item.

    Attributes:
        last: How many of the latest items of a history count.
        num_neighbors: How many neighbours each item keeps.
    """

    last: int = Field(20, ge=1)
    num_neighbors: int = Field(200, ge=1)


@register("next-item", "item-to-item", source="Sarwar et al., WWW 2001; Linden et al., IEEE Internet Computing 2003")
class ItemToItem(CountingModel):
    """Cosine of the sets of users of two items, summed over the latest items of the history.

    Equation:
        similarity(i, j) = |users(i) and users(j)| / sqrt(|users(i)| * |users(j)|), 0 for i = j
        score(j) = sum over the last ``last`` items i of similarity(i, j)

    Every item keeps its ``num_neighbors`` nearest only, so memory grows with the catalogue and not its square.

    Example:
        >>> import torch
        >>> log = SequenceLog(np.array([1, 2, 1, 2, 3]), np.array([0, 2, 4, 5]), num_items=3)
        >>> model = ItemToItem(3)
        >>> model.count(log)
        >>> model.rank(torch.tensor([[1]]), torch.tensor([1]), k=1).items
        tensor([[2]])
    """

    Config = ItemToItemConfig
    config: ItemToItemConfig

    def __init__(self, num_items: int, config: ItemToItemConfig | None = None) -> None:
        super().__init__(num_items, config or ItemToItemConfig())
        self.neighbors = ItemMatrix(num_items)

    def learn(self, log: SequenceLog) -> None:
        """Compute the nearest neighbours of every item, block by block."""
        met = user_item_matrix(log)
        users = np.maximum(np.asarray(met.sum(axis=0)).ravel(), 1.0)
        scaled = (met.multiply(1.0 / np.sqrt(users)[None, :])).tocsr()
        items = scaled.T.tocsr()
        # An item is its own nearest neighbour: keep one more, then take the item itself out.
        count = self.config.num_neighbors + 1
        blocks = [
            _without_self(keep_largest(csr_matrix(items[start : start + _BLOCK] @ scaled), count), start)
            for start in range(0, items.shape[0], _BLOCK)
        ]
        self.neighbors.fill(csr_matrix(vstack(blocks)))

    def evidence(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the summed similarity to the latest items, ``[B, V + 1]``."""
        back = recency(items, lengths)
        return self.neighbors.spread(items, ((back >= 0) & (back < self.config.last)).float())


def _without_self(similar: csr_matrix, start: int) -> csr_matrix:
    row = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
    other = row + start != similar.indices
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[other], minlength=similar.shape[0]))])
    return csr_matrix((similar.data[other], similar.indices[other], starts), shape=similar.shape)
