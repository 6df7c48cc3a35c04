"""How right are the chances, over all rows and for whom? Reliability by field value, and the values furthest off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palate.bench.pictures import Curve, Panel, panels_picture, reliability_picture
from palate.bench.report import Figure, Report, Section, Table
from palate.calibrating import JudgedRows, context_columns, judged_rows, worst_values

if TYPE_CHECKING:
    from palate.card import CalibrationFacts
    from palate.data.dataset import Dataset
    from palate.rank_recommender import RankRecommender

__all__ = ["calibration_report", "field_section", "measured_table", "reliability_figure", "worse_words"]

PANELS = 8  # the largest values of a field are drawn
WORST = 12
BINS, PANEL_BINS = 12, 6


def calibration_report(ranker: RankRecommender, data: Dataset) -> Report:
    """Return the page of a calibrated ranker, judged on the test part of its data."""
    facts = ranker.card.calibration
    assert facts is not None
    names = [field.name for field in facts.fields]
    rows = judged_rows(ranker, data, fields=context_columns(ranker, names, data) if names else None)
    seen = f" in the context of {' and '.join(facts.context)}" if facts.context else ""
    whole = Section(
        "Over all rows",
        [
            f"{facts.method}{seen}, fitted on {facts.fitted_on} ({facts.rows:,} rows); judged on {len(rows.labels):,}.",
            *([worse_words(facts)] if facts.worse else []),
        ],
        [measured_table(facts)],
        [reliability_figure(rows)],
    )
    fields = [field_section(rows, name) for name in names]
    decision = (
        f"{ranker.card.model} on {ranker.card.data.name}: ECE {facts.ece_before:.4f} before {facts.method}, "
        f"{facts.ece_after:.4f} after."
    )
    return Report("Calibration", decision, (whole, *fields), (f"Seed {ranker.card.seed}.",))


def measured_table(facts: CalibrationFacts) -> Table:
    """Return ECE, PCOC and log loss before and after."""
    before = ["before", f"{facts.ece_before:.4f}", f"{facts.pcoc_before:.3f}", f"{facts.log_loss_before:.4f}"]
    after = ["after", f"{facts.ece_after:.4f}", f"{facts.pcoc_after:.3f}", f"{facts.log_loss_after:.4f}"]
    return Table(["on the test part", "ECE", "PCOC", "log loss"], [before, after])


def worse_words(facts: CalibrationFacts) -> str:
    """Return what to say where the test part was foretold better without calibration."""
    return (
        f"On the test part {facts.method} does worse than no calibration (log loss {facts.log_loss_after:.4f} against "
        f"{facts.log_loss_before:.4f}): what the validation part taught does not hold there."
    )


def reliability_figure(rows: JudgedRows) -> Figure:
    """Return observed share against predicted chance over all rows."""
    curves = [_curve(name, predicted, rows.labels, BINS) for name, predicted in _stages(rows)]
    picture = reliability_picture(curves, title="reliability on the test part")
    caption = f"Observed share against predicted chance on the test part, {BINS} bins of equal size, 95 %."
    return Figure(picture, caption)


def field_section(rows: JudgedRows, field: str) -> Section:
    """Return reliability for the largest values of a field, and a table of those that are furthest off."""
    column = rows.fields[field]
    values, counts = np.unique(column, return_counts=True)
    largest = values[np.argsort(-counts, kind="stable")][:PANELS]
    panels = [_panel(rows, str(value), column == value) for value in largest]
    before, after = rows.errors(field, before=True), rows.errors(field)
    calibrated = rows.after is not rows.before
    told = ["foretold before", "after"] if calibrated else ["foretold"]
    worst = worst_values(rows, field, WORST)
    table = Table(
        [field, "rows", "observed share", *told, "promised / came"],
        [
            [
                value.value,
                f"{value.rows:,}",
                *(f"{share:.3f}" for share in (value.observed, value.before, value.after)[: 1 + len(told)]),
                f"{value.after / value.observed:.2f}" if value.observed else "none came",
            ]
            for value in worst
        ],
        caption=f"The {len(worst)} of {len(after.values):,} values that weigh most in what is left of the error.",
    )
    measured = f"{before.ece:.4f} before, {after.ece:.4f} after" if calibrated else f"{after.ece:.4f}"
    words = (
        f"Mean error inside the values of {field}: {measured}. "
        "A value with few rows is off by chance alone; the whiskers of its curve say by how much."
    )
    picture = panels_picture(panels, title=f"reliability inside {field}")
    colours = "grey before, red after; " if calibrated else ""
    shown = f"The {len(panels)} values with the most rows; {colours}bins of equal size inside each, 95 %."
    return Section(f"Inside {field}", [words], [table], [Figure(picture, shown)])


def _stages(rows: JudgedRows) -> Sequence[tuple[str, Any]]:
    stages = [("before", rows.before)]
    return stages if rows.after is rows.before else [*stages, ("after", rows.after)]


def _panel(rows: JudgedRows, value: str, here: Any) -> Panel:
    curves = [_curve(name, predicted[here], rows.labels[here], PANEL_BINS) for name, predicted in _stages(rows)]
    return Panel(f"{value} ({int(here.sum()):,} rows)", curves)


def _curve(name: str, predicted: Any, labels: Any, bins: int) -> Curve:
    from palate.evaluate.calibration import reliability_curve

    curve = reliability_curve(predicted, labels, kind="mass", bins=bins)
    parts = (getattr(curve, part).tolist() for part in ("predicted", "observed", "low", "high", "rows"))
    return Curve(name, *parts)
