"""Log-odds whose slope runs between two free ends: the form that Gauss and Gamma scaling share."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.logits import logit, sigmoid
from palate.calibrate.observations import IntArray, Observations

__all__ = ["EndSlopes"]


class EndSlopes(LearnedCalibrator):
    """``p = sigmoid(c + INT slope dz)``, the slope a mixture of its values at both ends of the seen range.

    ``slope(z) = l * w(z) + r * (1 - w(z))`` with ``w`` falling from 1 to 0. Writing the two coefficients of the
    method as the slopes at the ends turns "rising on the whole range" into ``l, r >= 0``, so the fit is a convex
    problem with two bounds and is solved exactly. Beyond the range the slope stays.
    """

    array_names = ("slopes", "intercept", "range")

    @abstractmethod
    def left_share(self, distance: FloatArray, length: float) -> FloatArray:
        """Return ``INT_0^d w`` for distances from the left end of a range of this length."""

    def learn(self, rows: Observations) -> Arrays:
        """Fit both slopes and the offset."""
        z = logit(rows.scores)
        ends = np.array([z.min(), max(z.max(), z.min() + 1e-3)])
        features = self._features(z, ends)
        slopes, intercept = fit_increasing_logistic(features, rows.labels, rows.weight, start=np.ones(2))
        return {"slopes": slopes, "intercept": np.array([intercept]), "range": ends}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Add up the slopes."""
        features = self._features(logit(scores), learned["range"])
        return sigmoid(features @ learned["slopes"] + learned["intercept"])

    def _features(self, z: FloatArray, ends: FloatArray) -> FloatArray:
        inside = np.clip(z, *ends)
        distance, length = inside - ends[0], float(ends[1] - ends[0])
        left = self.left_share(distance, length)
        return np.column_stack([left + np.minimum(z - ends[0], 0.0), distance - left + np.maximum(z - ends[1], 0.0)])
