"""How sure is a mean over users? Bootstrap and normal intervals for means and for ratios of sums.

Users (or rows, or groups) are the units that are drawn again. A weighted mean is the ratio
``sum_u w_u v_u / sum_u w_u``, and the ratio is resampled as a whole, numerator and denominator together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError, suggest
from palate.evaluate.columns import FloatArray, IntArray, as_column

__all__ = [
    "Interval",
    "IntervalMethod",
    "bootstrap_interval",
    "bootstrap_ratio",
    "check_level",
    "draws",
    "resampled_ratios",
]

IntervalMethod = Literal["auto", "bca", "percentile", "normal"]
_METHODS = ("auto", "bca", "percentile", "normal")
_DRAWS = 5 * 10**7  # units times resamples; above it, "auto" takes the normal interval
_ENTRIES = 1 << 20  # random numbers held at a time: what stays in the cache is quickest
_DISTINCT = 2048  # up to so many distinct units, drawing how often each occurs is cheaper than drawing every unit


@dataclass(frozen=True, slots=True)
class Interval:
    """A range that should hold the true value in ``level`` of all repetitions, and how it was made.

    Example:
        >>> 0.3 in Interval(0.2, 0.4, 0.95, "bca bootstrap over users")
        True
    """

    low: float
    high: float
    level: float
    method: str

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """Distance from end to end."""
        return self.high - self.low

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


def bootstrap_interval(
    values: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
    method: IntervalMethod = "auto",
) -> Interval:
    """Return an interval for the mean of ``values`` (weighted where weights are given).

    ``percentile`` takes the quantiles of the resampled means; ``bca`` shifts them for bias and skewness (second-order
    exact, the better choice for few users or rare hits); ``normal`` needs no resampling. ``auto`` is ``bca``, or
    ``normal`` where there are so many units that drawing them would take seconds and no longer matters; the interval
    says which it is.

    Values that occur often are drawn by their counts: the same distribution as drawing users one by one, at a cost
    that depends on the number of distinct values alone.

    Args:
        values: One value per unit; NaN units (undefined, skipped) are left out.
        weight: Weight of each unit, not negative.
        level: Coverage in (0, 1).
        seed: Seed of the draws.
        resamples: Number of draws.
        method: ``auto``, ``bca``, ``percentile`` or ``normal``.

    Shapes:
        values, weight: ``[U]``.

    Returns:
        The interval; both ends are NaN when fewer than two units have a value.

    Raises:
        ConfigError: For an unknown method, a level outside (0, 1) or no resamples.
        DataError: For negative weights or unequal lengths.

    Example:
        >>> interval = bootstrap_interval([0, 1, 1, 0, 1, 0, 0, 1], seed=1)
        >>> 0.5 in interval
        True

    Source:
        Efron (1987), Better Bootstrap Confidence Intervals.
    """
    column = as_column(values, "values").astype(np.float64)
    mass = np.ones_like(column) if weight is None else as_column(weight, "weight", len(column)).astype(np.float64)
    kept = ~np.isnan(column)
    mass = mass[kept]
    return bootstrap_ratio(column[kept] * mass, mass, level=level, seed=seed, resamples=resamples, method=method)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
    method: IntervalMethod = "auto",
) -> Interval:
    """Return an interval for ``sum(numerators) / sum(denominators)``, one pair per unit, drawn together.

    This is the interval of a mean over the rows of users (numerator: the sum of a user's rows, denominator: their
    number), of PCOC (predicted and observed clicks), of a weighted mean.

    Args:
        numerators: Finite numbers, one per unit.
        denominators: Finite numbers, not negative.
        level: Coverage in (0, 1).
        seed: Seed of the draws.
        resamples: Number of draws.
        method: ``auto``, ``bca``, ``percentile`` or ``normal``.

    Raises:
        ConfigError: For an unknown method, a level outside (0, 1) or no resamples.
        DataError: For numbers that are not finite, negative denominators, or unequal lengths.
    """
    check_level(level)
    if method not in _METHODS:
        raise ConfigError(f'There is no interval method "{method}".', remedy=suggest(str(method), _METHODS))
    if resamples < 1:
        raise ConfigError(f"resamples = {resamples} is not valid: at least 1 is expected.")
    top, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if top.ndim != 1 or top.shape != below.shape:
        raise DataError(f"numerators {list(top.shape)} and denominators {list(below.shape)} differ in shape.")
    if not (np.isfinite(top).all() and np.isfinite(below).all() and (below >= 0.0).all()):
        raise DataError("Values and weights must be finite, and weights not negative.")
    usable = len(top) > 1 and below.sum() > 0.0
    units = _units(top, below) if usable and method != "normal" else None
    if method == "auto":
        many = units is not None and units.counts is None and len(top) * resamples > _DRAWS
        method = "normal" if many else "bca"
    name = "normal" if method == "normal" else f"{method} bootstrap"
    if not usable:
        return Interval(math.nan, math.nan, level, name)
    if method == "normal" or units is None:
        low, high = _normal_ends(top, below, level)
    else:
        drawn = units.drawn(resamples, np.random.default_rng(seed))
        low, high = ends_of_draws(drawn, top, below, level, bca=method == "bca")
    return Interval(float(low), float(high), level, name)


def check_level(level: float) -> None:
    """Refuse a level that is not a share between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level = {level} is not valid: a share between 0 and 1 is expected, such as 0.95.")


