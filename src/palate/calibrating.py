"""Turn the scores of a fitted ranker into probabilities, with or without a context, and measure what that did.

The calibrator learns from the validation part and is judged on the test part: over all rows, and inside the values of
the fields that were named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from palate.card import CalibrationFacts, FieldFacts, ValueFacts
from palate.data.context_columns import ContextColumns
from palate.errors import ConfigError
from palate.rank_recommender import RankRecommender, logits_of
from palate.registry import components, find

if TYPE_CHECKING:
    from palate.calibrate.contract import Calibrator
    from palate.calibrate.metrics import FieldErrors
    from palate.data.dataset import Dataset

__all__ = [
    "JudgedRows",
    "calibration_facts",
    "chances",
    "context_columns",
    "fit_calibrator",
    "judged_rows",
    "worst_values",
]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Tokens = np.ndarray[Any, Any]
WORST = 5  # values of a field that the card names
NO_VALUE = "(none)"


@dataclass(frozen=True)
class JudgedRows:
    """Rows of a held-out part: what was said before and after calibration, and what came.

    Shapes:
        labels, before, after: float64 ``[N]``; fields: text by name, each ``[N]``.
    """

    labels: FloatArray
    before: FloatArray
    after: FloatArray
    fields: Mapping[str, Tokens]

    def errors(self, field: str, *, before: bool = False) -> FieldErrors:
        """Return predicted and observed positives for every value of a field."""
        from palate.calibrate.metrics import field_errors

        return field_errors(self.before if before else self.after, self.labels, self.fields[field])


def chances(logits: Any) -> Any:
    """Return the sigmoid of logits: what a ranker says before calibration, float64 ``[N]``."""
    from scipy.special import expit

    return expit(logits)


def context_columns(ranker: RankRecommender, names: Sequence[str], data: Dataset | None = None) -> ContextColumns:
    """Return columns of the ranker's log as a context, learned from its training rows.

    Raises:
        UnknownNameError: If there is no such column; the message suggests the nearest.
    """
    return ContextColumns.fit(ranker.source(data), ranker.split.train, names)


def fit_calibrator(
    ranker: RankRecommender,
    method: str,
    data: Dataset | None = None,
    *,
    context: ContextColumns | None = None,
    **settings: Any,
) -> tuple[Calibrator, int]:
    """Fit a calibrator on the scores of the validation part; return it and the number of rows.

    Raises:
        UnknownNameError: If there is no such calibrator.
        ConfigError: If it has no use for a context and one is given.
    """
    factory: Any = find("calibrator", method).factory
    if context is not None and not factory.uses_context:
        others = [c.name for c in components("*", "calibrator") if getattr(c.factory, "uses_context", False)]
        raise ConfigError(
            f"{method} has no use for a context ({', '.join(context.names)}).",
            remedy=f"Leave it out, or take one of {', '.join(others)}.",
        )
    table = ranker.held_out(data, "validation")
    assert table.labels is not None
    tokens = None if context is None else ranker.held_out_context(context, data, "validation")
    scores = chances(logits_of(ranker.model, table))
    calibrator: Calibrator = factory(factory.Config.sized("tiny", **settings)).fit(scores, table.labels, tokens)
    return calibrator, len(table)


def judged_rows(
    ranker: RankRecommender,
    data: Dataset | None = None,
    *,
    calibrator: Calibrator | None = None,
    context: ContextColumns | None = None,
    fields: ContextColumns | None = None,
    part: Literal["validation", "test"] = "test",
) -> JudgedRows:
    """Return what a ranker says of a held-out part before and after calibration, and the values of fields there.

    Args:
        ranker: A fitted ranker.
        data: Its data set, if the ranker was loaded.
        calibrator: The calibrator; by default the ranker's own, with its context.
        context: Columns that it looks at.
        fields: Columns inside whose values the rows are to be judged.
        part: Which part.
    """
    table = ranker.held_out(data, part)
    assert table.labels is not None
    before = chances(logits_of(ranker.model, table))
    if calibrator is None:
        calibrator, context = ranker.calibrator, ranker.context
    tokens = ranker.held_out_context(context, data, part)
    after = before if calibrator is None else calibrator.predict(before, tokens)
    named: dict[str, Tokens] = {}
    if fields is not None:
        tokens = ranker.held_out_context(fields, data, part)
        assert tokens is not None
        for name, column in zip(fields.names, tokens.T, strict=True):
            named[name] = np.array([NO_VALUE if value is None else value for value in column], dtype=np.str_)
    return JudgedRows(np.asarray(table.labels, dtype=np.float64), before, after, named)


def calibration_facts(rows: JudgedRows, method: str, fitted_rows: int, context: Sequence[str]) -> CalibrationFacts:
    """Return what the card says of a calibration."""
    from palate.evaluate.calibration import ece, pcoc
    from palate.evaluate.classification import log_loss

    measured: dict[str, float] = {}
    for when, predicted in (("before", rows.before), ("after", rows.after)):
        measured[f"ece_{when}"] = ece(predicted, rows.labels, kind="mass", bins=20)
        measured[f"pcoc_{when}"] = pcoc(predicted, rows.labels)
        measured[f"log_loss_{when}"] = log_loss(predicted, rows.labels)
    return CalibrationFacts(
        method=method,
        fitted_on="the validation part",
        rows=fitted_rows,
        context=tuple(context),
        fields=tuple(_field_facts(rows, name) for name in rows.fields),
        **measured,
    )


def worst_values(rows: JudgedRows, field: str, count: int) -> list[ValueFacts]:
    """Return the values of a field that are furthest off, by the positives that were promised and did not come.

    The order is that of ``|sum p - sum y|`` after calibration: what a value weighs in the error of the field.
    """
    before, after = rows.errors(field, before=True), rows.errors(field)
    order = np.argsort(-np.abs(after.predicted - after.observed), kind="stable")[:count]
    return [
        ValueFacts(
            value=str(after.values[place]),
            rows=int(after.rows[place]),
            observed=float(after.observed[place] / after.rows[place]),
            before=float(before.predicted[place] / before.rows[place]),
            after=float(after.predicted[place] / after.rows[place]),
        )
        for place in order
    ]


def _field_facts(rows: JudgedRows, name: str) -> FieldFacts:
    before, after = rows.errors(name, before=True), rows.errors(name)
    return FieldFacts(
        name=name,
        values=len(after.values),
        ece_before=before.ece,
        ece_after=after.ece,
        rce_before=_or_none(before.rce),
        rce_after=_or_none(after.rce),
        worst=tuple(worst_values(rows, name, WORST)),
    )


def _or_none(value: float) -> float | None:
    return value if value == value else None
