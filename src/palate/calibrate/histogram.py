"""Histogram binning: the observed rate of each bin of scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from palate.calibrate.bins import bin_of, equal_mass_edges, equal_width_edges
from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import clip
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Histogram", "HistogramConfig"]


class HistogramConfig(ModelConfig):
    """Settings of histogram binning.

    Attributes:
        bins: How many bins.
        binning: ``mass`` for the same number of rows in each, ``width`` for the same width.
    """

    bins: int = Field(20, ge=1)
    binning: Literal["mass", "width"] = "mass"


@register("calibrator", "histogram", source="Zadrozny and Elkan, ICML 2001, Obtaining calibrated probabilities")
class Histogram(LearnedCalibrator):
    """Histogram binning: every score of a bin becomes the observed rate of that bin.

    ``p = sum_{i in bin(s)} w_i y_i / sum_{i in bin(s)} w_i``

    A staircase: scores of one bin become ties. A bin without rows takes the value between its neighbours.

    Example:
        >>> config = HistogramConfig(bins=2)
        >>> Histogram(config).fit([0.1, 0.2, 0.7, 0.8], [0, 1, 1, 1]).predict([0.15, 0.9]).round(6).tolist()
        [0.5, 1.0]
    """

    Config = HistogramConfig
    array_names = ("edges", "rates")
    config: HistogramConfig

    def learn(self, rows: Observations) -> Arrays:
        """Cut the bins and count."""
        bins = self.config.bins
        by_mass = self.config.binning == "mass"
        edges = equal_mass_edges(rows.scores, rows.weight, bins) if by_mass else equal_width_edges(bins)
        place = bin_of(rows.scores, edges)
        mass = np.bincount(place, weights=rows.weight, minlength=len(edges) + 1)
        positives = np.bincount(place, weights=rows.weight * rows.labels, minlength=len(edges) + 1)
        filled = np.flatnonzero(mass > 0)
        rates = np.interp(np.arange(len(mass)), filled, positives[filled] / mass[filled])
        return {"edges": edges, "rates": rates}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Look up the rate of each score's bin."""
        return clip(learned["rates"][bin_of(scores, learned["edges"])])
