"""Vectors of one user that grow without copying each time, and exact search over them."""

from __future__ import annotations

import numpy as np

from palate.memory.contract import FloatMatrix

__all__ = ["VectorList"]


class VectorList:
    """Rows by message number; room doubles when it is full, so adding costs the same however many there are.

    Example:
        >>> vectors = VectorList()
        >>> vectors.add(7, np.array([1.0, 0.0], dtype=np.float32))
        >>> vectors.scores(np.array([0.6, 0.8], dtype=np.float32))
        {7: 0.6000000238418579}
    """

    def __init__(self) -> None:
        self._rows: FloatMatrix = np.zeros((0, 0), dtype=np.float32)
        self.numbers: list[int] = []
        self._place: dict[int, int] = {}

    def add(self, number: int, vector: FloatMatrix) -> None:
        """Append a vector ``[D]``."""
        used = len(self.numbers)
        if used == len(self._rows):
            grown = np.zeros((max(16, 2 * used), len(vector)), dtype=np.float32)
            if used:
                grown[:used] = self._rows[:used]
            self._rows = grown
        self._rows[used] = vector
        self._place[number] = used
        self.numbers.append(number)

    def remove(self, number: int) -> None:
        """Take a vector out; the last one moves into its place."""
        place, last = self._place.pop(number), len(self.numbers) - 1
        moved = self.numbers.pop()
        if place != last:
            self._rows[place] = self._rows[last]
            self.numbers[place] = moved
            self._place[moved] = place

    def scores(self, query: FloatMatrix) -> dict[int, float]:
        """Return the inner product of every vector with ``query [D]``, by number."""
        if not self.numbers:
            return {}
        products = self._rows[: len(self.numbers)] @ query
        return dict(zip(self.numbers, products.tolist(), strict=True))

    def best(self, query: FloatMatrix, k: int) -> dict[int, float]:
        """Return the ``k`` largest inner products, by number; of equal ones the older messages."""
        count = len(self.numbers)
        if count == 0:
            return {}
        products = self._rows[:count] @ query
        if k < count:
            bound = np.partition(products, count - k)[count - k]
            places = np.flatnonzero(products >= bound)
        else:
            places = np.arange(count)
        ranked = sorted(places.tolist(), key=lambda at: (-float(products[at]), self.numbers[at]))[:k]
        return {self.numbers[at]: float(products[at]) for at in ranked}
