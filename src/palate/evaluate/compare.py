"""Which model is better, by how much, and is it chance? Paired over the same users, corrected for many comparisons."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, UnknownNameError
from palate.evaluate.columns import FloatArray, as_column
from palate.evaluate.intervals import Interval, bootstrap_interval, check_level
from palate.evaluate.significance import TESTS, holm

__all__ = ["ComparedModel", "Comparison", "compare"]

Test = Literal["permutation", "bootstrap", "wilcoxon", "t"]


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model against the baseline.

    Attributes:
        name: The model.
        value: Its mean over the compared units.
        difference: ``value`` minus the baseline's.
        relative: ``difference`` as a share of the baseline's value, NaN when that is 0.
        interval: Interval of the difference (BCa bootstrap over units; Student's for the t test).
        p_value: Of the paired test, before correction.
        p_adjusted: After Holm's correction over all rows of the table.
        wins: Units where the model is better.
        losses: Units where it is worse.
        mark: ``better`` or ``worse`` when ``p_adjusted`` is below ``1 - level``, otherwise ``unclear``. Unclear means
            that no difference was shown, not that there is none.
    """

    name: str
    value: float
    difference: float
    relative: float
    interval: Interval
    p_value: float
    p_adjusted: float
    wins: int
    losses: int
    mark: Literal["better", "worse", "unclear"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The table of :func:`compare`: the baseline and every other model against it.

    Attributes:
        baseline: Name of the baseline.
        baseline_value: Its mean over the compared units.
        rows: The other models, in the order given.
        metric: What was compared.
        test: Name of the test.
        level: ``1 - alpha``.
        count: Units that have a value in every model.
        skipped: Units left out because some model has none.
    """

    baseline: str
    baseline_value: float
    rows: tuple[ComparedModel, ...]
    metric: str
    test: str
    level: float
    count: int
    skipped: int

    def __getitem__(self, name: str) -> ComparedModel:
        for row in self.rows:
            if row.name == name:
                return row
        raise UnknownNameError.among("model in this comparison", name, (row.name for row in self.rows))

    def __iter__(self) -> Iterator[ComparedModel]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain JSON types; undefined numbers become ``None``."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        table = [self._head(), (self.baseline, f"{self.baseline_value:.4f}", *["-"] * 5), *map(_cells, self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([*lines, self._statement()])

    def _repr_html_(self) -> str:
        table = [(self.baseline, f"{self.baseline_value:.4f}", *["-"] * 5), *map(_cells, self.rows)]
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self._head())
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table)
        return f"<table><tr>{head}</tr>{body}</table><p>{html.escape(self._statement())}</p>"

    def _head(self) -> tuple[str, ...]:
        return ("model", self.metric, "difference", "interval", "p (Holm)", "wins/losses", "")

    def _statement(self) -> str:
        left = f", {self.skipped:,} left out" if self.skipped else ""
        return f"{self.test}; {self.count:,} pairs{left}; level {self.level:g}, Holm over {len(self.rows)} comparisons"


def compare(
    values: Mapping[str, ArrayLike],
    baseline: str | None = None,
    *,
    metric: str = "value",
    higher_is_better: bool = True,
    test: Test = "permutation",
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """Compare every model with the baseline, unit by unit, and correct the p-values for their number.

    Args:
        values: Model name -> one value per unit (user, seed, ...), all in the same order; NaN where undefined.
        baseline: Name of the model to compare with; the first when ``None``.
        metric: What the values are, for the head of the table.
        higher_is_better: Whether a larger value is an improvement.
        test: ``permutation`` (sign flips), ``bootstrap``, ``wilcoxon``, or ``t`` (for a handful of seeds).
        level: Coverage of the intervals; marks use ``1 - level``.
        seed: Seed of the draws.
        resamples: Number of draws.

    Shapes:
        values: ``[U]`` each.

    Raises:
        ConfigError: With fewer than two models, an unknown test, or no unit that all models have.
        UnknownNameError: If the baseline is not among the models.
        DataError: If the columns differ in length.

    Example:
        >>> table = compare({"old": [0.1, 0.2, 0.3, 0.2] * 5, "new": [0.3, 0.4, 0.4, 0.3] * 5}, baseline="old")
        >>> table["new"].mark, round(table["new"].difference, 6)
        ('better', 0.15)
    """
    check_level(level)
    if len(values) < 2:
        raise ConfigError(f"{len(values)} models came; a comparison needs at least two.")
    if test not in TESTS:
        raise UnknownNameError.among("test", test, TESTS)
    base = next(iter(values)) if baseline is None else baseline
    if base not in values:
        raise UnknownNameError.among("model to be the baseline", base, values)
    columns = {name: as_column(column, f'values of "{name}"').astype(np.float64) for name, column in values.items()}
    table = np.stack([as_column(column, f'values of "{name}"', len(columns[base])) for name, column in columns.items()])
    kept = ~np.isnan(table).any(0)
    if not kept.any():
        raise ConfigError("No unit has a value in every model, so there is nothing to compare.")
    columns = {name: column[kept] for name, column in columns.items()}
    options: dict[str, Any] = {"permutation": {"seed": seed, "resamples": resamples}, "t": {"level": level}}
    options["bootstrap"] = {**options["permutation"], **options["t"]}
    others = [name for name in columns if name != base]
    tests = [TESTS[test](columns[name], columns[base], **options.get(test, {})) for name in others]
    rows = []
    for name, found, adjusted in zip(others, tests, holm([found.p_value for found in tests]), strict=True):
        interval = found.interval or bootstrap_interval(columns[name] - columns[base], level=level, seed=seed)
        rows.append(
            _row(name, columns[name], columns[base], interval, found.p_value, float(adjusted), higher_is_better, level)
        )
    mean = float(columns[base].mean())
    return Comparison(base, mean, tuple(rows), metric, tests[0].method, level, int(kept.sum()), int((~kept).sum()))


def _row(
    name: str,
    own: FloatArray,
    base: FloatArray,
    interval: Interval,
    p_value: float,
    adjusted: float,
    higher_is_better: bool,
    level: float,
) -> ComparedModel:
    gap, start = float(own.mean() - base.mean()), float(base.mean())
    up, down = int((own > base).sum()), int((own < base).sum())
    wins, losses = (up, down) if higher_is_better else (down, up)
    mark: Literal["better", "worse", "unclear"] = "unclear"
    if adjusted < 1.0 - level and gap != 0.0:
        mark = "better" if (gap > 0.0) == higher_is_better else "worse"
    relative = gap / start if start else math.nan
    return ComparedModel(name, float(own.mean()), gap, relative, interval, p_value, adjusted, wins, losses, mark)


def _cells(row: ComparedModel) -> tuple[str, ...]:
    share = "" if math.isnan(row.relative) else f" ({row.relative:+.1%})"
    return (
        row.name,
        f"{row.value:.4f}",
        f"{row.difference:+.4f}{share}",
        f"[{row.interval.low:+.4f}, {row.interval.high:+.4f}]",
        f"{row.p_adjusted:.4f}",
        f"{row.wins:,}/{row.losses:,}",
        row.mark,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
