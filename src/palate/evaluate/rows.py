"""Evaluation of rankers row by row: does the probability of "will this user take this item?" order, and is it true?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, suggest
from palate.evaluate.auc import auc
from palate.evaluate.auc_intervals import auc_interval, bootstrap_auc
from palate.evaluate.calibration import brier, ece, pcoc
from palate.evaluate.classification import f1, row_log_losses, row_log_losses_from_logits
from palate.evaluate.columns import (
    AnyArray,
    BoolArray,
    FloatArray,
    IntArray,
    as_groups,
    as_labels,
    as_probabilities,
    as_scores,
    as_weights,
)
from palate.evaluate.grouped_auc import GroupAUC, per_group_auc
from palate.evaluate.intervals import Interval, bootstrap_ratio
from palate.evaluate.names import Metric, parse_metrics
from palate.evaluate.report import MetricResult, MetricTable, Setting

__all__ = ["evaluate_ranker"]

_DRAWS = 2 * 10**8  # rows times resamples; above it, DeLong's formula takes the place of drawing users


def evaluate_ranker(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    kind: Literal["logits", "probabilities"] = "logits",
    metrics: Sequence[str | Metric] | None = None,
    bins: int = 100,
    threshold: float = 0.5,
    split: str = "test",
    seeds: Sequence[int] = (),
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> MetricTable:
    """Return the row metrics of a ranker with intervals that respect whose rows they are.

    With groups (users), whole groups are drawn again, because rows of one user are not independent; without, rows are.
    Where resampling would cost too much, DeLong's formula (AUC) or the normal approximation takes its place; each
    interval says what it is. F1 and the calibration errors come without an interval: resampling biases them upward.

    Args:
        scores: One per row, on the scale that ``kind`` says. Areas are measured on them as they come; give logits
            where there are any, because saturated probabilities tie.
        labels: 0 or 1.
        groups: Group of each row, for gauc and avg_auc and for the intervals.
        weight: Weight of each row, not negative. Intervals of auc are then left out.
        kind: ``logits`` or ``probabilities``.
        metrics: Names; by default auc, log_loss, brier, ece and pcoc, and with groups gauc.
        bins: Bins of the calibration errors.
        threshold: Probability from which f1 counts a row as positive.
        split: Name of the part the rows come from, for the report.
        seeds: Seeds of the model, for the report.
        level: Coverage of the intervals.
        seed: Seed of the draws.
        resamples: Draws of the bootstrap.

    Shapes:
        scores, labels, groups, weight: ``[N]``.

    Raises:
        ConfigError: For an unknown kind, or a grouped metric without groups.
        DataError: For NaN, other labels, values outside [0, 1], or unequal lengths.
        UnknownNameError: For a name that is no metric of rows.

    Example:
        >>> table = evaluate_ranker([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], kind="probabilities")
        >>> table["auc"].value, round(table["pcoc"].value, 3)
        (0.75, 0.825)
    """
    if kind not in ("logits", "probabilities"):
        raise ConfigError(
            f'There is no kind of score "{kind}".', remedy=suggest(str(kind), ["logits", "probabilities"])
        )
    default = ["auc", *(["gauc"] if groups is not None else []), "log_loss", "brier", "ece", "pcoc"]
    wanted = parse_metrics(default if metrics is None else metrics, "rows")
    grouped = [metric.name for metric in wanted if metric.name in ("gauc", "avg_auc")]
    if grouped and groups is None:
        raise ConfigError(f"{grouped[0]} needs groups.", remedy="Give groups, for example the user of each row.")
    column = as_scores(scores) if kind == "logits" else as_probabilities(scores)
    positive = as_labels(labels, len(column))
    rows = _Rows(
        kind,
        column,
        column.astype(np.float64) if kind == "probabilities" else _sigmoid(column),
        positive,
        as_weights(weight, len(column)),
        None if groups is None else as_groups(groups, len(column))[1],
        bins,
        threshold,
        level,
        seed,
        resamples,
    )
    results = tuple(_MEASURES[metric.name](rows) for metric in wanted)
    notes = [f"{len(column):,} rows, {positive.mean():.2%} positive"]
    if weight is not None:
        notes.append("rows are weighted")
    return MetricTable(results, Setting(split, "rows as given", seeds=tuple(seeds), notes=tuple(notes)))


@dataclass(frozen=True, slots=True)
class _Rows:
    kind: str
    scores: AnyArray
    probabilities: FloatArray
    positive: BoolArray
    weight: FloatArray | None
    group: IntArray | None
    bins: int
    threshold: float
    level: float
    seed: int
    resamples: int

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def mass(self) -> FloatArray:
        return np.ones(len(self)) if self.weight is None else self.weight

    def per_group(self) -> GroupAUC:
        assert self.group is not None  # checked where the metrics are read
        return per_group_auc(self.scores, self.positive, self.group, self.weight)

    def ratio_interval(self, numerators: FloatArray, denominators: FloatArray) -> Interval:
        """Return the interval of a ratio of sums over rows, the rows of a group drawn together."""
        if self.group is not None:
            numerators = np.bincount(self.group, weights=numerators).astype(np.float64)
            denominators = np.bincount(self.group, weights=denominators).astype(np.float64)
        found = bootstrap_ratio(numerators, denominators, level=self.level, seed=self.seed, resamples=self.resamples)
        over = "rows" if self.group is None else "groups"
        return Interval(found.low, found.high, found.level, f"{found.method} over {over}")


def _sigmoid(logits: AnyArray) -> FloatArray:
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64)))


def _auc(rows: _Rows) -> MetricResult:
    value = auc(rows.scores, rows.positive, rows.weight)
    interval = None
    if rows.weight is None and not math.isnan(value):
        if rows.group is not None and len(rows) * rows.resamples <= _DRAWS:
            interval = bootstrap_auc(
                rows.scores, rows.positive, rows.group, level=rows.level, seed=rows.seed, resamples=rows.resamples
            )
        else:
            interval = auc_interval(rows.scores, rows.positive, level=rows.level)
    return MetricResult("auc", value, len(rows), unit="rows", interval=interval)


def _gauc(rows: _Rows) -> MetricResult:
    return _grouped(rows, "gauc")


def _avg_auc(rows: _Rows) -> MetricResult:
    return _grouped(rows, "avg_auc")


def _grouped(rows: _Rows, name: str) -> MetricResult:
    found = rows.per_group()
    defined = ~np.isnan(found.auc)
    shares = found.rows[defined] if name == "gauc" else np.ones(int(defined.sum()))
    areas = found.auc[defined]
    value = float(np.dot(areas, shares) / shares.sum()) if len(areas) else math.nan
    interval = bootstrap_ratio(areas * shares, shares, level=rows.level, seed=rows.seed, resamples=rows.resamples)
    return MetricResult(name, value, len(areas), int((~defined).sum()), "groups", interval, found.auc)


def _log_loss(rows: _Rows) -> MetricResult:
    if rows.kind == "logits":
        losses = row_log_losses_from_logits(rows.scores, rows.positive)
    else:
        losses = row_log_losses(rows.probabilities, rows.positive)
    value = float(np.dot(losses, rows.mass) / rows.mass.sum())
    return MetricResult(
        "log_loss", value, len(rows), unit="rows", interval=rows.ratio_interval(losses * rows.mass, rows.mass)
    )


def _brier(rows: _Rows) -> MetricResult:
    gaps = (rows.probabilities - rows.positive) ** 2 * rows.mass
    value = brier(rows.probabilities, rows.positive, rows.weight)
    return MetricResult("brier", value, len(rows), unit="rows", interval=rows.ratio_interval(gaps, rows.mass))


def _pcoc(rows: _Rows) -> MetricResult:
    value = pcoc(rows.probabilities, rows.positive, rows.weight)
    interval = None
    if not math.isnan(value):
        interval = rows.ratio_interval(rows.probabilities * rows.mass, rows.positive * rows.mass)
    return MetricResult("pcoc", value, len(rows), unit="rows", interval=interval)


def _ece(rows: _Rows) -> MetricResult:
    value = ece(rows.probabilities, rows.positive, rows.weight, bins=rows.bins)
    return MetricResult("ece", value, len(rows), unit="rows")


def _ece_mass(rows: _Rows) -> MetricResult:
    value = ece(rows.probabilities, rows.positive, rows.weight, kind="mass", bins=rows.bins)
    return MetricResult("ece_mass", value, len(rows), unit="rows")


def _f1(rows: _Rows) -> MetricResult:
    value = f1(rows.probabilities, rows.positive, rows.weight, threshold=rows.threshold)
    return MetricResult("f1", value, len(rows), unit="rows")


_MEASURES: dict[str, Callable[[_Rows], MetricResult]] = {
    "auc": _auc,
    "gauc": _gauc,
    "avg_auc": _avg_auc,
    "log_loss": _log_loss,
    "brier": _brier,
    "ece": _ece,
    "ece_mass": _ece_mass,
    "pcoc": _pcoc,
    "f1": _f1,
}
