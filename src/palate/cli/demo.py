"""``palate demo``: the main job on the shipped data, or on your own log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from palate.cli.log_options import LogOptions
from palate.cli.output import finish, progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["demo"]

_NO_OPTIONS = LogOptions()


def demo(
    *,
    data: str = "movielens-small",
    out: Path = Path("palate-demo"),
    seed: int = 0,
    rankers: tuple[str, ...] = (),
    next_items: tuple[str, ...] = (),
    epochs: int | None = None,
    log: LogOptions = _NO_OPTIONS,
    json: bool = False,
) -> None:
    """Compare models on a log, choose on validation, calibrate, save the winners, and write one page.

    Args:
        data: Name of a shipped data set, a saved folder, or a file.
        out: Folder for the winners and report.html.
        seed: Seed of everything; the same seed gives the same figures.
        rankers: Rankers to compare; repeat the option for each.
        next_items: Next-item models to compare; repeat the option for each.
        epochs: At most so many passes for every model.
        log: Which column is what.
        json: Print JSON.
    """
    from palate.bench.demo import DemoConfig, run_demo
    from palate.bench.demo_page import demo_report, example_rows, next_item_board, rank_board
    from palate.saving import write_json

    given = {"rankers": rankers, "next_items": next_items, "epochs": epochs, "next_item_epochs": epochs}
    config = DemoConfig(seed=seed, **{name: value for name, value in given.items() if value})
    dataset = log.open(data)
    say(dataset.summary(), machine=json)
    with progress(machine=json) as shown:
        result = run_demo(dataset, out, config, progress=shown)
    page = demo_report(result).write(out / "report.html")
    document = {**result.to_dict(), "report": str(page)}
    write_json(out / "demo.json", document)
    parts: list[RenderableType] = [_table("Will this user like this item?", *rank_board(result)), ""]
    if result.calibrator is not None and result.ranker is not None and result.ranker.card.calibration is not None:
        facts = result.ranker.card.calibration
        parts.append(
            f"Calibrated {result.ranker.card.model} by {result.calibrator.label}; on the test part "
            f"ECE {facts.ece_before:.4f} -> {facts.ece_after:.4f}, "
            f"PCOC {facts.pcoc_before:.3f} -> {facts.pcoc_after:.3f}.\n"
        )
    if result.next_item is not None:
        parts += [_table("What next?", *next_item_board(result)), ""]
        rows = example_rows(result)
        parts.append(_table(f"For user {result.user}", ["rank", "title", "score", "chance of a like"], rows))
    folders = "\n".join(f"  palate serve {folder}" for folder in result.folders.values())
    parts.append(f"\n{result.decision}\n\nReport: {page}\nServe the winners:\n{folders}")
    finish(document, *parts, machine=json)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table
