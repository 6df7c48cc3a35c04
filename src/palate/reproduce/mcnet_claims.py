"""The claims of MCNet, read off the finished table: what counts as reproduced was fixed before the run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate import paired_t

__all__ = ["claims_of"]

CONTEXT_FREE = ("none", "histogram", "isotonic", "platt", "temperature", "beta", "gauss", "gamma", "sir")
Table = Mapping[str, Mapping[str, Any]]


def claims_of(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims with their values; a claim that does not hold says why.

    Args:
        table: Rows by name with ``mean`` and ``per_seed`` of each metric.
    """
    rows: Table = {line["row"]: line for line in table}
    return [*_expressive(rows), *_context(rows), *_order(rows), *_balance(rows), *_beyond(rows)]


def _expressive(rows: Table) -> list[dict[str, Any]]:
    ours, platt = _mean(rows, "MCNet-None", "ECE"), _mean(rows, "platt", "ECE")
    better = min(("isotonic", "sir"), key=lambda name: _mean(rows, name, "ECE"))
    near = ours / _mean(rows, better, "ECE")
    gap = max(
        abs(a - b)
        for a, b in zip(_seeds(rows, "MCNet-None", "AUC"), _seeds(rows, "MCNet-None", "base AUC"), strict=True)
    )
    strict = rows["MCNet-None, strict"]
    broken = max(*strict["new ties"]["per_seed"], *strict["order changes"]["per_seed"])
    return [
        _claim(
            "expressive-over-platt",
            "ECE of MCNet without context over that of Platt scaling, 100,000 rows.",
            ours / platt,
            "<= 0.6",
            ours / platt <= 0.6,
            f"ECE {ours:.4f} against {platt:.4f}; how far Platt is off depends on how curved the mixture of maps is.",
        ),
        _claim(
            "expressive-as-isotonic",
            f"ECE of MCNet without context over the better of isotonic and SIR ({better}).",
            near,
            "<= 1.1",
            near <= 1.1,
            f"ECE {ours:.4f} against {_mean(rows, better, 'ECE'):.4f}.",
        ),
        _claim(
            "auc-of-the-base",
            "Largest difference of the AUC of MCNet without context to that of the base scores.",
            gap,
            "<= 0.0005",
            gap <= 5e-4,
            "The soft order term leaves drops at the edges of bins.",
        ),
        _claim(
            "strictly-monotone",
            "Share of neighbouring scores that strict MCNet ties or swaps.",
            broken,
            "0",
            broken == 0,
            "The computed map fell somewhere: this is a defect.",
        ),
    ]


def _context(rows: Table) -> list[dict[str, Any]]:
    free = [name for name in CONTEXT_FREE if name in rows]
    best = min(free, key=lambda name: _mean(rows, name, "F-RCE"))
    ratio = _mean(rows, "MCNet-Field", "F-RCE") / _mean(rows, best, "F-RCE")
    sharpest = min(free, key=lambda name: _mean(rows, name, "log loss"))
    return [
        _claim(
            "context-lowers-field-error",
            f"F-RCE of MCNet-Field over the best method without context ({best}).",
            ratio,
            "<= 0.25",
            ratio <= 0.25,
            f"F-RCE {_mean(rows, 'MCNet-Field', 'F-RCE'):.3f} against {_mean(rows, best, 'F-RCE'):.3f}.",
        ),
        _above(
            "context-lowers-log-loss",
            f"Log loss of the best method without context ({sharpest}) minus that of MCNet-Field.",
            rows,
            (sharpest, "MCNet-Field"),
            "log loss",
        ),
        _above(
            "context-bends-the-map",
            "KL to the truth with the context in the offset only, minus that with the context in both parts.",
            rows,
            ("MCNet-Field, context in offset only", "MCNet-Field"),
            "KL to truth",
        ),
    ]


