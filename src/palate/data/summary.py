"""The first page about a data set: how many, since when, how dense, how long the tail."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from palate.data.labels import label_expression
from palate.data.row_hashes import count_distinct
from palate.data.schema import Role
from palate.data.times import seconds

if TYPE_CHECKING:
    from rich.table import Table

    from palate.data.dataset import Dataset

__all__ = ["DatasetSummary", "summarise"]


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """Figures about a log and its catalogue; ``None`` where the data has no such column.

    Attributes:
        name: Name of the data set.
        rows: Interactions.
        users: Different users in the log.
        items: Different items in the log.
        catalogue_items: Rows of the catalogue.
        catalogue_users: Rows of the table of users.
        first_time: Earliest interaction, ISO 8601 in UTC.
        last_time: Latest interaction.
        positive_share: Share of rows whose label is 1 (missing labels left out).
        density: Different user-item pairs over ``users * items``.
        head_share: Share of interactions that fall on the most popular tenth of the items.
        rare_items: Items of the log with fewer than five interactions.
        median_history: Median number of interactions of a user.
        licence: Terms of use, when known.
    """

    name: str
    rows: int
    users: int | None = None
    items: int | None = None
    catalogue_items: int | None = None
    catalogue_users: int | None = None
    first_time: str | None = None
    last_time: str | None = None
    positive_share: float | None = None
    density: float | None = None
    head_share: float | None = None
    rare_items: int | None = None
    median_history: float | None = None
    licence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON types."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Return what is known, as pairs of a label and a value for people."""
        shown = [
            ("interactions", f"{self.rows:,}"),
            ("users", _count(self.users, self.catalogue_users, "known")),
            ("items", _count(self.items, self.catalogue_items, "in the catalogue")),
            ("time", None if self.first_time is None else f"{self.first_time} to {self.last_time}"),
            ("positives", _percent(self.positive_share)),
            ("density", _percent(self.density)),
            ("on the top 10 % of items", _percent(self.head_share)),
            ("items with fewer than 5", None if self.rare_items is None else f"{self.rare_items:,}"),
            ("median history", None if self.median_history is None else f"{self.median_history:g}"),
            ("terms", self.licence or None),
        ]
        return [(label, value) for label, value in shown if value is not None]

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {label}: {value}" for label, value in self.lines())])

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(title=self.name, show_header=False, title_justify="left")
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for label, value in self.lines():
            table.add_row(label, value)
        return table

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{html.escape(label)}</th>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for label, value in self.lines()
        )
        return f"<table><caption><b>{html.escape(self.name)}</b></caption>{rows}</table>"


def summarise(dataset: Dataset) -> DatasetSummary:
    """Compute the summary of ``dataset`` in one lazy pass per figure, without loading the log as a whole."""
    schema, log = dataset.schema, dataset.scan()
    figures: dict[str, Any] = {}
    keys = {
        role: schema.name_of("interactions", role)
        for role in (Role.USER, Role.ITEM)
        if schema.has("interactions", role)
    }
    for role, column in keys.items():
        counts = log.filter(pl.col(column).is_not_null()).group_by(column).len().collect()["len"]
        figures |= _user_figures(counts) if role == Role.USER else _item_figures(counts)
    if len(keys) == 2 and figures["users"] and figures["items"]:
        pairs = count_distinct(log, list(keys.values()))
        figures["density"] = pairs / (figures["users"] * figures["items"])
    if schema.has("interactions", Role.TIME):
        column = schema.name_of("interactions", Role.TIME)
        moment = seconds(column, log.collect_schema()[column])
        first, last = log.select(moment.min().alias("first"), moment.max().alias("last")).collect().row(0)
        figures |= {"first_time": _iso(first), "last_time": _iso(last)}
    if schema.label is not None:
        figures["positive_share"] = log.select(label_expression(schema.label).cast(pl.Float64).mean()).collect().item()
    return DatasetSummary(
        name=dataset.name,
        rows=len(dataset),
        catalogue_items=None if dataset.items is None else dataset.items.height,
        catalogue_users=None if dataset.users is None else dataset.users.height,
        licence=str(dataset.facts.get("licence", "")),
        **figures,
    )


def _user_figures(counts: pl.Series) -> dict[str, Any]:
    median = counts.median()
    return {"users": counts.len(), "median_history": None if median is None else float(str(median))}


def _item_figures(counts: pl.Series) -> dict[str, Any]:
    head = counts.sort(descending=True).head(math.ceil(counts.len() / 10))
    total = int(counts.sum())
    return {
        "items": counts.len(),
        "rare_items": int((counts < 5).sum()),
        "head_share": int(head.sum()) / total if total else None,
    }


def _iso(moment: int | None) -> str | None:
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{moment} s"  # beyond the calendar: checks name it, a summary only shows it


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.3g} %"


def _count(seen: int | None, known: int | None, what: str) -> str | None:
    if seen is None:
        return None if known is None else f"{known:,} {what}"
    return f"{seen:,}" + (f" ({known:,} {what})" if known is not None else "")
