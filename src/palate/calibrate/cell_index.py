"""Which cell does a position fall into? A search by division instead of by halving, with the same answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.observations import IntArray

__all__ = ["CellIndex"]

_INTERVALS = 4096


@dataclass(frozen=True, eq=False)
class CellIndex:
    """``count(edges <= u)`` for many positions.

    The range is cut into equal intervals, ``g(u) = floor((u - low) * scale)``. For every interval it is known how many
    edges lie before it; those inside it, mostly none or one, are compared one by one. ``g`` never falls, also as
    computed, so an edge in an earlier interval is below u and one in a later interval above it: no rounding can matter.

    Attributes:
        low: Start of the range.
        scale: Intervals per unit.
        before: Edges before each interval, int64 ``[G + 1]``.
        edges: The edges, then infinity, ``[C]``.
        inside: Most edges in one interval.

    Example:
        >>> CellIndex.build(np.array([0.25, 0.5]), 0.0, 1.0).of(np.array([0.0, 0.25, 0.3, 1.0])).tolist()
        [0, 1, 1, 2]
    """

    low: float
    scale: float
    before: IntArray
    edges: FloatArray
    inside: int

    @classmethod
    def build(cls, edges: FloatArray, low: float, high: float) -> Self:
        """Index ascending edges for positions in ``[low, high]``."""
        scale = _INTERVALS / (high - low)
        place = np.clip(_interval(edges, low, scale), 0, _INTERVALS)
        counts = np.bincount(place, minlength=_INTERVALS + 1)
        before = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        return cls(low, scale, before, np.append(edges, np.inf), int(counts.max(initial=0)))

    def of(self, position: FloatArray) -> IntArray:
        """Return the cell of each position, int64 ``[N]``."""
        cell = self.before[np.minimum(_interval(position, self.low, self.scale), _INTERVALS)]
        for _ in range(self.inside):
            cell += position >= self.edges[cell]
        return cell


def _interval(position: FloatArray, low: float, scale: float) -> IntArray:
    return np.asarray(((position - low) * scale).astype(np.int64))
