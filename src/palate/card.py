"""The card of a recommender: what it is, what it was trained on, how good, how calibrated, how costly, what it is not.

The card is written by ``palate.fit`` and travels with the saved folder, as JSON for machines and as ``CARD.md`` for
people. Numbers on it are honest by form: a metric has no place here without its interval, its split, the number of
cases behind it and the number that was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from palate.config import Config

__all__ = [
    "CalibrationFacts",
    "Card",
    "CostFacts",
    "DataFacts",
    "FieldFacts",
    "MetricFacts",
    "SamplingFacts",
    "Task",
    "ValueFacts",
]

Task = Literal["rank", "next-item"]
_WORSE = "**On these rows the scores as they were do better**: what the calibrator learned does not hold there."


class MetricFacts(Config):
    """One measured number.

    Attributes:
        name: Metric, such as ``auc`` or ``ndcg@10``.
        value: Point estimate.
        low: Lower end of the 95 % interval.
        high: Upper end.
        part: ``validation`` or ``test``.
        cases: Rows or users behind it.
        skipped: Cases for which the metric is not defined.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    part: Literal["validation", "test"]
    cases: int
    skipped: int = 0

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not defined"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.name} {self.value:.4f}{interval}"


class ValueFacts(Config):
    """One value of a field: how often it was positive, and how often that was foretold before and after calibration."""

    value: str
    rows: int
    observed: float
    before: float
    after: float


class FieldFacts(Config):
    """Calibration inside the values of a field.

    Attributes:
        name: The field.
        values: How many values it has.
        ece_before: ``sum_z |sum (p - y)| / N`` before calibration.
        ece_after: The same after it.
        rce_before: The same relative to the positives of each value; ``None`` when no value has one.
        rce_after: The same after it.
        worst: The values that weigh most in the error after calibration.
    """

    name: str
    values: int
    ece_before: float
    ece_after: float
    rce_before: float | None
    rce_after: float | None
    worst: tuple[ValueFacts, ...] = ()


class CalibrationFacts(Config):
    """What calibration did, measured on rows that neither model nor calibrator saw.

    ``context`` names the columns that the calibrator looks at beside the score, ``fields`` tells how right it is inside
    their values and those of other columns.
    """

    method: str
    fitted_on: str
    rows: int
    ece_before: float
    ece_after: float
    pcoc_before: float
    pcoc_after: float
    log_loss_before: float
    log_loss_after: float
    context: tuple[str, ...] = ()
    fields: tuple[FieldFacts, ...] = ()

    @property
    def worse(self) -> bool:
        """Whether the scores as they were did better on the rows that judge."""
        return self.log_loss_after > self.log_loss_before


class DataFacts(Config):
    """Where the knowledge comes from."""

    name: str
    fingerprint: str
    rows: int
    users: int
    items: int
    first_time: str | None = None
    last_time: str | None = None
    label: str | None = None
    licence: str | None = None
    split: str
    split_fingerprint: str
    train: int
    validation: int
    test: int


class SamplingFacts(Config):
    """Negatives that were sampled for a log of positives alone.

    Attributes:
        per_positive: Negatives for each positive row.
        positives: Positive rows.
        negatives: Rows that were sampled.
        rate: Share of all possible negatives that was kept; probabilities are corrected by it.
        seed: Seed of the draw.
    """

    per_positive: int
    positives: int
    negatives: int
    rate: float
    seed: int


class CostFacts(Config):
    """What it takes to train and to run.

    Attributes:
        training_seconds: Wall time of training.
        epochs: Passes until the best weights.
        parameters: Learned numbers, tables included.
        megabytes: Size of the saved weights.
        request_milliseconds: Median time of one ``recommend`` call for one user.
    """

    training_seconds: float
    epochs: int
    parameters: int
    megabytes: float
    request_milliseconds: float | None = None


