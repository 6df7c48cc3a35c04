"""Is the difference real? Paired tests over users or seeds, and Holm's correction for many of them.

All take two columns of values for the same units; ``difference`` is the mean of ``first - second``. Units where one
of the two is NaN (undefined, skipped) are left out and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError
from palate.evaluate.columns import FloatArray, as_column
from palate.evaluate.intervals import Interval, check_level, ends_of_draws, resampled_ratios

__all__ = ["TESTS", "PairedTest", "holm", "paired_bootstrap", "paired_t", "permutation_test", "wilcoxon"]

_ENTRIES = 1 << 22


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What a paired test found.

    Attributes:
        difference: Mean of ``first - second``.
        p_value: Two-sided probability of a difference at least as large when there is none; NaN with no pairs.
        method: Name of the test, with what it drew.
        count: Pairs that were compared.
        interval: Interval of the difference, where the test gives one.
    """

    difference: float
    p_value: float
    method: str
    count: int
    interval: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


def permutation_test(first: ArrayLike, second: ArrayLike, *, seed: int = 0, resamples: int = 10_000) -> PairedTest:
    """Test by flipping the sign of each unit's difference: under "no difference", which model is which is a coin.

    ``p = #{ |sum_u e_u d_u| >= |sum_u d_u| } / #draws`` over signs ``e_u``. All sign patterns are counted when there
    are no more than ``resamples`` of them (the test is then exact); otherwise ``resamples`` are drawn, and the pattern
    seen counts as one of them.

    Args:
        first: Values of one model.
        second: Values of the other, same units.
        seed: Seed of the draws.
        resamples: Number of draws.

    Shapes:
        first, second: ``[U]``.

    Raises:
        DataError: For unequal lengths or infinite values.
        ConfigError: For no resamples.

    Example:
        >>> permutation_test([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]).p_value
        0.25

    Source:
        Fisher (1935); Smucker, Allan and Carterette (2007) for retrieval.
    """
    if resamples < 1:
        raise ConfigError(f"resamples = {resamples} is not valid: at least 1 is expected.")
    gaps = _differences(first, second)
    moved = gaps[gaps != 0.0]
    seen = abs(float(moved.sum()))
    seen -= 1e-12 * float(np.abs(moved).sum())  # sums in another order must still count as equal
    if len(gaps) == 0:
        return PairedTest(math.nan, math.nan, "sign-flip permutation", 0)
    if len(moved) < 60 and 2 ** len(moved) <= resamples:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1)
        p_value = float((np.abs(signs @ moved) >= seen).mean())
        method = "exact sign-flip permutation"
    else:
        sums = _flipped_sums(np.abs(moved), resamples, np.random.default_rng(seed))
        p_value = (1.0 + float((np.abs(sums) >= seen).sum())) / (1.0 + resamples)
        method = f"sign-flip permutation, {resamples:,} draws"
    return PairedTest(float(gaps.mean()), p_value, method, len(gaps))


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> PairedTest:
    """Draw units again, both models together; give the BCa interval of the difference and a p-value.

    The p-value is the share of draws whose difference lies as far from the one seen as that lies from zero.

    Args:
        first: Values of one model.
        second: Values of the other, same units.
        level: Coverage of the interval.
        seed: Seed of the draws.
        resamples: Number of draws.

    Raises:
        DataError: For unequal lengths or infinite values.
        ConfigError: For a level outside (0, 1) or no resamples.

    Source:
        Efron and Tibshirani (1993), chapter 16.
    """
    check_level(level)
    if resamples < 1:
        raise ConfigError(f"resamples = {resamples} is not valid: at least 1 is expected.")
    gaps = _differences(first, second)
    method = f"paired bootstrap, {resamples:,} draws"
    if len(gaps) == 0:
        return PairedTest(math.nan, math.nan, method, 0)
    mean, ones = float(gaps.mean()), np.ones_like(gaps)
    drawn = resampled_ratios(gaps, ones, resamples, np.random.default_rng(seed))
    low, high = ends_of_draws(drawn, gaps, ones, level, bca=True)
    far = np.abs(drawn - mean) >= abs(mean) * (1.0 - 1e-12)
    p_value = (1.0 + float(far.sum())) / (1.0 + resamples)
    return PairedTest(mean, p_value, method, len(gaps), Interval(low, high, level, "bca bootstrap"))


