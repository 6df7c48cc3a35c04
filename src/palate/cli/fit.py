"""``palate fit``: train one model and save it as a recommender."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from palate.cli.calibrate import column_list
from palate.cli.log_options import LogOptions
from palate.cli.output import finish, parse_settings, progress

if TYPE_CHECKING:
    from palate.card import Card

__all__ = ["card_table", "fit"]

_NO_OPTIONS = LogOptions()


def fit(
    data: str,
    model: str,
    *,
    out: Path | None = None,
    task: Literal["rank", "next-item"] | None = None,
    size: Literal["tiny", "small", "base"] = "tiny",
    seed: int = 0,
    set: tuple[str, ...] = (),
    train: tuple[str, ...] = (),
    batch_size: int | None = None,
    calibrate: str | None = None,
    context: tuple[str, ...] = (),
    run_folder: Path | None = None,
    log: LogOptions = _NO_OPTIONS,
    json: bool = False,
) -> None:
    """Train a model on a log and save it with its card.

    Args:
        data: Name of a shipped data set, a saved folder, or files of a known format.
        model: A name of `palate models`.
        out: Folder to save to; by default runs/MODEL-on-DATA.
        task: Needed only when a name stands for both tasks.
        size: The size dial.
        seed: Seed of weights, order and dropout.
        set: Settings of the model, NAME=VALUE; may be repeated.
        train: Settings of the loop, NAME=VALUE, such as learning_rate=0.001; may be repeated.
        batch_size: Rows (or users) per step.
        calibrate: Calibrator to fit on the validation part.
        context: Columns that the calibrator looks at beside the score, with commas between them.
        run_folder: Where checkpoints go; an interrupted run goes on from there.
        log: Which column is what.
        json: Print JSON.
    """
    import palate
    from palate.errors import TrainingError

    dataset = log.open(data)
    with progress(machine=json) as shown:
        recommender = palate.fit(
            dataset,
            model,
            task=task,
            size=size,
            seed=seed,
            settings=parse_settings(set),
            training=parse_settings(train),
            batch_size=batch_size,
            calibrate=calibrate,
            context=column_list(context),
            run_folder=run_folder,
            progress=shown,
        )
    if recommender.card.interrupted and run_folder is not None:
        raise TrainingError("Training was stopped.", remedy=f"The same command goes on from {run_folder}.")
    folder = recommender.save(out if out is not None else Path("runs") / f"{model}-on-{dataset.name}")
    card = recommender.card
    finish(
        {"folder": str(folder), "card": card.model_dump(mode="json")},
        card_table(card),
        f"\nSaved {folder} with its card ({folder}/CARD.md).\n"
        f"Ask it:    palate recommend {folder} --user USER\nServe it:  palate serve {folder}",
        machine=json,
    )


def card_table(card: Card) -> Any:
    """Return the metrics of a card as a table."""
    from rich.table import Table

    table = Table("metric", "value", "95 % interval", "part", "cases", "left out", box=None, padding=(0, 2, 0, 0))
    table.title = f"{card.model} on {card.data.name}"
    for metric in card.metrics:
        value = "not defined" if metric.value is None else f"{metric.value:.4f}"
        interval = "" if metric.low is None or metric.high is None else f"{metric.low:.4f} to {metric.high:.4f}"
        table.add_row(metric.name, value, interval, metric.part, f"{metric.cases:,}", f"{metric.skipped:,}")
    return table
