"""Where to cut scores into bins: equal mass (weighted) or equal width."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.observations import IntArray

__all__ = ["bin_of", "equal_mass_edges", "equal_width_edges", "weighted_quantile"]


def equal_mass_edges(scores: FloatArray, weight: FloatArray, bins: int) -> FloatArray:
    """Return the inner edges of at most ``bins`` bins of equal weight.

    Equal scores never part, so heavy ties give fewer bins than asked for: repeated edges are dropped. An edge lies
    midway between two observed scores, so that rounding a score moves it into no other bin.

    Example:
        >>> equal_mass_edges(np.array([0.1, 0.2, 0.4, 0.6]), np.ones(4), 2).round(6).tolist()
        [0.3]
    """
    values, place = np.unique(scores, return_inverse=True)
    mass = np.cumsum(np.bincount(place, weights=weight))
    wanted = mass[-1] * np.arange(1, bins) / bins
    # the first value beyond the wanted mass; a hair of tolerance absorbs the rounding of the cumulated sum
    above = np.unique(np.searchsorted(mass, wanted * (1.0 + 1e-12), side="right"))
    above = above[(above > 0) & (above < len(values))]
    middle = (values[above - 1] + values[above]) / 2.0
    return np.asarray(np.where(middle > values[above - 1], middle, values[above]))


def equal_width_edges(bins: int) -> FloatArray:
    """Return the inner edges of ``bins`` bins of equal width in [0, 1]."""
    return np.arange(1, bins, dtype=np.float64) / bins


def bin_of(scores: FloatArray, edges: FloatArray) -> IntArray:
    """Return the bin of each score; a score on an edge belongs to the bin above it."""
    return np.searchsorted(edges, scores, side="right").astype(np.int64)


def weighted_quantile(values: FloatArray, weight: FloatArray, level: float) -> float:
    """Return the smallest value with at least ``level`` of the weight at or below it."""
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weight[order])
    place = int(np.searchsorted(mass, level * mass[-1] * (1.0 - 1e-12)))
    return float(values[order][min(place, len(values) - 1)])
