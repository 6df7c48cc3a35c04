"""How well do scores tell clicks from non-clicks? Log loss and F1, and the other row metrics under one roof.

The areas live in :mod:`palate.evaluate.auc` and :mod:`palate.evaluate.grouped_auc`, what a probability is worth in
:mod:`palate.evaluate.calibration`; they can all be imported from here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError
from palate.evaluate.auc import auc
from palate.evaluate.calibration import ReliabilityCurve, brier, ece, pcoc, reliability_curve
from palate.evaluate.columns import FloatArray, as_labels, as_probabilities, as_scores, as_weights
from palate.evaluate.grouped_auc import GroupAUC, gauc, per_group_auc

__all__ = [
    "GroupAUC",
    "ReliabilityCurve",
    "auc",
    "brier",
    "ece",
    "f1",
    "gauc",
    "log_loss",
    "log_loss_from_logits",
    "pcoc",
    "per_group_auc",
    "reliability_curve",
    "row_log_losses",
    "row_log_losses_from_logits",
]


def log_loss(
    probabilities: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None, *, clip: float = 1e-15
) -> float:
    """Return the mean negative log-likelihood of the labels, natural logarithm, in float64.

    ``-(1 / W) sum_i w_i (y_i ln p_i + (1 - y_i) ln(1 - p_i))``

    Args:
        probabilities: Values in [0, 1].
        labels: 0 or 1.
        weight: Not negative.
        clip: The probability of what happened counts as at least this, so that the loss stays finite.

    Shapes:
        probabilities, labels, weight: ``[N]``.

    Raises:
        DataError: For values outside [0, 1], NaN, other labels, or unequal lengths.

    Example:
        >>> round(log_loss([0.5, 0.8], [0, 1]), 6)
        0.458145
    """
    return _mean(row_log_losses(probabilities, labels, clip=clip), weight)


def row_log_losses(probabilities: ArrayLike, labels: ArrayLike, *, clip: float = 1e-15) -> FloatArray:
    """Return the log loss of every row, float64 ``[N]``; :func:`log_loss` is its mean."""
    if not 0.0 < clip < 0.5:
        raise ConfigError(f"clip = {clip} is not valid: a small positive number is expected.")
    column = as_probabilities(probabilities)
    positive = as_labels(labels, len(column))
    happened = np.where(positive, column, 1.0 - column)
    np.maximum(happened, clip, out=happened)
    np.log(happened, out=happened)
    return np.negative(happened, out=happened)


def log_loss_from_logits(logits: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return the log loss of ``sigmoid(logits)`` without ever leaving the scale of the logits.

    ``(1 / W) sum_i w_i ln(1 + exp(-z_i))`` with ``z_i = logit_i`` for a positive and ``-logit_i`` for a negative row.
    Nothing saturates: a logit of 800 on a negative row costs 800.

    Args:
        logits: Finite real numbers.
        labels: 0 or 1.
        weight: Not negative.

    Raises:
        DataError: For NaN or infinite logits, other labels, or unequal lengths.

    Example:
        >>> log_loss_from_logits([800.0], [0])
        800.0
    """
    return _mean(row_log_losses_from_logits(logits, labels), weight)


def row_log_losses_from_logits(logits: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return the log loss of every row from its logit, float64 ``[N]``; see :func:`log_loss_from_logits`."""
    column = as_scores(logits, "logits").astype(np.float64)
    if not np.isfinite(column).all():
        raise DataError(f"logits are infinite in {int(np.isinf(column).sum()):,} of {len(column):,} rows.")
    positive = as_labels(labels, len(column))
    np.negative(column, out=column, where=positive)
    return np.asarray(np.maximum(column, 0.0) + np.log1p(np.exp(-np.abs(column))))


def f1(scores: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None, *, threshold: float = 0.5) -> float:
    """Return the harmonic mean of precision and recall when rows with ``score >= threshold`` are called positive.

    ``F1 = 2 TP / (2 TP + FP + FN)``; 0 when nothing true is found, NaN when nothing is positive nor called so.

    Args:
        scores: Probabilities, or any scores with a threshold on their scale.
        labels: 0 or 1.
        weight: Not negative.
        threshold: The lowest score that counts as positive.

    Raises:
        DataError: For NaN, other labels, or unequal lengths.

    Example:
        >>> f1([0.9, 0.6, 0.2], [1, 0, 1])
        0.5
    """
    column = as_scores(scores)
    positive = as_labels(labels, len(column))
    weights = as_weights(weight, len(column))
    called = column >= threshold
    mass = np.ones(len(column)) if weights is None else weights
    hit = float(mass[called & positive].sum())
    wrong = float(mass[called ^ positive].sum())
    return 2.0 * hit / (2.0 * hit + wrong) if hit + wrong > 0.0 else float("nan")


def _mean(values: FloatArray, weight: ArrayLike | None) -> float:
    weights = as_weights(weight, len(values))
    return float(values.mean()) if weights is None else float(np.dot(values, weights) / weights.sum())
