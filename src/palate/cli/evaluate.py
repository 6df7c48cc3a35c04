"""``palate evaluate``: judge a saved recommender on held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from palate.cli.output import finish

__all__ = ["evaluate"]


def evaluate(
    run: Path, data: str | None = None, *, part: Literal["validation", "test"] = "test", json: bool = False
) -> None:
    """Print metrics with 95 % intervals, and what they stand on.

    Args:
        run: Folder of a saved recommender.
        data: The data set that it was fitted on; rankers need it, next-item models carry their log.
        part: The held-out part.
        json: Print JSON.
    """
    from palate.data.opening import open_dataset
    from palate.recommender import load

    table = load(run).evaluate(None if data is None else open_dataset(data), part=part)
    finish(table.to_dict(), str(table), machine=json)
