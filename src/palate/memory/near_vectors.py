"""Vectors of one user in a graph of near neighbours (usearch): search that hardly grows with the number of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from palate.errors import MissingExtraError
from palate.memory.contract import FloatMatrix

__all__ = ["NearVectors"]


class NearVectors:
    """Approximate search in a graph; otherwise as :class:`~palate.memory.vectors.VectorList`.

    Args:
        connectivity: Neighbours per vector in the graph.
        expansion: Vectors looked at when one is added, and when one is searched; more finds more and takes longer.

    Raises:
        MissingExtraError: If usearch is not installed.

    Example:
        >>> near = NearVectors()
        >>> near.add(7, np.array([1.0, 0.0], dtype=np.float32))
        >>> near.best(np.array([0.6, 0.8], dtype=np.float32), 3)
        {7: 0.6000000238418579}
    """

    def __init__(self, connectivity: int = 16, expansion: int = 128) -> None:
        try:
            from usearch.index import Index as Graph
        except ModuleNotFoundError:
            raise MissingExtraError.needs("usearch", "memory", "Approximate search") from None
        graph: Any = Graph
        self._make: Callable[[int], Any] = lambda width: graph(
            ndim=width,
            metric="ip",
            dtype="f32",
            connectivity=connectivity,
            expansion_add=expansion,
            expansion_search=expansion,
        )
        self._index: Any = None
        self._numbers: dict[int, None] = {}

    def add(self, number: int, vector: FloatMatrix) -> None:
        """Add a vector ``[D]``; one thread, so that the same order gives the same graph."""
        if self._index is None:
            self._index = self._make(len(vector))
        self._index.add(number, vector, threads=1)
        self._numbers[number] = None

    def remove(self, number: int) -> None:
        """Take a vector out."""
        self._index.remove(number)
        del self._numbers[number]

    def scores(self, query: FloatMatrix) -> dict[int, float]:
        """Return the inner product of every vector with ``query [D]``, by number."""
        return self._products(list(self._numbers), query)

    def best(self, query: FloatMatrix, k: int) -> dict[int, float]:
        """Return nearly the ``k`` largest inner products, by number; of equal ones the older messages."""
        if self._index is None or not self._numbers:
            return {}
        found = self._index.search(query, min(k, len(self._numbers)), threads=1)
        # The graph gives one minus the product; the product is made anew, so that it is rounded as in exact search.
        products = self._products([int(key) for key in found.keys], query)
        return dict(sorted(products.items(), key=lambda entry: (-entry[1], entry[0])))

    def _products(self, numbers: list[int], query: FloatMatrix) -> dict[int, float]:
        if self._index is None or not numbers:
            return {}
        rows = np.asarray(self._index.get(np.array(numbers, dtype=np.uint64)), dtype=np.float32)
        return dict(zip(numbers, (rows.reshape(len(numbers), -1) @ query).tolist(), strict=True))
