"""Undo negative down-sampling: exact, when the rate is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import logit, sigmoid
from palate.calibrate.observations import IntArray, Observations, check_scores
from palate.config import ModelConfig
from palate.errors import ConfigError

__all__ = ["PriorCorrection", "PriorCorrectionConfig", "correct_downsampling"]


def correct_downsampling(scores: ArrayLike, rate: float) -> FloatArray:
    """Return the probabilities of the full stream, from a model trained on a share ``rate`` of its negatives.

    ``p = s / (s + (1 - s) / rate)``, the same as ``logit(p) = logit(s) + log(rate)``

    Args:
        scores: Probabilities of the model, ``[N]``.
        rate: Share of the negatives that were kept, in (0, 1]; 1 changes nothing.

    Raises:
        ConfigError: If the rate is not in (0, 1].
        DataError: If the scores are no probabilities.

    Example:
        >>> correct_downsampling([0.5, 0.9], rate=0.1).round(4).tolist()
        [0.0909, 0.4737]
    """
    if not 0.0 < rate <= 1.0:
        raise ConfigError(
            f"rate = {rate} is not valid: the share of negatives that were kept lies in (0, 1].",
            remedy="With 4 sampled negatives out of 100, the rate is 0.04.",
        )
    s = check_scores(scores)
    return np.asarray(s / (s + (1.0 - s) / rate))


class PriorCorrectionConfig(ModelConfig):
    """Settings of the correction.

    Attributes:
        rate: Share of the negatives that were kept, in (0, 1]; ``None`` estimates it from the rows.
    """

    rate: float | None = Field(None, gt=0, le=1)


class PriorCorrection(LearnedCalibrator):
    """Correction of a changed base rate: one offset on the log-odds.

    ``p = sigmoid(logit(s) + b)``; with a known sampling rate ``b = log(rate)`` and the rows are not looked at,
    otherwise b is the maximum likelihood offset, at which predicted and observed positives agree.

    Right when the model was calibrated before the negatives were thinned out; it changes no shape, so it is no
    general calibrator and stands outside the registry.

    Example:
        >>> PriorCorrection(PriorCorrectionConfig(rate=0.1)).fit([0.2, 0.8], [0, 1]).predict([0.5]).round(4).tolist()
        [0.0909]

    Source:
        He et al. (2014), Practical lessons from predicting clicks on ads.
    """

    Config = PriorCorrectionConfig
    array_names = ("offset",)
    config: PriorCorrectionConfig

    def learn(self, rows: Observations) -> Arrays:
        """Take the offset of the rate, or find the one at which the sums agree."""
        if self.config.rate is not None:
            return {"offset": np.array([np.log(self.config.rate)])}
        from scipy.optimize import brentq

        z, positives = logit(rows.scores), float(rows.weight @ rows.labels)
        offset = brentq(lambda b: float(rows.weight @ sigmoid(z + b)) - positives, -60.0, 60.0, xtol=1e-12)
        return {"offset": np.array([offset])}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Shift the log-odds."""
        return sigmoid(logit(scores) + learned["offset"])
