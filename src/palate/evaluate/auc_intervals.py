"""How sure is an AUC? DeLong's variance for independent rows, resampled users for rows that belong together."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError
from palate.evaluate.columns import AnyArray, BoolArray, FloatArray, as_groups, as_labels, as_scores
from palate.evaluate.intervals import Interval, check_level, draws

__all__ = ["AUCDifference", "auc_interval", "bootstrap_auc", "compare_auc"]


class AUCDifference(NamedTuple):
    """Two areas on the same rows: ``first - second``, its interval, and the p-value of "no difference"."""

    difference: float
    interval: Interval
    p_value: float


def auc_interval(scores: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return DeLong's interval of the AUC for independent rows; two sorts, no resampling.

    With ``V_i`` the share of negatives below positive ``i`` and ``V_j`` the share of positives above negative ``j``
    (ties by half): ``var = var(V_i) / |P| + var(V_j) / |N|``.

    When rows belong to users, they are not independent and this interval is too narrow: see :func:`bootstrap_auc`.

    Args:
        scores: Real numbers without NaN.
        labels: 0 or 1.
        level: Coverage in (0, 1).

    Shapes:
        scores, labels: ``[N]``.

    Returns:
        The interval, cut to [0, 1]; NaN ends when a class has fewer than two rows.

    Raises:
        DataError: For NaN, other labels, or unequal lengths.
        ConfigError: For a level outside (0, 1).

    Example:
        >>> 0.75 in auc_interval([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        True

    Source:
        DeLong, DeLong and Clarke-Pearson (1988).
    """
    from scipy.special import ndtri

    check_level(level)
    column = as_scores(scores)
    positive = as_labels(labels, len(column))
    above, below = _placements(column, positive)
    if min(len(above), len(below)) < 2:
        return Interval(math.nan, math.nan, level, "DeLong")
    reach = float(ndtri(0.5 + level / 2.0)) * math.sqrt(_variance(above, below))
    area = float(above.mean())
    return Interval(max(area - reach, 0.0), min(area + reach, 1.0), level, "DeLong")


def compare_auc(first: ArrayLike, second: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> AUCDifference:
    """Return the difference of two models' AUC on the same rows, with DeLong's paired interval and p-value.

    The placements of both models are subtracted row by row, so that what makes a row hard for both cancels.

    Raises:
        DataError: For NaN, other labels, unequal lengths, or fewer than two rows of a class.
        ConfigError: For a level outside (0, 1).

    Source:
        DeLong, DeLong and Clarke-Pearson (1988).
    """
    from scipy.special import ndtr, ndtri

    check_level(level)
    left = as_scores(first, "first")
    right = as_scores(second, "second", len(left))
    positive = as_labels(labels, len(left))
    if min(int(positive.sum()), int((~positive).sum())) < 2:
        raise DataError("Both classes need at least two rows to compare areas.")
    above, below = (a - b for a, b in zip(_placements(left, positive), _placements(right, positive), strict=True))
    gap, error = float(above.mean()), math.sqrt(_variance(above, below))
    reach = float(ndtri(0.5 + level / 2.0)) * error
    p_value = 2.0 * float(ndtr(-abs(gap) / error)) if error > 0.0 else float(gap == 0.0)
    return AUCDifference(gap, Interval(gap - reach, gap + reach, level, "paired DeLong"), p_value)


def bootstrap_auc(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """Return a percentile interval of the AUC, drawing whole groups (users) again, or rows when there are none.

    Rows are sorted once; a draw only changes how much each row counts.

    Args:
        scores: Real numbers without NaN.
        labels: 0 or 1.
        groups: Group of each row; all rows of a group are drawn together.
        level: Coverage in (0, 1).
        seed: Seed of the draws.
        resamples: Number of draws; the cost is ``resamples * N``.

    Raises:
        DataError: For NaN, other labels, or unequal lengths.
        ConfigError: For a level outside (0, 1) or no resamples.
    """
    check_level(level)
    if resamples < 1:
        raise ConfigError(f"resamples = {resamples} is not valid: at least 1 is expected.")
    column = as_scores(scores)
    positive = as_labels(labels, len(column))
    unit = np.arange(len(column)) if groups is None else as_groups(groups, len(column))[1]
    name = f"percentile bootstrap over {'rows' if groups is None else 'groups'}"
    above, below = np.argsort(column[positive]), np.argsort(column[~positive])
    left, right = _places(column[~positive][below], column[positive][above])
    of_above, of_below = unit[positive][above], unit[~positive][below]
    drawn = np.full(resamples, np.nan)
    reached = np.zeros(len(of_below) + 1, np.int64)
    for number, counts in enumerate(draws(int(unit.max()) + 1, resamples, np.random.default_rng(seed))):
        mass = counts.take(of_above)
        np.cumsum(counts.take(of_below), out=reached[1:])
        pairs = int(mass.sum()) * int(reached[-1])
        if pairs:
            drawn[number] = int(np.dot(mass, reached.take(left) + reached.take(right))) / (2 * pairs)
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0 or int(unit.max()) == 0:
        return Interval(math.nan, math.nan, level, name)
    low, high = np.quantile(drawn, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return Interval(float(low), float(high), level, name)


def _places(many: AnyArray, few: AnyArray) -> tuple[AnyArray, AnyArray]:
    return np.searchsorted(many, few, side="left"), np.searchsorted(many, few, side="right")


def _placements(column: AnyArray, positive: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return for each positive row the share of negatives below it, for each negative that of positives above it."""
    above, below = column[positive], column[~positive]
    upward, downward = np.argsort(above), np.argsort(below)  # neighbours in a sorted look-up share the cache
    under, over = np.empty(len(above)), np.empty(len(below))
    with np.errstate(invalid="ignore", divide="ignore"):
        under[upward] = np.add(*_places(below[downward], above[upward])) / (2.0 * len(below))
        over[downward] = 1.0 - np.add(*_places(above[upward], below[downward])) / (2.0 * len(above))
    return under, over


def _variance(above: FloatArray, below: FloatArray) -> float:
    return float(above.var(ddof=1)) / len(above) + float(below.var(ddof=1)) / len(below)
