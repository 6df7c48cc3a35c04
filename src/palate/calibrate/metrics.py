"""Calibration inside the values of a field: who is over-promised, and who under-promised?

An average can be right while every site is wrong. These measures look inside the values of a field, over several
fields, and over random partitions of all of them. All are weighted (a weight of 2 is the row twice) and summed in
float64. ECE, PCOC, Brier score, log loss and GAUC live in :mod:`palate.evaluate.classification`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError
from palate.evaluate.calibration import Binning, probability_bins
from palate.evaluate.columns import as_groups, as_labels, as_probabilities, as_weights

__all__ = ["FieldErrors", "field_ece", "field_errors", "field_rce", "multi_field_rce", "mvce", "rce"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class FieldErrors:
    """Predicted against observed positives for every value of a field.

    Attributes:
        values: The distinct values, ascending, ``[Z]``.
        rows: Their weight, float64 ``[Z]``.
        predicted: Sum of the probabilities, float64 ``[Z]``.
        observed: Sum of the labels, float64 ``[Z]``.
    """

    values: np.ndarray[Any, Any]
    rows: FloatArray
    predicted: FloatArray
    observed: FloatArray

    @property
    def error(self) -> FloatArray:
        """``e_z``, the mean of probability minus label inside each value; above zero is over-promised."""
        return np.asarray((self.predicted - self.observed) / self.rows)

    @property
    def ece(self) -> float:
        """``sum_z n_z |e_z| / sum_z n_z``; 0 is ideal."""
        return float(np.abs(self.predicted - self.observed).sum() / self.rows.sum())

    @property
    def rce(self) -> float:
        """``sum_z n_z |sum p - sum y| / sum y / sum_z n_z`` over the values with a positive; NaN when none has one."""
        some = self.observed > 0
        if not some.any():
            return float("nan")
        relative = np.abs(self.predicted[some] - self.observed[some]) / self.observed[some]
        return float(np.dot(self.rows[some], relative) / self.rows[some].sum())

    @property
    def rce_share(self) -> float:
        """Share of the rows that :attr:`rce` covers: values without a positive have no relative error."""
        return float(self.rows[self.observed > 0].sum() / self.rows.sum())

    def spread(self, min_rows: float = 200.0) -> float:
        """Return the standard deviation of ``e_z`` over values with at least ``min_rows``, weighted by their rows.

        0 means that all values are off by the same; NaN when fewer than two values are large enough.
        """
        large = self.rows >= min_rows
        if large.sum() < 2:
            return float("nan")
        error, rows = self.error[large], self.rows[large]
        return float(np.sqrt(np.average((error - np.average(error, weights=rows)) ** 2, weights=rows)))

    def worst_decile(self, min_rows: float = 200.0) -> float:
        """Return the 90 % quantile of ``|e_z|`` over values with at least ``min_rows``; NaN when there is none."""
        large = self.rows >= min_rows
        return float(np.quantile(np.abs(self.error[large]), 0.9)) if large.any() else float("nan")


def field_errors(
    probabilities: ArrayLike, labels: ArrayLike, field: ArrayLike, weight: ArrayLike | None = None
) -> FieldErrors:
    """Sum predicted and observed positives for every value of a field.

    Shapes:
        probabilities, labels, field, weight: ``[N]``.

    Raises:
        DataError: For values outside [0, 1], NaN, other labels, or unequal lengths.

    Example:
        >>> field_errors([0.5, 0.5, 0.2], [1, 0, 0], ["a", "a", "b"]).error.tolist()
        [0.0, 0.2]
    """
    p, y, mass = _columns(probabilities, labels, weight)
    values, place = as_groups(field, len(p))
    sums = [np.bincount(place, weights=part, minlength=len(values)) for part in (mass, mass * p, mass * y)]
    seen = sums[0] > 0
    return FieldErrors(values[seen], *(part[seen].astype(np.float64) for part in sums))


def field_ece(probabilities: ArrayLike, labels: ArrayLike, field: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return the calibration error over the values of a field, ``(1/N) sum_z |sum_{i in z} (y_i - p_i)|``.

    Example:
        >>> field_ece([0.5, 0.5, 0.2, 0.2], [1, 0, 0, 0], ["a", "a", "b", "b"])
        0.1
    """
    return field_errors(probabilities, labels, field, weight).ece


