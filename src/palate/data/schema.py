"""What each column means: roles, and the rule that turns a value into a label.

The three tables of a data set are ``interactions`` (who met what, when, and how it went), ``items`` (the
catalogue) and ``users``. A role says what a column is for; the checks, the splits and the feature encoding read
roles and never column names.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal, Self

from palate.config import Config
from palate.errors import ConfigError, SchemaError, UnknownNameError, suggest

__all__ = ["Column", "LabelRule", "Role", "Schema", "Table"]

Table = Literal["interactions", "items", "users"]


class Role(StrEnum):
    """What a column is for."""

    USER = "user"
    ITEM = "item"
    TIME = "time"
    LABEL = "label"
    WEIGHT = "weight"
    CATEGORICAL = "categorical"
    NUMERIC = "numeric"
    LIST = "list"
    TEXT = "text"
    TITLE = "title"
    IMAGE = "image"
    AUDIO = "audio"
    SPLIT = "split"
    IGNORE = "ignore"


class Column(Config):
    """One column and its role.

    Attributes:
        name: Column name in the table.
        role: What it is for.
        separator: For lists that stand in one text cell (``"Comedy|Drama"``): what separates the entries.
        max_length: For lists: how many entries are kept (the last ones).
        missing: For categorical columns: the value that means "not known".
    """

    name: str
    role: Role
    separator: str | None = None
    max_length: int | None = None
    missing: str | None = None


class LabelRule(Config):
    """A label given as a comparison, for example ``rating >= 4``; a bare column name means the column itself.

    Example:
        >>> LabelRule.parse("rating >= 4")
        LabelRule(column='rating', operator='>=', threshold=4.0)
    """

    column: str
    operator: Literal[">=", ">", "<=", "<", "==", "!="] | None = None
    threshold: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``column`` or ``column OP number``.

        Raises:
            ConfigError: If the text has another form.
        """
        match = re.fullmatch(r"\s*(.+?)\s*(?:(>=|<=|==|!=|>|<)\s*(-?\d+(?:\.\d+)?)\s*)?", text)
        if match is None or any(sign in match[1] for sign in "<>=!"):
            raise ConfigError(
                f"{text!r} is not a label rule.",
                remedy='Write a column or a comparison such as "rating >= 4".',
            )
        return cls(column=match[1], operator=match[2], threshold=None if match[3] is None else float(match[3]))

    def __str__(self) -> str:
        return self.column if self.operator is None else f"{self.column} {self.operator} {self.threshold:g}"


class Schema(Config):
    """The columns of the three tables, and the label.

    A log without a label is a log of positives alone: negatives are then sampled, counted and corrected for.
    """

    interactions: tuple[Column, ...]
    items: tuple[Column, ...] = ()
    users: tuple[Column, ...] = ()
    label: LabelRule | None = None

    def columns(self, table: Table, *roles: Role) -> tuple[Column, ...]:
        """Return the columns of ``table`` that have one of ``roles`` (all columns when none is given)."""
        if table not in ("interactions", "items", "users"):
            raise UnknownNameError.among("table", table, ("interactions", "items", "users"))
        columns: tuple[Column, ...] = getattr(self, table)
        return tuple(column for column in columns if not roles or column.role in roles)

    def name_of(self, table: Table, role: Role) -> str:
        """Return the name of the one column of ``table`` with ``role``.

        Raises:
            SchemaError: If no column, or more than one, has it.
        """
        found = self.columns(table, role)
        if len(found) == 1:
            return found[0].name
        have = ", ".join(f'"{column.name}" ({column.role})' for column in self.columns(table)) or "no columns"
        count = "no column" if not found else f"{len(found)} columns"
        raise SchemaError(
            f"The table {table} has {count} with the role {role}; exactly one is needed. It has {have}.",
            remedy=f'Declare it, for example {role}="COLUMN". ' + suggest(role, (c.name for c in self.columns(table))),
        )

    def has(self, table: Table, role: Role) -> bool:
        """Say whether ``table`` has a column with ``role``."""
        return bool(self.columns(table, role))
