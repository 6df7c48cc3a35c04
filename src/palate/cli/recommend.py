"""``palate recommend``: ask a saved recommender for items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from palate.cli.output import finish

__all__ = ["recommend"]


def recommend(
    run: Path,
    *,
    user: str | None = None,
    history: tuple[str, ...] | None = None,
    k: Annotated[int, Parameter(alias="-k")] = 10,
    include_seen: bool = False,
    json: bool = False,
) -> None:
    """Print the best items for a user, or after a history.

    Args:
        run: Folder of a saved recommender.
        user: A user of the log; an unknown one gets the answer for a new user.
        history: Items taken, oldest first, by id or title; repeat the option for each.
        k: How many items.
        include_seen: Allow what the user has already taken.
        json: Print JSON.
    """
    from rich.table import Table

    from palate.recommender import load

    listed = load(run).recommend(user=user, history=history, k=k, exclude_seen=not include_seen)
    table = Table("rank", "item", "title", "score", "probability", box=None, padding=(0, 2, 0, 0))
    for item in listed:
        chance = "" if item.probability is None else f"{item.probability:.3f}"
        table.add_row(str(item.rank), str(item.item), item.title or "", f"{item.score:.4f}", chance)
    note = "" if listed.user_known or user is None else f"The log does not know user {user}: a new user's answer.\n"
    document = {"user_known": listed.user_known, "items": [item.to_dict() for item in listed]}
    finish(document, note, table, machine=json)
