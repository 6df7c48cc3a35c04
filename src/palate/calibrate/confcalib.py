"""ConfCalib: trust an observed rate as far as its confidence interval allows, and join what several fields say."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from palate.calibrate.bins import bin_of, equal_mass_edges
from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import logit, sigmoid
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["ConfCalib", "ConfCalibConfig", "trusted_shift"]


class ConfCalibConfig(ModelConfig):
    """Settings of ConfCalib.

    Attributes:
        bins: Bins of equal mass within each field value; 1 gives one shift per value.
        confidence: Half width of the interval, in standard deviations.
        sharpness: How fast trust grows once the prediction leaves the middle of the interval.
        min_count: Context values with fewer rows are treated as unseen.
    """

    bins: int = Field(10, ge=1)
    confidence: float = Field(1.96, gt=0)
    sharpness: float = Field(3.0, gt=0)
    min_count: int = Field(1, ge=1)


@register("calibrator", "confcalib", source="Zhao et al., CIKM 2024, arXiv 2402.17655")
class ConfCalib(LearnedCalibrator):
    """Confidence-aware calibration: shifts per field value and bin, as strong as the evidence, joined over fields.

    ``logit p = logit s + d_0(s) + sum_f lambda_f d_{f,c_f}(s)``

    ``d`` moves the mean prediction of a cell towards its observed rate by the share that :func:`trusted_shift`
    allows, ``d_0`` for all rows and ``d_f`` for what remains inside the values of field f. ``lambda_f`` is the share
    of the field in the error that all fields found, which makes the sum a weighted geometric mean of odds. Between
    the middles of the bins the shift is interpolated. No network, nothing to tune per field; order inside a context
    is not guaranteed for more than one bin.

    Example:
        >>> fitted = ConfCalib(ConfCalibConfig(bins=1)).fit([0.2, 0.3, 0.6, 0.8] * 50, [0, 0, 0, 1] * 50)
        >>> bool(fitted.predict([0.3])[0] < 0.3)
        True
    """

    Config = ConfCalibConfig
    uses_context = True
    array_names = ("middles", "common", "shifts", "importance")
    config: ConfCalibConfig

    def learn(self, rows: Observations) -> Arrays:
        """Shift all rows first, then each field's values by what is left, then weigh the fields."""
        edges = equal_mass_edges(rows.scores, rows.weight, self.config.bins)
        bins, count = bin_of(rows.scores, edges), len(edges) + 1
        z = logit(rows.scores)
        middles = np.bincount(bins, weights=rows.weight * z) / np.bincount(bins, weights=rows.weight)
        common, _ = self._cells(rows, z, bins, count)
        z = z + _interpolate(z, middles, common[None, :], np.zeros(len(z), dtype=np.int64))
        sizes = self.context_vocabulary.sizes
        shifts, found = [np.zeros((0, count))], []
        for field, size in enumerate(sizes):
            ids = rows.context[:, field]
            table, error = self._cells(rows, z, ids * count + bins, size * count)
            table = table.reshape(size, count)
            table[0] = 0.0  # rare and unseen values keep the common map
            shifts.append(table)
            found.append(error)
        total = sum(found)
        importance = np.array([error / total if total > 0 else 1.0 / len(found) for error in found])
        return {"middles": middles, "common": common, "shifts": np.concatenate(shifts), "importance": importance}

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Add the common shift and the weighted shifts of the row's values."""
        middles = learned["middles"]
        original = logit(scores)
        z = original + _interpolate(original, middles, learned["common"][None, :], np.zeros(len(scores), np.int64))
        start = 0
        for field, size in enumerate(self.context_vocabulary.sizes):
            table = learned["shifts"][start : start + size]
            z = z + learned["importance"][field] * _interpolate(original, middles, table, context[:, field])
            start += size
        return sigmoid(z)

    def _cells(self, rows: Observations, z: FloatArray, cell: IntArray, count: int) -> tuple[FloatArray, float]:
        """Return the trusted shift of every cell, and the error that the cells have in common."""
        mass = np.bincount(cell, weights=rows.weight, minlength=count).astype(np.float64)
        positives = np.bincount(cell, weights=rows.weight * rows.labels, minlength=count)
        predicted = np.bincount(cell, weights=rows.weight * sigmoid(z), minlength=count)
        seen = mass > 0
        shift = np.zeros(count)
        shift[seen] = trusted_shift(
            predicted[seen] / mass[seen],
            positives[seen] / mass[seen],
            mass[seen],
            confidence=self.config.confidence,
            sharpness=self.config.sharpness,
        )
        moved = np.abs(sigmoid(logit(predicted[seen] / mass[seen]) + shift[seen]) * mass[seen] - predicted[seen])
        return shift, float(moved.sum())


def trusted_shift(
    predicted: FloatArray, observed: FloatArray, rows: FloatArray, *, confidence: float, sharpness: float
) -> FloatArray:
    """Return the log-odds shift that moves a mean prediction towards the observed rate, as far as it is trusted.

    With the Wilson interval of the observed rate, middle m and half width h:
    ``trust = 2 sigmoid(sharpness * |m - predicted| / h) - 1`` and the target is ``predicted + trust (m - predicted)``.
    A prediction inside the interval hardly moves; one far outside moves almost all the way.

    Example:
        >>> few, many = np.array([5.0]), np.array([5000.0])
        >>> settings = {"confidence": 1.96, "sharpness": 1.0}
        >>> weak = trusted_shift(np.array([0.3]), np.array([0.4]), few, **settings)
        >>> strong = trusted_shift(np.array([0.3]), np.array([0.4]), many, **settings)
        >>> bool(0 < weak[0] < strong[0])
        True
    """
    square = confidence**2 / rows
    middle = (observed + square / 2.0) / (1.0 + square)
    half = confidence / (1.0 + square) * np.sqrt(observed * (1.0 - observed) / rows + square / (4.0 * rows))
    trust = 2.0 * sigmoid(sharpness * np.abs(middle - predicted) / half) - 1.0
    return logit(predicted + trust * (middle - predicted)) - logit(predicted)


def _interpolate(z: FloatArray, middles: FloatArray, table: FloatArray, row: IntArray) -> FloatArray:
    """Return ``table[row]`` read at z between the middles of the bins; beyond them the last value stays."""
    if len(middles) == 1:
        return np.asarray(table[row, 0])
    segment = np.clip(np.searchsorted(middles, z, side="right") - 1, 0, len(middles) - 2)
    left, right = middles[segment], middles[segment + 1]
    fraction = np.clip((z - left) / (right - left), 0.0, 1.0)
    low = table[row, segment]
    return np.asarray(low + fraction * (table[row, segment + 1] - low))
