"""Isotonic regression: the best map that never falls."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import clip
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Isotonic", "IsotonicConfig"]


class IsotonicConfig(ModelConfig):
    """Isotonic regression has nothing to set."""


@register("calibrator", "isotonic", source="Zadrozny and Elkan, KDD 2002, Transforming classifier scores")
class Isotonic(LearnedCalibrator):
    """Isotonic regression by pool-adjacent-violators, with straight lines between its knots.

    ``minimise sum_i w_i (y_i - f(s_i))^2  over all f that never fall``

    No shape is assumed, and plateaus make ties. Below some thousand rows it follows noise: prefer ``platt``.

    Example:
        >>> Isotonic().fit([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1]).predict([0.25]).tolist()
        [0.5]
    """

    Config = IsotonicConfig
    array_names = ("knots", "values")

    def learn(self, rows: Observations) -> Arrays:
        """Pool adjacent violators."""
        from sklearn.isotonic import IsotonicRegression

        regression = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0)
        regression.fit(rows.scores, rows.labels, sample_weight=rows.weight)
        return {"knots": regression.X_thresholds_, "values": regression.y_thresholds_}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Interpolate between the knots; beyond the last one the value stays."""
        return clip(np.interp(scores, learned["knots"], learned["values"]))
