"""Beta calibration: a slope for each tail of the probability."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.logits import sigmoid
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Beta", "BetaConfig"]


class BetaConfig(ModelConfig):
    """Beta calibration has nothing to set."""


@register("calibrator", "beta", source="Kull, Silva Filho and Flach, AISTATS 2017, Beta calibration")
class Beta(LearnedCalibrator):
    """Beta calibration: Platt scaling with one slope near 0 and another near 1.

    ``p = sigmoid(a * ln(s) - b * ln(1 - s) + c)``, ``a, b >= 0``

    ``a = b`` is Platt scaling; ``a = b = 1, c = 0`` is the identity.

    Example:
        >>> Beta().fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.2, 0.8]).shape
        (2,)
    """

    Config = BetaConfig
    array_names = ("slopes", "intercept")

    def learn(self, rows: Observations) -> Arrays:
        """Fit both slopes and the offset."""
        slopes, intercept = fit_increasing_logistic(_features(rows.scores), rows.labels, rows.weight, start=np.ones(2))
        return {"slopes": slopes, "intercept": np.array([intercept])}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Weigh the two logarithms."""
        return sigmoid(_features(scores) @ learned["slopes"] + learned["intercept"])


def _features(scores: FloatArray) -> FloatArray:
    return np.column_stack([np.log(scores), -np.log1p(-scores)])
