"""Platt scaling: one slope and one offset on the log-odds."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.logits import logit, sigmoid
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Platt", "PlattConfig"]


class PlattConfig(ModelConfig):
    """Platt scaling has nothing to set."""


@register("calibrator", "platt", source="Platt 1999, Probabilistic outputs for support vector machines")
class Platt(LearnedCalibrator):
    """Platt scaling: a slope and an offset on the log-odds, by maximum likelihood.

    ``p = sigmoid(a * logit(s) + b)``, ``a >= 0``

    Two numbers, so it needs few rows; it cannot bend. Choose ``beta`` when the two tails need different slopes,
    ``isotonic`` or ``mcnet`` when the map is curved.

    Example:
        >>> scores, labels = [0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]
        >>> Platt().fit(scores, labels).predict([0.5]).round(1).tolist()
        [0.5]
    """

    Config = PlattConfig
    array_names = ("slope", "intercept")

    def learn(self, rows: Observations) -> Arrays:
        """Fit the slope and the offset."""
        features = logit(rows.scores)[:, None]
        slope, intercept = fit_increasing_logistic(features, rows.labels, rows.weight, start=np.ones(1))
        return {"slope": slope, "intercept": np.array([intercept])}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Scale and shift the log-odds."""
        return sigmoid(learned["slope"] * logit(scores) + learned["intercept"])
