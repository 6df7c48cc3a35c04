"""Options that every command with a log takes: which file is what, and which column is what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["LogOptions"]


@Parameter(name="*")
@dataclass(frozen=True)
class LogOptions:
    """Which column is what, for files that do not say it themselves.

    Args:
        items: File with the catalogue.
        users: File with what is known of users.
        user: Column with the user.
        item: Column with the item.
        item_key: Column with the item in the catalogue, when it is called otherwise there.
        user_key: Column with the user in the table of users, when it is called otherwise there.
        time: Column with the time.
        time_unit: Unit of the time.
        label: Column with the label, or a rule such as "rating >= 4".
        title: Column with the title of items.
        categorical: Columns with categories; repeat the option for each.
        numeric: Columns with numbers; repeat the option for each.
        lists: Columns with lists, NAME or NAME=SEPARATOR; repeat the option for each.
        format: Name of the file format, when it is not recognised.
        reject_to: File that takes rows that cannot be used; without it they are an error.
    """

    items: Path | None = None
    users: Path | None = None
    user: str | None = None
    item: str | None = None
    item_key: str | None = None
    user_key: str | None = None
    time: str | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    label: str | None = None
    title: str | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    format: str | None = None
    reject_to: Path | None = None

    def given(self) -> dict[str, Any]:
        """Return what was given, as arguments of :func:`palate.open`."""
        named = {name: value for name, value in self.__dict__.items() if value is not None and value != ()}
        if "lists" in named:
            pairs = (entry.partition("=") for entry in self.lists)
            named["lists"] = {name: separator or None for name, _, separator in pairs}
        return named

    def open(self, data: str) -> Dataset:
        """Open a log with these options."""
        from palate.data.opening import open_dataset

        return open_dataset(data, **self.given())
