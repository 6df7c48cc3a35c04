"""Probability to log-odds and back, with the one clip that every calibrator shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from palate.calibrate.contract import FloatArray

__all__ = ["EPSILON", "clip", "logit", "sigmoid"]

EPSILON = 1e-7


def clip(probabilities: ArrayLike) -> FloatArray:
    """Return the probabilities held inside ``[EPSILON, 1 - EPSILON]``; used alike when fitting and predicting.

    Example:
        >>> clip([0.0, 0.5]).tolist()
        [1e-07, 0.5]
    """
    return np.clip(np.asarray(probabilities, dtype=np.float64), EPSILON, 1.0 - EPSILON)


def logit(probabilities: ArrayLike) -> FloatArray:
    """Return ``log(p / (1 - p))`` of the clipped probabilities.

    Example:
        >>> logit([0.5]).tolist()
        [0.0]
    """
    clipped = clip(probabilities)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def sigmoid(logits: ArrayLike) -> FloatArray:
    """Return ``1 / (1 + exp(-z))``, float64."""
    return np.asarray(expit(np.asarray(logits, dtype=np.float64)))
