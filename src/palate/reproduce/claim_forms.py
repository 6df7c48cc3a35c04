"""Claims as documents of reproductions hold them: a value, a target fixed before, whether it holds, else why not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate import paired_t

__all__ = ["Table", "above", "claim", "mean", "means", "per_seed"]

Table = Mapping[str, Mapping[str, Any]]


def above(name: str, statement: str, rows: Table, pair: tuple[str, str], metric: str) -> dict[str, Any]:
    """Return the claim that the first row's metric is above the second's: paired over the seeds that both have."""
    first, second = _paired(rows, pair, metric)
    shared = len(first)
    test = paired_t(first, second)
    ends = None if test.interval is None else [test.interval.low, test.interval.high]
    wins = sum(a > b for a, b in zip(first, second, strict=True))
    holds = ends is not None and ends[0] > 0
    side = "so it is a tie" if ends is None or ends[1] >= 0 else "so it is the other way round"
    why = f"Above in {wins} of {shared} seeds, by {test.difference:+.5f} on average; {side}."
    return claim(name, statement, test.difference, "> 0, 95 % interval above 0", holds, why, interval=ends)


def claim(
    name: str,
    statement: str,
    value: float,
    target: str,
    holds: bool,
    why: str,
    *,
    interval: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return a claim; ``why`` is kept only where it does not hold."""
    ends = None if interval is None else list(interval)
    found = {"name": name, "statement": statement, "value": value, "interval": ends, "target": target}
    return {**found, "holds": bool(holds), **({} if holds else {"why": why})}


def mean(rows: Table, row: str, metric: str) -> float:
    """Return a metric's mean over seeds."""
    return statistics.fmean(per_seed(rows, row, metric))


def per_seed(rows: Table, row: str, metric: str) -> list[float]:
    """Return a metric's value for each seed."""
    values: list[float] = rows[row][metric]["per_seed"]
    return values


def means(rows: Table, pair: tuple[str, str], metric: str) -> tuple[float, float]:
    """Return the means of two rows over the seeds that both have: other seeds are other worlds."""
    first, second = _paired(rows, pair, metric)
    return statistics.fmean(first), statistics.fmean(second)


def _paired(rows: Table, pair: tuple[str, str], metric: str) -> tuple[list[float], list[float]]:
    first, second = (per_seed(rows, row, metric) for row in pair)
    shared = min(len(first), len(second))
    return first[:shared], second[:shared]