class Card(Config):
    """Everything a reader must know before trusting a recommender.

    ``interrupted`` says that training was stopped before its schedule ended.
    """

    model: str
    task: Task
    palate: str
    seed: int
    settings: dict[str, Any]
    training: dict[str, Any]
    data: DataFacts
    protocol: str
    metrics: tuple[MetricFacts, ...] = ()
    calibration: CalibrationFacts | None = None
    sampling: SamplingFacts | None = None
    cost: CostFacts
    limits: tuple[str, ...] = ()
    interrupted: bool = False

    def metric(self, name: str, part: str = "test") -> MetricFacts | None:
        """Return the metric ``name`` of ``part``, or ``None`` when it was not measured."""
        return next((m for m in self.metrics if m.name == name and m.part == part), None)

    def to_markdown(self) -> str:
        """Return the card as a page of text."""
        data, cost = self.data, self.cost
        span = f", from {data.first_time} to {data.last_time}" if data.first_time else ""
        kind = "will this user take this item?" if self.task == "rank" else "what next?"
        lines = [
            f"# {self.model} on {data.name}",
            "",
            f"A recommender for the question: *{kind}*",
            "",
            "## How good",
            "",
        ]
        rows = [
            [m.name, _number(m.value), _interval(m.low, m.high), m.part, str(m.cases), str(m.skipped)]
            for m in self.metrics
        ]
        lines += [self.protocol, ""]
        lines += _table(["metric", "value", "95 % interval", "part", "cases", "left out"], rows)
        lines += ["", "## How calibrated", "", *self._calibration_lines(), "", "## How costly", ""]
        request = "not measured" if cost.request_milliseconds is None else f"{cost.request_milliseconds:.2f} ms"
        lines += [
            f"- Training: {cost.training_seconds:.1f} s, best weights after {cost.epochs} epochs.",
            f"- Size: {cost.parameters:,} parameters, {cost.megabytes:.2f} MB on disk.",
            f"- One request for one user: {request} (median).",
            "",
            "## What it learned from",
            "",
            f"- {data.rows:,} interactions of {data.users:,} users with {data.items:,} items{span}.",
            f"- Label: {data.label or 'none; every row is a positive'}.",
            *self._sampling_lines(),
            f"- Split: {data.split}; {data.train:,} / {data.validation:,} / {data.test:,} rows.",
            f"- Fingerprint of the split's row ids: {data.split_fingerprint[:12]}.",
            f"- Licence of the data: {data.licence or 'not stated'}. Fingerprint {data.fingerprint[:12]}.",
            "",
            "## Limits",
            "",
            *[f"- {limit}" for limit in self.limits],
            "",
            f"Made by Palate {self.palate}, seed {self.seed}.",
            "",
        ]
        return "\n".join(lines)

    def _sampling_lines(self) -> list[str]:
        if self.sampling is None:
            return []
        drawn = self.sampling
        return [
            f"- Negatives: {drawn.negatives:,} sampled for {drawn.positives:,} positives, {drawn.rate:.3g} of all "
            "that were possible; served scores and probabilities are corrected for it, metrics are on the sample."
        ]

    def _calibration_lines(self) -> list[str]:
        facts = self.calibration
        if facts is None:
            return ["Scores order items; they are **not** probabilities."]
        context = f" in the context of {' and '.join(facts.context)}" if facts.context else ""
        return [
            f"Method: {facts.method}{context}, fitted on {facts.fitted_on} ({facts.rows:,} rows). On the test part:",
            "",
            *_table(["", "ECE", "PCOC", "log loss"], [
                ["before", _number(facts.ece_before), _number(facts.pcoc_before), _number(facts.log_loss_before)],
                ["after", _number(facts.ece_after), _number(facts.pcoc_after), _number(facts.log_loss_after)],
            ]),
            *(["", _WORSE] if facts.worse else []),
            *(line for field in facts.fields for line in _field_lines(field)),
        ]  # fmt: skip


def _field_lines(field: FieldFacts) -> list[str]:
    """Return a field's errors and its worst values."""
    rows = [[v.value, f"{v.rows:,}", _number(v.observed), _number(v.before), _number(v.after)] for v in field.worst]
    return [
        "",
        f"Inside the {field.values:,} values of {field.name}: mean error {_number(field.ece_before)} before, "
        f"{_number(field.ece_after)} after; relative {_number(field.rce_before)} and {_number(field.rce_after)}. "
        "The values that weigh most in it:",
        "",
        *_table([field.name, "rows", "observed share", "foretold before", "after"], rows),
    ]


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)]
