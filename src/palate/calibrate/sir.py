"""Smoothed isotonic regression: bins, then pool-adjacent-violators on their rates, then straight lines."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from palate.calibrate.bins import bin_of, equal_mass_edges
from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import clip
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["SIR", "SIRConfig", "pooled_rates"]


class SIRConfig(ModelConfig):
    """Settings of smoothed isotonic regression.

    Attributes:
        bins: How many bins of equal mass before pooling.
    """

    bins: int = Field(100, ge=1)


@register("calibrator", "sir", source="Deng et al., DLP-KDD 2020, Calibrating user response predictions")
class SIR(LearnedCalibrator):
    """Smoothed isotonic regression: isotonic regression on bin averages, joined by straight lines.

    Knots ``(mean score, observed rate)`` per bin, pooled until the rates never fall, pooled bins merged into one
    knot, then linear interpolation with ``(0, 0)`` and ``(1, 1)`` at the ends.

    Since pooled bins become one knot, the map has no plateaus: it rises strictly wherever the pooled rates do.

    Example:
        >>> SIR(SIRConfig(bins=2)).fit([0.1, 0.2, 0.6, 0.7], [0, 0, 1, 1]).predict([0.65]).tolist()
        [0.9999999]
    """

    Config = SIRConfig
    array_names = ("knots", "values")
    config: SIRConfig

    def learn(self, rows: Observations) -> Arrays:
        """Bin, pool, and keep one knot per pool."""
        edges = equal_mass_edges(rows.scores, rows.weight, self.config.bins)
        place = bin_of(rows.scores, edges)
        mass = np.bincount(place, weights=rows.weight).astype(np.float64)
        middle = np.bincount(place, weights=rows.weight * rows.scores) / mass
        rate = np.bincount(place, weights=rows.weight * rows.labels) / mass
        pooled = pooled_rates(rate, mass)
        pool = np.concatenate([[0], np.cumsum(np.diff(pooled) > 0)])
        knots = np.bincount(pool, weights=mass * middle) / np.bincount(pool, weights=mass)
        values = pooled[np.concatenate([[True], np.diff(pool) > 0])]
        return {"knots": np.concatenate([[0.0], knots, [1.0]]), "values": np.concatenate([[0.0], values, [1.0]])}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Interpolate."""
        return clip(np.interp(scores, learned["knots"], learned["values"]))


def pooled_rates(rates: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the rates after pooling adjacent violators, each pool at its count-weighted mean.

    Example:
        >>> pooled_rates(np.array([0.04, 0.20, 0.16, 0.5]), np.array([100.0, 50, 50, 20])).round(9).tolist()
        [0.04, 0.18, 0.18, 0.5]
    """
    from sklearn.isotonic import isotonic_regression

    return np.asarray(isotonic_regression(rates, sample_weight=counts))
