"""Platt scaling for every context value, pulled towards the common one as far as the data say."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.logits import logit, sigmoid
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["PlattPerField", "PlattPerFieldConfig"]

_SMALLEST_SLOPE = 1e-3
_SPREADS = (1e-6, 4.0)  # bounds of the estimated prior variances


class PlattPerFieldConfig(ModelConfig):
    """Settings of Platt scaling per field.

    Attributes:
        prior_strength: Inverse variance of the deviations, for slope and offset alike; ``None`` estimates both
            from the rows.
        rounds: Rounds of fitting the deviations of each field in turn and their variance.
        min_count: Context values with fewer rows are treated as unseen.
    """

    prior_strength: float | None = Field(None, gt=0)
    rounds: int = Field(20, ge=1)
    min_count: int = Field(1, ge=1)


@register("calibrator", "platt-per-field", source="Platt 1999 with empirical-Bayes shrinkage per context value")
class PlattPerField(LearnedCalibrator):
    """Platt scaling with a slope and an offset for each context value, shrunk towards the common ones.

    ``p = sigmoid((a + sum_f a_{f,c_f}) z + b + sum_f b_{f,c_f})``, ``z = logit(s) - mean``

    Maximum posterior with ``a_{f,v} ~ N(0, A_f)``, ``b_{f,v} ~ N(0, B_f)``; the variances are estimated by
    expectation-maximisation, so values with few rows stay near the common map. Rare and unseen values have no
    deviation. It is the rule to beat: where maps are straight in log-odds, MCNet has nothing to add.

    Example:
        >>> scores, labels, site = [0.2, 0.3, 0.6, 0.8] * 2, [0, 1, 0, 1, 1, 1, 0, 1], ["a"] * 4 + ["b"] * 4
        >>> PlattPerField().fit(scores, labels, site).predict([0.5, 0.5], ["a", "never seen"]).shape
        (2,)
    """

    Config = PlattPerFieldConfig
    uses_context = True
    array_names = ("common", "deviations")
    config: PlattPerFieldConfig

    def learn(self, rows: Observations) -> Arrays:
        """Fit the common map, then deviations and their variances field by field."""
        z = logit(rows.scores)
        centre = float(np.average(z, weights=rows.weight))
        z = z - centre
        slope, intercept = fit_increasing_logistic(z[:, None], rows.labels, rows.weight, start=np.ones(1))
        sizes = self.context_vocabulary.sizes
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        deviations = np.zeros((int(starts[-1]), 2))
        given = self.config.prior_strength
        spread = np.full((len(sizes), 2), 0.1 if given is None else 1.0 / given)
        base = slope[0] * z + intercept
        for _ in range(self.config.rounds if sizes else 0):
            before = deviations.copy()
            for field in range(len(sizes)):
                part = slice(starts[field], starts[field + 1])
                others = base + sum(
                    _logits(deviations[starts[other] : starts[other + 1]], rows.context[:, other], z)
                    for other in range(len(sizes))
                    if other != field
                )
                deviations[part], variance = _fit_values(
                    deviations[part], rows, rows.context[:, field], z, others, 1.0 / spread[field]
                )
                seen = np.arange(sizes[field]) > 0
                if given is None and seen.any():
                    moments = (deviations[part][seen] ** 2 + variance[seen]).mean(0)
                    spread[field] = np.clip(moments, *_SPREADS)
            if float(np.abs(deviations - before).max()) < 1e-7:
                break
        return {"common": np.array([slope[0], intercept, centre]), "deviations": deviations}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Add common part and deviations; a slope never falls to zero."""
        slope, intercept, centre = learned["common"]
        starts = np.concatenate([[0], np.cumsum(self.context_vocabulary.sizes)]).astype(np.int64)
        added = learned["deviations"][context + starts[:-1]].sum(axis=1)
        slopes = np.maximum(slope + added[:, 0], _SMALLEST_SLOPE)
        return sigmoid(slopes * (logit(scores) - centre) + intercept + added[:, 1])


def _logits(deviations: FloatArray, ids: IntArray, z: FloatArray) -> FloatArray:
    return np.asarray(deviations[ids, 0] * z + deviations[ids, 1])


def _fit_values(
    start: FloatArray, rows: Observations, ids: IntArray, z: FloatArray, offset: FloatArray, precision: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the deviations of all values of one field and their posterior variances, by Newton, all at once."""
    count, deviations = len(start), start.copy()
    variance = np.zeros_like(start)

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(ids, weights=values, minlength=count).astype(np.float64)

    for _ in range(8):
        p = sigmoid(offset + _logits(deviations, ids, z))
        residual, curvature = rows.weight * (p - rows.labels), rows.weight * p * (1.0 - p)
        gradient = np.stack([total(residual * z), total(residual)], 1) + precision * deviations
        h11 = total(curvature * z * z) + precision[0]
        h12, h22 = total(curvature * z), total(curvature) + precision[1]
        determinant = h11 * h22 - h12 * h12
        variance = np.stack([h22, h11], 1) / determinant[:, None]
        step = (
            np.stack([h22 * gradient[:, 0] - h12 * gradient[:, 1], h11 * gradient[:, 1] - h12 * gradient[:, 0]], 1)
            / determinant[:, None]
        )
        step = np.clip(step, -1.0, 1.0)  # keeps Newton from overshooting where a value has one class
        step[0] = 0.0  # id 0 gathers rare values of all kinds: they take the common map
        deviations -= step
        if float(np.abs(step).max()) < 1e-8:
            break
    return deviations, variance
