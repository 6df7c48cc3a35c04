"""``palate calibrate``: turn the scores of a saved ranker into probabilities."""

from __future__ import annotations

from pathlib import Path

from palate.cli.output import finish, parse_settings

__all__ = ["calibrate"]


def calibrate(
    run: Path,
    data: str,
    *,
    method: str = "isotonic",
    out: Path | None = None,
    set: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Fit a calibrator on the validation part, judge it on the test part, and save the ranker with it.

    Args:
        run: Folder of a saved ranker.
        data: The data set that it was fitted on.
        method: A name of `palate models --kind calibrator`.
        out: Folder to save to; by default the ranker's own folder is replaced.
        set: Settings of the calibrator, NAME=VALUE; may be repeated.
        json: Print JSON.
    """
    from rich.table import Table

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
    calibrated = calibrate_ranker(ranker, method, open_dataset(data), **parse_settings(set))
    folder = calibrated.save(run if out is None else out)
    facts = calibrated.card.calibration
    assert facts is not None
    table = Table("on the test part", "ECE", "PCOC", "log loss", box=None, padding=(0, 2, 0, 0))
    for when in ("before", "after"):
        numbers = [getattr(facts, f"{name}_{when}") for name in ("ece", "pcoc", "log_loss")]
        table.add_row(when, *(f"{number:.4f}" for number in numbers))
    finish({"folder": str(folder), "calibration": facts.model_dump()}, table, f"\nSaved {folder}.", machine=json)
