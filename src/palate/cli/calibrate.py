"""``palate calibrate``: turn the scores of a saved ranker into probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from palate.cli.output import finish, parse_settings

if TYPE_CHECKING:
    from rich.table import Table

    from palate.card import CalibrationFacts

__all__ = ["calibrate", "column_list"]


def calibrate(
    run: Path,
    data: str | None = None,
    *,
    method: str = "isotonic",
    context: tuple[str, ...] = (),
    fields: tuple[str, ...] = (),
    out: Path | None = None,
    report: Path | None = None,
    set: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Fit a calibrator on the validation part, judge it on the test part, and save the ranker with it.

    Args:
        run: Folder of a saved ranker.
        data: The data set that it was fitted on; may be left out for a shipped one.
        method: A name of `palate models --kind calibrator`.
        context: Columns that the calibrator looks at beside the score, with commas between them: columns of the log,
            its users or its items, or weekday, hour, is_weekend.
        fields: Further columns inside whose values it is judged.
        out: Folder to save to; by default the ranker's own folder is replaced.
        report: File for a page with reliability curves and the values that are furthest off.
        set: Settings of the calibrator, NAME=VALUE; may be repeated.
        json: Print JSON.
    """
    from palate.data.opening import open_dataset
    from palate.errors import ConfigError
    from palate.fitting import calibrate_ranker
    from palate.rank_recommender import RankRecommender
    from palate.recommender import load

    ranker = load(run)
    if not isinstance(ranker, RankRecommender):
        raise ConfigError(
            f"{run} answers 'what next?'; its scores order items and are no chances of anything that rows confirm.",
            remedy="Calibrate a ranker: palate models --kind ranker",
        )
    dataset = open_dataset(ranker.card.data.name if data is None else data)
    named = {"context": column_list(context), "fields": column_list(fields)}
    calibrated = calibrate_ranker(ranker, method, dataset, **named, **parse_settings(set))
    folder = calibrated.save(run if out is None else out)
    facts = calibrated.card.calibration
    assert facts is not None
    document = {"folder": str(folder), "calibration": facts.model_dump()}
    saved = f"\nSaved {folder}."
    if facts.worse:
        saved = f"\nOn the test part the scores do better without {method}; consider another method, or none.{saved}"
    if report is not None:
        from palate.bench.calibration_page import calibration_report

        page = calibration_report(calibrated, dataset).write(report)
        document, saved = {**document, "report": str(page)}, f"{saved} Report: {page}"
    finish(document, *_tables(facts), saved, machine=json)


def column_list(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return names that were given with commas between them, or one by one.

    Example:
        >>> column_list(("genres,weekday", "user"))
        ('genres', 'weekday', 'user')
    """
    return tuple(name.strip() for part in given for name in part.split(",") if name.strip())


def _tables(facts: CalibrationFacts) -> Iterator[Table]:
    """Yield what calibration did over all rows, and inside the values of each field."""
    from rich.table import Table

    whole = Table("on the test part", "ECE", "PCOC", "log loss", box=None, padding=(0, 2, 0, 0))
    for when in ("before", "after"):
        numbers = [getattr(facts, f"{name}_{when}") for name in ("ece", "pcoc", "log_loss")]
        whole.add_row(when, *(f"{number:.4f}" for number in numbers))
    yield whole
    for field in facts.fields:
        headings = (f"\n{field.name}", "\nrows", "\nobserved", "foretold\nbefore", "\nafter")
        inside = Table(*headings, box=None, padding=(0, 2, 0, 0), title_justify="left")
        inside.title = f"\n{field.values} values, mean error {field.ece_before:.4f} -> {field.ece_after:.4f}"
        for value in field.worst:
            shares = (value.observed, value.before, value.after)
            inside.add_row(value.value, f"{value.rows:,}", *(f"{share:.4f}" for share in shares))
        yield inside