def wilcoxon(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Compare by the signed ranks of the differences; units without a difference are left out of the ranks.

    Robust against few extreme units, but it tests a shift of the typical unit and not the mean that is reported.

    Raises:
        DataError: For unequal lengths or infinite values.

    Source:
        Wilcoxon (1945), by scipy.stats.
    """
    from scipy import stats

    gaps = _differences(first, second)
    if len(gaps) == 0:
        return PairedTest(math.nan, math.nan, "Wilcoxon signed ranks", 0)
    moved = gaps[gaps != 0.0]
    p_value = float(stats.wilcoxon(moved).pvalue) if len(moved) else 1.0
    return PairedTest(float(gaps.mean()), p_value, "Wilcoxon signed ranks", len(gaps))


def paired_t(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> PairedTest:
    """Compare means by Student's t, with its interval: the usual choice for a handful of seeds.

    Raises:
        DataError: For unequal lengths or infinite values.
        ConfigError: For a level outside (0, 1).

    Example:
        >>> round(paired_t([1.1, 2.1, 3.4], [1.0, 2.0, 3.0]).p_value, 6)
        0.183503

    Source:
        Student (1908).
    """
    from scipy import stats

    check_level(level)
    gaps = _differences(first, second)
    if len(gaps) < 2:
        return PairedTest(float(gaps.mean()) if len(gaps) else math.nan, math.nan, "paired t", len(gaps))
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    reach = float(stats.t.ppf(0.5 + level / 2.0, len(gaps) - 1)) * error
    p_value = 2.0 * float(stats.t.sf(abs(mean) / error, len(gaps) - 1)) if error > 0.0 else float(mean == 0.0)
    return PairedTest(mean, p_value, "paired t", len(gaps), Interval(mean - reach, mean + reach, level, "t"))


def holm(p_values: Sequence[float] | ArrayLike) -> FloatArray:
    """Return p-values adjusted so that calling those below ``alpha`` errs anywhere with at most ``alpha``.

    Sorted ascending, ``p'_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))``. NaN stays NaN and does not count in ``m``.

    Raises:
        DataError: For values outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]

    Source:
        Holm (1979).
    """
    column = np.atleast_1d(np.asarray(p_values, np.float64))
    known = np.flatnonzero(~np.isnan(column))
    if ((column[known] < 0.0) | (column[known] > 1.0)).any():
        raise DataError("p-values must lie in [0, 1].")
    order = known[np.argsort(column[known], kind="stable")]
    adjusted = column.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(column[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


TESTS: dict[str, Callable[..., PairedTest]] = {
    "permutation": permutation_test,
    "bootstrap": paired_bootstrap,
    "wilcoxon": wilcoxon,
    "t": paired_t,
}


def _differences(first: ArrayLike, second: ArrayLike) -> FloatArray:
    left = as_column(first, "first").astype(np.float64)
    right = as_column(second, "second", len(left)).astype(np.float64)
    if np.isinf(left).any() or np.isinf(right).any():
        raise DataError("Values to compare must be finite.", remedy="Leave out units that failed, as NaN.")
    gaps: FloatArray = left - right
    return gaps[~np.isnan(gaps)]


def _flipped_sums(sizes: FloatArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return sums of ``sizes`` under random signs; equal sizes are drawn together by a binomial."""
    distinct, counts = np.unique(sizes, return_counts=True)
    step = max(1, _ENTRIES // max(1, len(distinct)))
    sums = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        if len(distinct) <= len(sizes) // 4:
            net = 2.0 * rng.binomial(counts, 0.5, size=(rows, len(distinct))) - counts
            sums.append(net @ distinct)
        else:
            width = -(-len(sizes) // 8)
            bits = np.unpackbits(np.frombuffer(rng.bytes(rows * width), np.uint8).reshape(rows, width), axis=1)
            sums.append(2.0 * (bits[:, : len(sizes)] @ sizes) - sizes.sum())
    return np.concatenate(sums)
