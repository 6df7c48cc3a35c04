"""Temperature scaling: one slope on the log-odds."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.logits import logit, sigmoid
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Temperature", "TemperatureConfig"]


class TemperatureConfig(ModelConfig):
    """Temperature scaling has nothing to set."""


@register("calibrator", "temperature", source="Guo et al., ICML 2017, On calibration of modern neural networks")
class Temperature(LearnedCalibrator):
    """Temperature scaling: sharpen or soften the log-odds, and leave the point 0.5 where it is.

    ``p = sigmoid(logit(s) / T)``, ``T > 0``; the slope ``1 / T`` is what is kept.

    It cannot move the average, so it does not mend a wrong base rate; ``platt`` does.

    Example:
        >>> Temperature().fit([0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1]).predict([0.5]).tolist()
        [0.5]
    """

    Config = TemperatureConfig
    array_names = ("slope",)

    def learn(self, rows: Observations) -> Arrays:
        """Fit the slope ``1 / T``."""
        features = logit(rows.scores)[:, None]
        slope, _ = fit_increasing_logistic(features, rows.labels, rows.weight, start=np.ones(1), intercept=False)
        return {"slope": slope}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Scale the log-odds."""
        return sigmoid(learned["slope"] * logit(scores))