def field_rce(probabilities: ArrayLike, labels: ArrayLike, field: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return the relative error over the values of a field, ``(1/N) sum_z n_z |sum (y - p)| / sum y``.

    Values without a positive are skipped and N is the rows of the others;
    :attr:`FieldErrors.rce_share` tells how many they are.

    Example:
        >>> field_rce([0.4, 0.4, 0.2], [1, 0, 0], ["a", "a", "b"])
        0.2

    Source:
        Pan et al. (2020), Field-aware calibration.
    """
    return field_errors(probabilities, labels, field, weight).rce


def multi_field_rce(
    probabilities: ArrayLike,
    labels: ArrayLike,
    fields: Mapping[str, ArrayLike],
    weight: ArrayLike | None = None,
) -> float:
    """Return the mean of :func:`field_rce` over several fields.

    Raises:
        DataError: If no field is given, or a column does not fit.

    Example:
        >>> multi_field_rce([0.5, 0.5], [1, 0], {"site": ["a", "a"], "hour": [1, 2]})
        0.25
    """
    if not fields:
        raise DataError("fields is empty.", remedy='Give at least one column, such as {"site": sites}.')
    return float(np.mean([field_rce(probabilities, labels, column, weight) for column in fields.values()]))


def rce(
    probabilities: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    kind: Binning = "width",
    bins: int = 100,
) -> float:
    """Return the relative calibration error over bins of the probability.

    ``RCE = (1/N) sum_m n_m |y_m - p_m| / y_m`` over the bins with a positive; N is the rows of those bins.

    Args:
        probabilities: Values in [0, 1].
        labels: 0 or 1.
        weight: Not negative.
        kind: ``width`` or ``mass``.
        bins: How many bins.

    Example:
        >>> round(rce([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], bins=5), 6)
        0.4
    """
    p, y, mass = _columns(probabilities, labels, weight)
    place = probability_bins(p, mass, kind=kind, bins=bins)
    return field_errors(p, y, place, mass).rce


def mvce(
    probabilities: ArrayLike,
    labels: ArrayLike,
    features: Mapping[str, ArrayLike],
    weight: ArrayLike | None = None,
    *,
    views: int = 100,
    depth: int = 4,
    seed: int = 0,
) -> float:
    """Return the multi-view calibration error: the mean error over random partitions of the feature space.

    ``MVCE = (1/R) sum_r (1/N) sum_{cell in partition r} |sum_{i in cell} (y_i - p_i)|``

    Each partition is a random tree: every node takes a random feature and sends a random half of its values (of
    its range, for real numbers) to the left. A map that is right only on average is found out by some of them.

    Args:
        probabilities: Values in [0, 1].
        labels: 0 or 1.
        features: Columns by name; integers and texts are categories, real numbers are cut at quantiles.
        weight: Not negative.
        views: Number of partitions R.
        depth: Depth of each tree; it has at most ``2^depth`` cells.
        seed: Seed of the partitions: the same seed and columns give the same partitions for every method.

    Raises:
        ConfigError: If ``views`` or ``depth`` is below 1.
        DataError: If there is no feature, or a column does not fit.

    Example:
        >>> site = ["a", "a", "b", "b"]
        >>> mvce([0.5] * 4, [1, 1, 0, 0], {"site": site}, views=20) > 0.1
        True

    Source:
        Huang et al. (2022), MBCT; the construction of the partitions is ours.
    """
    if views < 1 or depth < 1:
        raise ConfigError(f"views = {views}, depth = {depth} is not valid: both are at least 1.")
    if not features:
        raise DataError("features is empty.", remedy='Give at least one column, such as {"site": sites}.')
    p, y, mass = _columns(probabilities, labels, weight)
    codes = [_codes(column, len(p)) for column in features.values()]
    table = np.stack([code for code, _ in codes])
    gap, rows = mass * (y - p), np.arange(len(p))
    rng, total = np.random.default_rng(seed), 0.0
    for _ in range(views):
        cell = np.zeros(len(p), dtype=np.int64)
        for level in range(depth):
            column, left = _random_rules(codes, 2**level, rng)
            cell = 2 * cell + left[cell, table[column[cell], rows]]
        total += float(np.abs(np.bincount(cell, weights=gap)).sum())
    return total / views / float(mass.sum())


def _random_rules(
    codes: list[tuple[IntArray, bool]], nodes: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Return for each node its feature, and which codes of that feature go left (0 or 1)."""
    widest = max(int(code.max()) + 1 for code, _ in codes)
    column = rng.integers(len(codes), size=nodes)
    half = rng.random((nodes, widest)) < 0.5
    cuts = rng.random(nodes)
    for node, chosen in enumerate(column):
        code, ordered = codes[chosen]
        if ordered:
            half[node] = np.arange(widest) < cuts[node] * (int(code.max()) + 1)
    return column, half.astype(np.int64)


def _codes(column: ArrayLike, rows: int) -> tuple[IntArray, bool]:
    """Return whole-number codes of a feature, and whether they have an order (real numbers, at 32 quantiles)."""
    values = np.asarray(column)
    if values.dtype.kind != "f":
        return as_groups(column, rows)[1], False
    as_groups(values, rows)  # refuses NaN and unequal lengths
    edges = np.unique(np.quantile(values, np.arange(1, 32) / 32.0))
    return np.searchsorted(edges, values, side="right").astype(np.int64), True


def _columns(
    probabilities: ArrayLike, labels: ArrayLike, weight: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    p = as_probabilities(probabilities)
    y = as_labels(labels, len(p)).astype(np.float64)
    mass = as_weights(weight, len(p))
    return p, y, np.ones(len(p)) if mass is None else mass
