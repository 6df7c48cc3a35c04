"""From the words of a caller (``user="userId", label="rating >= 4"``) to a checked :class:`~palate.data.schema.Schema`.

Two choices were made here. A column without a role is kept and ignored: guessing that a number is a feature is how
tomorrow's outcome leaks into today's score. And all mistakes of a declaration are reported together, each with the
nearest column that exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from pydantic import Field, field_validator

from palate.config import Config
from palate.data.schema import Column, LabelRule, Role, Schema, Table
from palate.errors import Problem, SchemaError, suggest

__all__ = ["RoleArguments", "Roles", "TimeUnit", "merge_roles", "schema_from_roles"]

TimeUnit = Literal["s", "ms", "us", "ns"]
_TABLES: tuple[Table, ...] = ("interactions", "items", "users")


class RoleArguments(TypedDict, total=False):
    """The keyword arguments that every way to make a data set takes; see :class:`Roles`."""

    user: str | None
    item: str | None
    time: str | None
    label: str | None
    weight: str | None
    title: str | None
    split: str | None
    image: str | None
    audio: str | None
    categorical: str | Sequence[str]
    numeric: str | Sequence[str]
    text: str | Sequence[str]
    lists: str | Sequence[str] | Mapping[str, str | None]
    item_key: str | None
    user_key: str | None
    time_unit: TimeUnit


class Roles(Config):
    """Which column plays which role, as a caller says it.

    A name may be qualified by its table (``"items.brand"``), and must be when two tables have such a column.

    Attributes:
        user: Column of the user id in the log; ``None`` when rows have no user.
        item: Column of the item id in the log; ``None`` when rows have no item.
        time: Column of the time of an interaction: seconds since 1970 (see ``time_unit``), a date or a datetime.
        label: Column of 0 and 1, or a rule such as ``"rating >= 4"``; ``None`` for a log of positives alone.
        weight: Column of row weights.
        title: Column that names an item to people.
        split: Column that assigns each row to a part (``train``, ``validation``, ``test``).
        image: Column with the path of a picture.
        audio: Column with the path of a sound.
        categorical: Columns of categories.
        numeric: Columns of numbers.
        text: Columns of words.
        lists: Columns of lists, or a mapping from the column to what separates entries inside one text cell.
        item_key: Key column of the catalogue, when it is not called as in the log.
        user_key: Key column of the table of users, when it is not called as in the log.
        time_unit: Unit of a whole-number time column.
    """

    user: str | None = "user"
    item: str | None = "item"
    time: str | None = None
    label: str | None = None
    weight: str | None = None
    title: str | None = None
    split: str | None = None
    image: str | None = None
    audio: str | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    lists: dict[str, str | None] = Field(default_factory=dict)
    item_key: str | None = None
    user_key: str | None = None
    time_unit: TimeUnit = "s"

    @field_validator("categorical", "numeric", "text", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else value

    @field_validator("lists", mode="before")
    @classmethod
    def _with_separators(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {value: None}
        return dict.fromkeys(value) if isinstance(value, Sequence) else value


def merge_roles(of_format: RoleArguments, given: RoleArguments) -> Roles:
    """Return the roles that a format gives, overruled by those that a caller gives.

    A column that the caller gives a role loses the one that the format gave it.

    Raises:
        ConfigError: If a role is misspelt.
    """
    said = Roles(**given)
    named = {str(getattr(said, argument)) for argument in given if isinstance(getattr(said, argument, None), str)}
    for argument in ("categorical", "numeric", "text", "lists"):
        named.update(getattr(said, argument) if argument in given else ())
    if said.label is not None and "label" in given:
        named.add(LabelRule.parse(said.label).column)
    bare = named | {name.partition(".")[2] for name in named if "." in name}
    kept: dict[str, Any] = {**of_format}
    for argument in ("categorical", "numeric", "text", "lists"):
        values = kept.get(argument, ())
        if isinstance(values, Mapping):
            kept[argument] = {name: mark for name, mark in values.items() if not _same(name, bare)}
        else:
            kept[argument] = [name for name in values if not _same(name, bare)]
    return Roles(**{**kept, **given})


def _same(name: str, named: set[str]) -> bool:
    return name in named or name.partition(".")[2] in named


def schema_from_roles(roles: Roles, tables: Mapping[Table, Sequence[str]]) -> Schema:
    """Return the schema of ``tables`` (column names by table) under ``roles``.

    Raises:
        SchemaError: With every name that no table has, is ambiguous, or was given two roles.
    """
    return _Declaration(roles, tables).schema()


class _Declaration:
    """One declaration being resolved: collects columns and problems."""

    def __init__(self, roles: Roles, tables: Mapping[Table, Sequence[str]]) -> None:
        self.roles = roles
        self.tables = tables
        self.found: dict[Table, dict[str, Column]] = {table: {} for table in tables}
        self.problems: list[Problem] = []

    def schema(self) -> Schema:
        roles = self.roles
        self._keys()
        rule = None if roles.label is None else LabelRule.parse(roles.label)
        if roles.time is not None:
            self._place(roles.time, Role.TIME, ("interactions",), "time")
        if rule is not None:
            self._place(rule.column, Role.LABEL, ("interactions",), "label")
        single = {"weight": Role.WEIGHT, "title": Role.TITLE, "split": Role.SPLIT}
        single |= {"image": Role.IMAGE, "audio": Role.AUDIO}
        for argument, role in single.items():
            if (name := getattr(roles, argument)) is not None:
                self._place(name, role, _TABLES, argument)
        many = {"categorical": Role.CATEGORICAL, "numeric": Role.NUMERIC, "text": Role.TEXT}
        for argument, role in many.items():
            for name in getattr(roles, argument):
                self._place(name, role, _TABLES, argument)
        for name, separator in roles.lists.items():
            self._place(name, Role.LIST, _TABLES, "lists", separator=separator)
        if self.problems:
            raise SchemaError("The roles do not fit the columns of the tables.", problems=self.problems)
        columns = {table: self._in_order(table) for table in self.tables}
        if rule is not None:
            rule = rule.replace(column=rule.column.removeprefix("interactions."))
        return Schema(**columns, label=rule)

    def _keys(self) -> None:
        roles = self.roles
        keys = (("user", roles.user, "users", roles.user_key), ("item", roles.item, "items", roles.item_key))
        for argument, name, table, key in keys:
            role = Role(argument)
            if name is not None:
                self._place(name, role, ("interactions",), argument)
            key_table: Table = "users" if table == "users" else "items"
            if key_table not in self.tables:
                if key is not None:
                    message = f"{argument}_key is given, but there is no table of {table}"
                    self.problems.append(Problem(message, f"Pass {table}=TABLE, or leave {argument}_key out.", table))
            elif key or name:
                self._place(key or name or "", role, (key_table,), f"{argument}_key" if key else argument)
            else:
                message = f"the table of {table} has no key"
                self.problems.append(Problem(message, f'Pass {argument}_key="COLUMN".', table))

    def _place(self, name: str, role: Role, where: Sequence[Table], argument: str, **settings: Any) -> None:
        homes = [table for table in where if table in self.tables and name in self.tables[table]]
        if not homes:
            prefix, _, bare = name.partition(".")
            homes = [table for table in where if table == prefix and bare in self.tables.get(table, ())]
            name = bare if homes else name
        if len(homes) != 1:
            self.problems.append(self._lost(name, where, argument) if not homes else _ambiguous(name, homes, argument))
            return
        known = self.found[homes[0]].get(name)
        if known is not None:
            message = f"the column has two roles: {known.role} and {role}"
            self.problems.append(Problem(message, "Give it one role.", homes[0], column=name))
            return
        self.found[homes[0]][name] = Column(name=name, role=role, **settings)

    def _lost(self, name: str, where: Sequence[Table], argument: str) -> Problem:
        tables = [table for table in where if table in self.tables]
        options = [column for table in tables for column in self.tables[table]]
        message = f'{argument}="{name}": there is no such column'
        if argument in ("user", "item") and "interactions" in tables:
            remedy = f'{suggest(name, options)} Pass {argument}="COLUMN", or {argument}=None when rows have none.'
        elif argument in ("user", "item"):
            remedy = f'{suggest(name, options)} Pass {argument}_key="COLUMN".'
        else:
            remedy = suggest(name, options)
        return Problem(message, remedy, file=" and ".join(tables))

    def _in_order(self, table: Table) -> tuple[Column, ...]:
        found = self.found[table]
        return tuple(found.get(name) or Column(name=name, role=Role.IGNORE) for name in self.tables[table])


def _ambiguous(name: str, homes: Sequence[Table], argument: str) -> Problem:
    message = f'{argument}="{name}": the tables {" and ".join(homes)} both have such a column'
    return Problem(message, f'Write "{homes[0]}.{name}" or "{homes[1]}.{name}".', column=name)