def _order(rows: Table) -> list[dict[str, Any]]:
    claims = []
    for prefix, label in (("", "100,000"), ("40k: ", "40,000")):
        soft = f"{prefix}MCNet-Field" if not prefix else f"{prefix}MCNet-Field, alpha 0.01"
        plain = f"{prefix}MCNet-Field, alpha 0"
        before = _mean(rows, plain, "edge violation")
        fall = 1.0 - _mean(rows, soft, "edge violation") / before if before > 0 else 0.0
        size = label.replace(",", "")
        claims.append(
            _claim(
                f"order-term-lowers-violation-{size}",
                f"Share of the edge violation that the order term (alpha 0.01) removes, {label} rows.",
                fall,
                "> 0.3",
                fall > 0.3,
                f"Violation {_mean(rows, soft, 'edge violation'):.4f} against {before:.4f}.",
            )
        )
        cost = _mean(rows, soft, "log loss") - _mean(rows, plain, "log loss")
        claims.append(
            _claim(
                f"order-term-costs-no-log-loss-{size}",
                f"Log loss with the order term minus without, {label} rows.",
                cost,
                "<= 0.0001",
                cost <= 1e-4,
                "The term pulls neighbouring bins together where the truth keeps them apart.",
            )
        )
    cost = _mean(rows, "MCNet-Field, alpha 1", "log loss") - _mean(rows, "MCNet-Field", "log loss")
    claims.append(
        _claim(
            "a-large-order-weight-hurts",
            "Log loss with alpha 1 minus alpha 0.01, 100,000 rows.",
            cost,
            "> 0",
            cost > 0,
            "With this start and these averages the term is not the burden that it was found to be.",
        )
    )
    return claims


def _balance(rows: Table) -> list[dict[str, Any]]:
    balanced, plain = "MCNet-Field, beta 0.3", "MCNet-Field"
    cost = abs(_mean(rows, balanced, "log loss") - _mean(rows, plain, "log loss"))
    strong = _mean(rows, plain, "spread") - _mean(rows, "MCNet-Field, beta 1", "spread")
    fall = _above(
        "balance-term-lowers-spread",
        "Spread of the calibration error over field values without the balance term minus with it (beta 0.3).",
        rows,
        (plain, balanced),
        "spread",
    )
    if not fall["holds"]:
        fall["why"] += (
            f" With beta 1 it changes by {strong:+.5f}. What is left after the main loss is mostly the noise of the "
            "calibration labels in rare values, which no term on those labels can see (inferred)."
        )
    return [
        fall,
        _claim(
            "balance-term-keeps-log-loss",
            "Difference of log loss with and without the balance term (beta 0.3).",
            cost,
            "<= 0.001",
            cost <= 1e-3,
            "The term competes with the likelihood.",
        ),
    ]


def _beyond(rows: Table) -> list[dict[str, Any]]:
    return [
        _above(
            "network-over-platt-per-field",
            "KL to the truth of shrunk Platt per field minus that of MCNet-Field, 100,000 rows.",
            rows,
            ("platt-per-field", "MCNet-Field"),
            "KL to truth",
        ),
        _above(
            "network-over-platt-per-field-40000",
            "The same at 40,000 rows (alpha 0.01).",
            rows,
            ("40k: platt-per-field", "40k: MCNet-Field, alpha 0.01"),
            "KL to truth",
        ),
        _above(
            "network-over-platt-per-field-hard",
            "The same at 100,000 rows where values are rarer and maps twice as curved.",
            rows,
            ("hard: platt-per-field", "hard: MCNet-Field"),
            "KL to truth",
        ),
        _above(
            "chained-bins-help",
            "Log loss of MCNet-Field minus that with chained bins (strict, ours), 100,000 rows.",
            rows,
            ("MCNet-Field", "MCNet-Field, strict"),
            "log loss",
        ),
        _claim(
            "undoes-down-sampling",
            "KL to the truth of MCNet without context after negatives were thinned to a tenth.",
            _mean(rows, "thinned: MCNet-None", "KL to truth"),
            "< 0.001",
            _mean(rows, "thinned: MCNet-None", "KL to truth") < 1e-3,
            "With a known rate the exact correction needs no rows at all.",
        ),
    ]


def _above(name: str, statement: str, rows: Table, pair: tuple[str, str], metric: str) -> dict[str, Any]:
    """Return the claim that the first row's metric is above the second's: mean over seeds, paired interval."""
    first, second = (_seeds(rows, row, metric) for row in pair)
    test = paired_t(first, second)
    ends = None if test.interval is None else [test.interval.low, test.interval.high]
    wins = sum(a > b for a, b in zip(first, second, strict=True))
    holds = ends is not None and ends[0] > 0
    why = f"Above in {wins} of {len(first)} seeds, by {test.difference:+.5f} on average."
    claim = _claim(name, statement, test.difference, "> 0, 95 % interval above 0", holds, why)
    return {**claim, "interval": ends}


def _claim(name: str, statement: str, value: float, target: str, holds: bool, why: str) -> dict[str, Any]:
    claim = {"name": name, "statement": statement, "value": value, "interval": None, "target": target}
    return {**claim, "holds": bool(holds), **({} if holds else {"why": why})}


def _mean(rows: Table, row: str, metric: str) -> float:
    return statistics.fmean(_seeds(rows, row, metric))


def _seeds(rows: Table, row: str, metric: str) -> list[float]:
    values: list[float] = rows[row][metric]["per_seed"]
    return values