def draws(units: int, resamples: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Yield ``resamples`` times how often each unit is drawn, int64 ``[units]``."""
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, units, size=units), minlength=units)


def resampled_ratios(top: FloatArray, below: FloatArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return ``sum(top) / sum(below)`` of each draw of the units, float64 ``[resamples]``; NaN without weight."""
    return _units(top, below).drawn(resamples, rng)


def ends_of_draws(
    drawn: FloatArray, top: FloatArray, below: FloatArray, level: float, *, bca: bool
) -> tuple[float, float]:
    """Return the ends of a percentile or BCa interval from resampled ratios."""
    drawn = np.sort(drawn[~np.isnan(drawn)])
    if len(drawn) == 0:
        return math.nan, math.nan
    shares = np.array([0.5 - level / 2.0, 0.5 + level / 2.0])
    low, high = np.quantile(drawn, _bca_shares(shares, drawn, top, below) if bca else shares)
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class _Units:
    """What is drawn: all units, or the distinct ones with their counts where those are few."""

    top: FloatArray
    below: FloatArray
    counts: IntArray | None

    def drawn(self, resamples: int, rng: np.random.Generator) -> FloatArray:
        """Return the ratio of each draw."""
        above, under = np.empty(resamples), np.empty(resamples)
        step = max(1, _ENTRIES // len(self.top))
        for start in range(0, resamples, step):
            part = slice(start, min(start + step, resamples))
            above[part], under[part] = self._sums(part.stop - start, rng)
        ratio: FloatArray = np.divide(above, under, out=np.full(resamples, np.nan), where=under > 0.0)
        return ratio

    def _sums(self, rows: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        if self.counts is not None:
            total = int(self.counts.sum())
            often = rng.multinomial(total, self.counts / total, size=rows)
            return often @ self.top, often @ self.below
        unit = rng.integers(0, len(self.top), size=(rows, len(self.top)), dtype=np.uint32)
        if (self.below == self.below[0]).all():
            return self.top.take(unit).sum(1), np.full(rows, self.below.sum())
        return self.top.take(unit).sum(1), self.below.take(unit).sum(1)


def _units(top: FloatArray, below: FloatArray) -> _Units:
    most = min(_DISTINCT, len(top) // 2)
    pairs = top + 1j * below
    if len(np.unique(pairs[: 4 * _DISTINCT])) <= most:  # a start with too many distinct pairs settles it
        distinct, counts = np.unique(pairs, return_counts=True)
        if len(distinct) <= most:
            return _Units(distinct.real.copy(), distinct.imag.copy(), counts.astype(np.int64))
    return _Units(top, below, None)


def _normal_ends(top: FloatArray, below: FloatArray, level: float) -> tuple[float, float]:
    """Return ratio -+ z times its standard error by linearisation."""
    from scipy.special import ndtri

    ratio = top.sum() / below.sum()
    units = len(top)
    error = math.sqrt(units / (units - 1) * float(((top - ratio * below) ** 2).sum())) / below.sum()
    reach = float(ndtri(0.5 + level / 2.0)) * error
    return ratio - reach, ratio + reach


def _bca_shares(shares: FloatArray, drawn: FloatArray, top: FloatArray, below: FloatArray) -> FloatArray:
    """Return the shares corrected for bias (z0) and acceleration (a, from the jackknife)."""
    from scipy.special import ndtr, ndtri

    ratio = top.sum() / below.sum()
    tolerance = 1e-12 * max(abs(ratio), 1e-300)
    under, upto = np.searchsorted(drawn, [ratio - tolerance, ratio + tolerance])
    share = (under + upto) / 2.0 / len(drawn)
    if under == 0 and upto == len(drawn):  # every draw gives the same value
        return shares
    bias = float(ndtri(np.clip(share, 0.5 / len(drawn), 1.0 - 0.5 / len(drawn))))
    left = below.sum() - below
    kept = left > 0.0
    without = (top.sum() - top[kept]) / left[kept]
    gap = without.mean() - without
    scale = float((gap**2).sum()) ** 1.5
    acceleration = float((gap**3).sum()) / (6.0 * scale) if scale > 0.0 else 0.0
    moved = bias + ndtri(shares)
    return np.asarray(ndtr(bias + moved / (1.0 - acceleration * moved)), np.float64)
