"""What must hold in every row, as vectorised rules; the checks and the import both run them.

A rule looks at one row at a time. What needs the whole table (repeated interactions, ids that the catalogue does
not know) lives in :mod:`palate.data.checks`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from palate.data.labels import label_expression
from palate.data.schema import Column, Role, Schema, Table
from palate.data.times import seconds
from palate.errors import Problem, suggest

__all__ = ["Rule", "row_rules", "type_problems"]

_DAY = 86_400
_PLAUSIBLE = 100_000_000  # 1973: as seconds, a thousand times as much is the year 5138
_UNITS = (("milliseconds", "ms", 1_000), ("microseconds", "us", 1_000_000), ("nanoseconds", "ns", 1_000_000_000))


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must not be: ``broken`` is true where a row breaks it (never null)."""

    column: str
    problem: str
    remedy: str
    broken: pl.Expr


def type_problems(schema: Schema, table: Table, types: Mapping[str, pl.DataType]) -> list[Problem]:
    """Return what is wrong with the columns as such: missing ones, and types that do not fit their role."""
    problems = []
    for column in schema.columns(table):
        dtype = types.get(column.name)
        if dtype is None:
            problems.append(Problem("the column is missing", suggest(column.name, types), table, column=column.name))
        elif (wanted := _expected(column.role, dtype)) is not None:
            message = f"a column with the role {column.role} is of type {dtype}"
            problems.append(Problem(message, f"Convert it to {wanted}.", table, column=column.name))
    return problems


def row_rules(
    schema: Schema, table: Table, types: Mapping[str, pl.DataType], *, now: float | None = None
) -> list[Rule]:
    """Return the rules of ``table``; columns that are missing or of a wrong type have none.

    Args:
        schema: Roles of the columns.
        table: Which of the three tables.
        types: Types of its columns.
        now: The present, in seconds since 1970; interactions later than a day after it cannot be.
    """
    usable = [c for c in schema.columns(table) if c.name in types and _expected(c.role, types[c.name]) is None]
    limit = int(time.time() if now is None else now) + _DAY
    rules: list[Rule] = []
    for column in usable:
        dtype = types[column.name]
        if column.role in (Role.USER, Role.ITEM):
            rules += _key_rules(column, dtype)
        elif column.role == Role.TIME:
            rules += _time_rules(column, dtype, limit)
        elif column.role == Role.LABEL:
            rules += _label_rules(column, dtype, schema)
        elif column.role in (Role.NUMERIC, Role.WEIGHT) and dtype.is_float():
            rules += _finite_rules(column.name)
        if column.role == Role.WEIGHT:
            negative = (pl.col(column.name) < 0).fill_null(False)
            rules.append(Rule(column.name, "the weight is negative", "Weights are 0 or more.", negative))
            rules.append(_missing(column, "weight"))
    return rules


def _expected(role: Role, dtype: pl.DataType) -> str | None:
    """Return the words for the types that ``role`` takes, or ``None`` when ``dtype`` is one of them."""
    text = isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
    number = dtype.is_numeric() or dtype == pl.Boolean
    nested = dtype.is_nested() or dtype == pl.Binary
    fits: dict[Role, tuple[bool, str]] = {
        Role.USER: (text or dtype.is_integer(), "whole numbers or text; floating point cannot hold ids exactly"),
        Role.ITEM: (text or dtype.is_integer(), "whole numbers or text; floating point cannot hold ids exactly"),
        Role.TIME: (
            dtype.is_integer() or dtype.is_float() or dtype == pl.Date or isinstance(dtype, pl.Datetime),
            "seconds since 1970, dates or datetimes",
        ),
        Role.LABEL: (number, "numbers or booleans"),
        Role.WEIGHT: (dtype.is_numeric(), "numbers"),
        Role.NUMERIC: (number, "numbers"),
        Role.LIST: (dtype == pl.List or dtype == pl.Array, "lists, or declare what separates the entries"),
        Role.CATEGORICAL: (not nested, "text or whole numbers, one value in each row"),
        Role.SPLIT: (not nested, "text or whole numbers, one value in each row"),
        Role.TEXT: (text, "text"),
        Role.TITLE: (text, "text"),
        Role.IMAGE: (text, "paths as text"),
        Role.AUDIO: (text, "paths as text"),
        Role.IGNORE: (True, ""),
    }
    right, words = fits[role]
    return None if right else words


def _key_rules(column: Column, dtype: pl.DataType) -> Iterable[Rule]:
    yield _missing(column, f"{column.role} id")
    if not dtype.is_integer():
        text = pl.col(column.name).cast(pl.String)
        edges = text.str.contains(r"^\s|\s$").fill_null(False)
        yield Rule(column.name, f"the {column.role} id begins or ends with white space", "Strip it.", edges)
        empty = (text == "").fill_null(False)
        yield Rule(column.name, f"the {column.role} id is an empty text", "Drop the row, or fill the id.", empty)


def _time_rules(column: Column, dtype: pl.DataType, limit: int) -> Iterable[Rule]:
    name = column.name
    yield _missing(column, "time")
    if dtype.is_float():
        yield from _finite_rules(name)
    moment = pl.col(name) if dtype.is_float() else seconds(name, dtype)
    yield Rule(
        name,
        "the time lies before 1970-01-01",
        "Times are seconds since 1970: mend or drop the row.",
        (moment < 0).fill_null(False),
    )
    other_units = pl.lit(False)
    for words, unit, factor in _UNITS:
        looks = ((moment >= _PLAUSIBLE * factor) & (moment <= limit * factor)).fill_null(False)
        remedy = f'Pass time_unit="{unit}".' if dtype.is_integer() else "Divide the column, or write whole numbers."
        if dtype.is_numeric():
            other_units |= looks
            yield Rule(name, f"the time looks like {words} where seconds are expected", remedy, looks)
    late = (moment > limit) & moment.cast(pl.Float64).is_finite()
    yield Rule(
        name,
        "the time lies more than a day in the future",
        "Check the clock, the zone and the unit of the column.",
        late.fill_null(False) & ~other_units,
    )


def _label_rules(column: Column, dtype: pl.DataType, schema: Schema) -> Iterable[Rule]:
    yield _missing(column, "label")
    if dtype.is_float():
        yield from _finite_rules(column.name)
    if schema.label is not None and schema.label.operator is None and schema.label.column == column.name:
        value = label_expression(schema.label)
        outside = (~value.is_in([0.0, 1.0]) & value.is_finite()).fill_null(False)
        remedy = f'Use a rule, for example label="{column.name} >= 4".'
        yield Rule(column.name, "the label is neither 0 nor 1", remedy, outside)


def _finite_rules(name: str) -> Iterable[Rule]:
    value = pl.col(name)
    remedy = "Leave the cell empty when the value is not known."
    yield Rule(name, "the number is not a number (NaN)", remedy, value.is_nan().fill_null(False))
    yield Rule(name, "the number is infinite", remedy, value.is_infinite().fill_null(False))


def _missing(column: Column, words: str) -> Rule:
    return Rule(column.name, f"the {words} is missing", "Drop the row, or fill it.", pl.col(column.name).is_null())
