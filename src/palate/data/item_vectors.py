"""Pretrained vectors of items, given by item id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from palate.data.tokens import TokenIndex, pack_tokens, unpack_tokens
from palate.errors import DataError

__all__ = ["ItemVectors"]

AnyArray = np.ndarray[Any, np.dtype[Any]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]
Float32Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class ItemVectors:
    """A vector for each of some items; row 0 of the matrix is zero and stands for "no vector".

    Attributes:
        index: The items that have a vector.
        matrix: float32 ``[V + 1, D]``; the vector of item ``i`` of ``index`` is row ``i + 1``.

    Example:
        >>> vectors = ItemVectors.of([318, 1], [[1.0, 2.0], [3.0, 4.0]])
        >>> vectors.matrix[vectors.rows(pl.Series([1, 7]))].tolist()
        [[3.0, 4.0], [0.0, 0.0]]
    """

    index: TokenIndex
    matrix: Float32Array

    @classmethod
    def of(cls, items: pl.Series | Iterable[Any], vectors: ArrayLike) -> Self:
        """Put item ids and their vectors together.

        Shapes:
            items: ``[V]`` different ids; vectors: ``[V, D]``.

        Raises:
            DataError: If the numbers of ids and vectors differ, an id is missing or stands twice, or a vector is not
                finite.
        """
        index = TokenIndex(items, what="item ids")
        given = np.asarray(vectors, dtype=np.float32)
        if given.ndim != 2 or len(given) != len(index):
            raise DataError(f"{len(index):,} items came with vectors of shape {given.shape}; [V, D] is expected.")
        if not np.isfinite(given).all():
            first = index.take(np.flatnonzero(~np.isfinite(given).all(axis=1))[:1])[0]
            raise DataError(f'The vector of item "{first}" is not finite.', remedy="Leave out items without a vector.")
        return cls(index, np.concatenate([np.zeros((1, given.shape[1]), np.float32), given]))

    def rows(self, items: pl.Series) -> Int32Array:
        """Return the row of the matrix for each item, 0 where it has none: int32 ``[N]``."""
        return self.index.positions(items) + np.int32(1)

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return ids and matrix as arrays, for safetensors."""
        return {**pack_tokens(self.index.tokens), "matrix": self.matrix}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> Self:
        """Rebuild the vectors from what :meth:`to_arrays` returned."""
        return cls(TokenIndex(unpack_tokens(arrays["utf8"], arrays["offsets"])), arrays["matrix"])
