"""Numbers as features: three rules, each learned (if at all) from the training part.

``criteo_bucket`` is the rule of the Criteo benchmarks and needs no learning, ``QuantileBuckets`` cuts a number into
categories of about equal weight, and ``Standardiser`` leaves it a number with mean 0 and deviation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from palate.errors import ConfigError, DataError, SchemaError

__all__ = ["QuantileBuckets", "Standardiser", "criteo_bucket"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Float32Array = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


def criteo_bucket(values: pl.Series) -> pl.Series:
    r"""Return the bucket of each count, int64, null where the value is missing.

    .. math:: b(v) = \lfloor (\ln v)^2 \rfloor \text{ if } v > 2 \text{ else } \operatorname{trunc}(v)

    The readme of the data set says :math:`\lfloor \log_2 v \rfloor`; the published results were made with the
    squared natural logarithm. Negative values stay.

    Example:
        >>> criteo_bucket(pl.Series([0, 2, 3, 10, 1000, -1, None])).to_list()
        [0, 2, 1, 5, 47, -1, None]
    """
    numbers = _numbers(values)
    present = np.isfinite(numbers)
    large = present & (numbers > 2)
    buckets = np.trunc(np.where(present & ~large, numbers, 0.0))
    buckets[large] = np.floor(np.log(numbers[large]) ** 2)
    return pl.Series(values.name, buckets.astype(np.int64)).set(pl.Series(~present), None)


@dataclass(frozen=True, slots=True)
class QuantileBuckets:
    """Categories of about equal weight: bucket ``b`` holds the values in ``(edges[b - 1], edges[b]]``.

    Equal values always share a bucket, so a column with few different values has fewer buckets than were asked for.

    Attributes:
        edges: float64, strictly rising upper ends of all buckets but the last.

    Example:
        >>> buckets = QuantileBuckets.fit(pl.Series([1, 2, 3, 4]), num_buckets=2)
        >>> buckets.encode(pl.Series([0.0, 2, 2.5, 99, None])).to_list()
        [0, 0, 1, 1, None]
    """

    edges: FloatArray

    @classmethod
    def fit(cls, values: pl.Series, counts: pl.Series | None = None, *, num_buckets: int) -> Self:
        """Learn the edges from values of the training part, each with how often it occurs.

        Raises:
            ConfigError: If ``num_buckets`` is below 2.
        """
        if num_buckets < 2:
            raise ConfigError(f"num_buckets is {num_buckets}.", remedy="It must be at least 2.")
        numbers, weights = _present(values, counts)
        order = np.argsort(numbers, kind="stable")
        numbers, cumulative = numbers[order], np.cumsum(weights[order])
        if not len(numbers):
            return cls(np.empty(0))
        shares = cumulative[-1] * np.arange(1, num_buckets) / num_buckets
        edges = np.unique(numbers[np.searchsorted(cumulative, shares)])
        return cls(edges[edges < numbers[-1]])

    def encode(self, values: pl.Series) -> pl.Series:
        """Return the bucket of each value, int64 from 0, null where it is missing."""
        numbers = _numbers(values)
        found = np.searchsorted(self.edges, numbers, side="left")
        return pl.Series(values.name, found.astype(np.int64)).set(pl.Series(np.isnan(numbers)), None)


@dataclass(frozen=True, slots=True)
class Standardiser:
    r"""A number with mean 0 and deviation 1 over the training part; a missing value reads the mean, 0.

    .. math:: z = (v - \mu) / \sigma

    Attributes:
        mean: Mean of the training part.
        deviation: Population standard deviation of the training part, 1 for a constant column.

    Example:
        >>> Standardiser.fit(pl.Series([1.0, 3.0])).encode(pl.Series([3.0, None, 5.0])).tolist()
        [1.0, 0.0, 3.0]
    """

    mean: float
    deviation: float

    @classmethod
    def fit(cls, values: pl.Series, counts: pl.Series | None = None) -> Self:
        """Learn mean and deviation from values of the training part, each with how often it occurs."""
        numbers, weights = _present(values, counts)
        if not len(numbers):
            return cls(0.0, 1.0)
        mean = float(np.average(numbers, weights=weights))
        deviation = float(np.sqrt(np.average((numbers - mean) ** 2, weights=weights)))
        # A constant column may show a deviation of rounding alone; dividing by it would make noise of nothing.
        constant = deviation <= 1e-12 * max(abs(mean), 1.0)
        return cls(mean, 1.0 if constant else deviation)

    def encode(self, values: pl.Series) -> Float32Array:
        """Return the standardised values, float32 ``[N]``."""
        numbers = (_numbers(values) - self.mean) / self.deviation
        return np.nan_to_num(numbers, nan=0.0).astype(np.float32)


def _present(values: pl.Series, counts: pl.Series | None) -> tuple[FloatArray, IntArray]:
    numbers = _numbers(values)
    weights = np.ones(len(numbers), np.int64) if counts is None else counts.cast(pl.Int64).to_numpy()
    kept = ~np.isnan(numbers) & (weights > 0)
    return numbers[kept], weights[kept]


def _numbers(values: pl.Series) -> FloatArray:
    """Return the values as float64 with NaN where they are missing; infinity is refused."""
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        raise SchemaError(
            f'The column "{values.name}" is of type {values.dtype}; numbers are expected.',
            remedy="Convert it, or give it the role categorical.",
        )
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if np.isinf(numbers).any():
        raise DataError(
            f'The column "{values.name}" holds infinity in {int(np.isinf(numbers).sum()):,} rows.',
            remedy="Make these values missing (null), or cap them.",
        )
    return numbers
