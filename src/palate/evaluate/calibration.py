"""Does a probability of 0.1 mean one in ten? Calibration error, PCOC, Brier score, reliability curve.

Errors inside the values of a field (F-ECE, F-RCE, MVCE) belong to the calibrate room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, suggest
from palate.evaluate.columns import FloatArray, IntArray, as_labels, as_probabilities, as_weights

__all__ = ["Binning", "ReliabilityCurve", "brier", "ece", "pcoc", "probability_bins", "reliability_curve"]

Binning = Literal["width", "mass"]


def brier(probabilities: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return the mean squared distance of probability and label, ``(1 / W) sum_i w_i (p_i - y_i)^2``.

    Raises:
        DataError: For values outside [0, 1], NaN, other labels, or unequal lengths.

    Example:
        >>> brier([0.5, 1.0], [0, 1])
        0.125

    Source:
        Brier (1950).
    """
    column, truth, mass = _columns(probabilities, labels, weight)
    return float(np.dot((column - truth) ** 2, mass) / mass.sum())


def pcoc(probabilities: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return predicted over observed clicks, ``sum_i w_i p_i / sum_i w_i y_i``; 1 is ideal, above 1 is too optimistic.

    NaN when there is no positive row. A constant prediction of the base rate reaches 1: read it beside AUC.

    Raises:
        DataError: For values outside [0, 1], NaN, other labels, or unequal lengths.

    Example:
        >>> pcoc([0.6, 0.4, 0.5], [1, 0, 0])
        1.5
    """
    column, truth, mass = _columns(probabilities, labels, weight)
    observed = float(np.dot(truth, mass))
    return float(np.dot(column, mass)) / observed if observed > 0.0 else float("nan")


def ece(
    probabilities: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    kind: Binning = "width",
    bins: int = 100,
) -> float:
    """Return the expected calibration error over bins of the predicted probability.

    ``ECE = (1 / W) sum_m | sum_{i in m} w_i (y_i - p_i) |``

    Args:
        probabilities: Values in [0, 1].
        labels: 0 or 1.
        weight: Not negative; a weight of 2 is the same as the row twice.
        kind: ``width`` cuts [0, 1] into equal intervals, ``mass`` gives every bin the same share of rows.
        bins: How many bins.

    Shapes:
        probabilities, labels, weight: ``[N]``.

    Raises:
        DataError: For values outside [0, 1], NaN, other labels, or unequal lengths.
        ConfigError: For an unknown ``kind`` or fewer than 1 bin.

    Example:
        >>> y, p = [1, 0, 0, 1, 0, 1, 0, 0], [0.8, 0.3, 0.2, 0.6, 0.4, 0.5, 0.1, 0.1]
        >>> round(ece(p, y, bins=5), 12)
        0.175
    """
    column, truth, mass = _columns(probabilities, labels, weight)
    gap = np.bincount(probability_bins(column, mass, kind=kind, bins=bins), weights=mass * (truth - column))
    return float(np.abs(gap).sum() / mass.sum())


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Predicted against observed, bin by bin; empty bins are left out.

    Attributes:
        predicted: Mean probability of the bin, float64 ``[M]``.
        observed: Share of positive rows, float64 ``[M]``.
        low: Lower end of the Wilson interval of ``observed``.
        high: Upper end.
        rows: Rows per bin, int64 ``[M]``.
        weight: Their weight, float64 ``[M]``.
        level: Level of the intervals.
    """

    predicted: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray
    rows: IntArray
    weight: FloatArray
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain JSON types."""
        arrays = ("predicted", "observed", "low", "high", "rows", "weight")
        return {**{name: getattr(self, name).tolist() for name in arrays}, "level": self.level}


def reliability_curve(
    probabilities: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    kind: Binning = "mass",
    bins: int = 20,
    level: float = 0.95,
) -> ReliabilityCurve:
    """Return observed against predicted rates with Wilson intervals.

    With ``z`` the normal quantile of ``level`` and ``r`` the observed rate of ``n`` rows, the interval is
    ``(r + z^2 / 2n -+ z sqrt(r (1 - r) / n + z^2 / 4n^2)) / (1 + z^2 / n)``. Under weights ``n`` is the effective
    number of rows ``(sum w)^2 / sum w^2``.

    Args:
        probabilities: Values in [0, 1].
        labels: 0 or 1.
        weight: Not negative.
        kind: ``mass`` (every bin the same share of rows) or ``width``.
        bins: How many bins at most.
        level: Coverage of the intervals, in (0, 1).

    Raises:
        DataError: For values outside [0, 1], NaN, other labels, or unequal lengths.
        ConfigError: For an unknown ``kind``, fewer than 1 bin, or a level outside (0, 1).

    Example:
        >>> reliability_curve([0.2, 0.2, 0.8, 0.8], [0, 0, 1, 0], bins=2).observed.tolist()
        [0.0, 0.5]

    Source:
        Wilson (1927).
    """
    from scipy.special import ndtri

    if not 0.0 < level < 1.0:
        raise ConfigError(f"level = {level} is not valid: a share between 0 and 1 is expected, such as 0.95.")
    column, truth, mass = _columns(probabilities, labels, weight)
    place = probability_bins(column, mass, kind=kind, bins=bins)
    total = np.bincount(place, weights=mass, minlength=bins).astype(np.float64)
    kept = total > 0.0
    total = total[kept]
    squares = np.bincount(place, weights=mass * mass, minlength=bins)[kept]
    predicted = np.bincount(place, weights=mass * column, minlength=bins)[kept] / total
    rate = np.bincount(place, weights=mass * truth, minlength=bins)[kept] / total
    z = float(ndtri(0.5 + level / 2.0))
    share = z * z * squares / (total * total)  # z^2 / n
    middle = (rate + share / 2.0) / (1.0 + share)
    reach = np.sqrt(share * rate * (1.0 - rate) + share * share / 4.0) / (1.0 + share)
    rows = np.bincount(place, minlength=bins)[kept].astype(np.int64)
    low, high = np.maximum(middle - reach, 0.0), np.minimum(middle + reach, 1.0)
    return ReliabilityCurve(predicted, rate, low, high, rows, total, level)


def probability_bins(probabilities: FloatArray, weight: FloatArray, *, kind: Binning, bins: int) -> IntArray:
    """Return the bin of each row, 0 to ``bins - 1``.

    ``width``: ``floor(p * bins)``, with 1.0 in the last bin. ``mass``: the bin of the weighted mid-rank of ``p``, so
    that equal probabilities always share a bin, whatever the order of the rows.

    Raises:
        ConfigError: For an unknown ``kind`` or fewer than 1 bin.
    """
    if bins < 1:
        raise ConfigError(f"bins = {bins} is not valid: at least 1 is expected.")
    if kind == "width":
        # 1e-9 keeps 0.29 * 100 = 28.999999999999996 out of the bin below.
        return np.minimum((probabilities * bins + 1e-9).astype(np.int64), bins - 1)
    if kind != "mass":
        raise ConfigError(f'There is no binning "{kind}".', remedy=suggest(str(kind), ["width", "mass"]))
    order = np.argsort(probabilities)
    ordered = probabilities[order]
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    mass = np.add.reduceat(weight[order], starts)
    middle = (np.cumsum(mass) - mass / 2.0) / mass.sum()
    place = np.empty(len(order), np.int64)
    place[order] = np.repeat(
        np.minimum((middle * bins + 1e-9).astype(np.int64), bins - 1), np.diff(np.append(starts, len(order)))
    )
    return place


def _columns(
    probabilities: ArrayLike, labels: ArrayLike, weight: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    column = as_probabilities(probabilities)
    truth = as_labels(labels, len(column)).astype(np.float64)
    weights = as_weights(weight, len(column))
    return column, truth, np.ones(len(column)) if weights is None else weights
