"""Results that carry what it takes to believe them: value, interval, counts, values per user, and the setting."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from palate.errors import ConfigError, UnknownNameError
from palate.evaluate.columns import FloatArray
from palate.evaluate.intervals import Interval

__all__ = ["MetricResult", "MetricTable", "Setting", "over_seeds"]

Unit = Literal["users", "rows", "groups", "items"]


@dataclass(frozen=True, slots=True)
class Setting:
    """How the numbers were measured; printed and stored with them.

    Attributes:
        split: Part of the data, for example ``test``.
        candidates: What the target competed with: ``full catalogue (12,101 items)``, ``sampled: ...``, or
            ``rows as given``.
        filtering: What was taken out of the race, for example ``items of the history``.
        ties: How equal scores are treated.
        seeds: Seeds of the models (or of the sampling) that the numbers come from.
        notes: Counts and facts that a reader should know, such as users with an empty history.
    """

    split: str
    candidates: str
    filtering: str = "none"
    ties: str = "equal scores share their mean rank"
    seeds: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric.

    Attributes:
        name: ``ndcg@10``, ``auc``, ...
        value: The number; NaN when it is undefined.
        count: Units that it rests on.
        skipped: Units left out because the metric is not defined for them (no target, a single class).
        unit: What is counted.
        interval: Where it should lie on new units of the same kind, or ``None``.
        per_user: One value per unit in the order of the input, NaN for skipped ones, or ``None``.
        per_seed: One value per seed, when several runs are summed up.
    """

    name: str
    value: float
    count: int
    skipped: int = 0
    unit: Unit = "users"
    interval: Interval | None = None
    per_user: FloatArray | None = field(default=None, repr=False, compare=False)
    per_seed: tuple[float, ...] = ()

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds, or ``None`` with fewer than two."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else None

    def to_dict(self, *, per_user: bool = False) -> dict[str, Any]:
        """Return the result as plain JSON types, with the values per user only when asked."""
        document: dict[str, Any] = {
            "name": self.name,
            "value": _finite(self.value),
            "interval": None if self.interval is None else [_finite(self.interval.low), _finite(self.interval.high)],
            "level": None if self.interval is None else self.interval.level,
            "interval_method": None if self.interval is None else self.interval.method,
            "unit": self.unit,
            "count": self.count,
            "skipped": self.skipped,
            "per_seed": [_finite(value) for value in self.per_seed],
            "spread": self.spread,
        }
        if per_user:
            document["per_user"] = None if self.per_user is None else [_finite(v) for v in self.per_user.tolist()]
        return document

    def __str__(self) -> str:
        parts = [f"{self.name} {self.value:.4f}"]
        if self.interval is not None:
            parts.append(f"[{self.interval.low:.4f}, {self.interval.high:.4f}]")
        if self.spread is not None:
            parts.append(f"+- {self.spread:.4f} over {len(self.per_seed)} seeds")
        parts.append(f"({self.count:,} {self.unit}" + (f", {self.skipped:,} skipped)" if self.skipped else ")"))
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Several metrics of one model, measured in one setting.

    Example:
        >>> table = MetricTable((MetricResult("hr@10", 0.25, count=4),), Setting("test", "full catalogue (9 items)"))
        >>> table["hr@10"].value
        0.25
        >>> print(table)
        hr@10 0.2500 (4 users)
        split: test; candidates: full catalogue (9 items); filtering: none; ties: equal scores share their mean rank
    """

    results: tuple[MetricResult, ...]
    setting: Setting

    def __getitem__(self, name: str) -> MetricResult:
        for result in self.results:
            if result.name == name:
                return result
        raise UnknownNameError.among("metric in this table", name, self.names)

    def __iter__(self) -> Iterator[MetricResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics, in order."""
        return tuple(result.name for result in self.results)

    def values(self) -> dict[str, float]:
        """Return metric name -> number, the form that a training loop validates with."""
        return {result.name: result.value for result in self.results}

    def to_dict(self, *, per_user: bool = False) -> dict[str, Any]:
        """Return the table as plain JSON types."""
        setting = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.setting).items()
        }
        return {"setting": setting, "results": [result.to_dict(per_user=per_user) for result in self.results]}

    def __str__(self) -> str:
        return "\n".join([*map(str, self.results), _statement(self.setting)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(result.name)}</td><td>{result.value:.4f}</td><td>{_ends(result.interval)}</td>"
            f"<td>{'' if result.spread is None else f'{result.spread:.4f}'}</td>"
            f"<td>{result.count:,} {result.unit}</td><td>{result.skipped:,}</td></tr>"
            for result in self.results
        )
        head = "<tr><th>metric</th><th>value</th><th>interval</th><th>spread</th><th>count</th><th>skipped</th></tr>"
        return f"<table>{head}{rows}</table><p>{html.escape(_statement(self.setting))}</p>"


def over_seeds(tables: Sequence[MetricTable], seeds: Sequence[int], *, level: float = 0.95) -> MetricTable:
    """Sum up the same evaluation over several seeds: mean, value of each seed, spread, and a t interval of the mean.

    Values per user become the mean over seeds, so that models can still be compared user by user.

    Args:
        tables: One table per seed, with the same metrics in the same setting.
        seeds: The seeds, in the same order.
        level: Coverage of the interval over seeds.

    Raises:
        ConfigError: If tables and seeds differ in number, or the tables in metrics or setting.

    Example:
        >>> one, two = (
        ...     MetricTable((MetricResult("auc", value, count=9, unit="rows"),), Setting("test", "rows as given"))
        ...     for value in (0.70, 0.72)
        ... )
        >>> print(over_seeds([one, two], [0, 1])["auc"])
        auc 0.7100 [0.5829, 0.8371] +- 0.0141 over 2 seeds (9 rows)
    """
    if not tables or len(tables) != len(seeds):
        raise ConfigError(f"{len(tables)} tables came for {len(seeds)} seeds; one for each is expected.")
    first = tables[0]
    for table in tables[1:]:
        if table.names != first.names or _measured(table.setting) != _measured(first.setting):
            raise ConfigError("The tables differ in metrics or setting, so they cannot be summed up.")
    results = tuple(_over_seeds([table[name] for table in tables], level) for name in first.names)
    return MetricTable(results, replace(first.setting, seeds=tuple(seeds)))


def _over_seeds(results: Sequence[MetricResult], level: float) -> MetricResult:
    from scipy import stats

    values = np.array([result.value for result in results])
    interval = None
    if len(values) > 1:
        reach = float(stats.t.ppf(0.5 + level / 2.0, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        interval = Interval(float(values.mean()) - reach, float(values.mean()) + reach, level, "t over seeds")
    columns = [result.per_user for result in results if result.per_user is not None]
    same = len(columns) == len(results) and len({column.shape for column in columns}) == 1
    return replace(
        results[0],
        value=float(values.mean()),
        count=min(result.count for result in results),
        skipped=max(result.skipped for result in results),
        interval=interval,
        per_user=np.mean(columns, axis=0) if same else None,
        per_seed=tuple(values.tolist()),
    )


def _measured(setting: Setting) -> tuple[str, ...]:
    return (setting.split, setting.candidates, setting.filtering, setting.ties)


def _statement(setting: Setting) -> str:
    parts = [
        f"split: {setting.split}",
        f"candidates: {setting.candidates}",
        f"filtering: {setting.filtering}",
        f"ties: {setting.ties}",
    ]
    if setting.seeds:
        parts.append(f"seeds: {', '.join(map(str, setting.seeds))}")
    return "; ".join([*parts, *setting.notes])


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
