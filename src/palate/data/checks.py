"""Everything that is wrong with a data set, in one list."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from palate.data.dataset import Dataset
from palate.data.row_hashes import repeated_rows
from palate.data.rules import row_rules, type_problems
from palate.data.schema import Role, Schema, Table
from palate.errors import Problem

__all__ = ["check_dataset"]

_TABLES: tuple[Table, ...] = ("interactions", "items", "users")


def check_dataset(dataset: Dataset, *, now: float | None = None) -> list[Problem]:
    """Return all problems of ``dataset``: an empty list means that models may have it.

    Looked for: missing columns, types that do not fit their role, missing users, items, times and labels, NaN and
    infinity, times before 1970 or beyond tomorrow (milliseconds taken for seconds are recognised), labels other
    than 0 and 1, interactions that stand twice, ids that the catalogue does not know or knows twice, and contents
    that differ from what was saved. Each problem names the first row (counted from 0), its value, and how many rows
    share it. Missing categories, numbers and texts are ordinary and no problem.

    Args:
        dataset: What to check; a large log on disk is streamed.
        now: The present in seconds since 1970.

    Example:
        >>> log = pl.DataFrame({"user": ["ann", None], "item": [1, 2]})
        >>> [str(problem) for problem in check_dataset(Dataset.from_tables(log))]
        ['interactions, row 1, column "user": the user id is missing. Drop the row, or fill it.']
    """
    schema = dataset.schema
    frames = {table: frame for table in _TABLES if (frame := _frame(dataset, table)) is not None}
    problems: list[Problem] = []
    for table, frame in frames.items():
        types = frame.collect_schema()
        problems += type_problems(schema, table, types)
        problems += _row_problems(schema, table, frame, now)
    problems += _repeated_interactions(schema, frames["interactions"])
    catalogues: tuple[tuple[Table, Role], ...] = (("items", Role.ITEM), ("users", Role.USER))
    for table, role in catalogues:
        if table in frames:
            problems += _catalogue_problems(schema, table, role, frames["interactions"], frames[table])
    if dataset.recorded_fingerprint and not problems and dataset.fingerprint != dataset.recorded_fingerprint:
        message = "the contents differ from what was saved"
        problems.append(Problem(message, "A file was altered: restore the folder, or save the data set again."))
    return problems


def _frame(dataset: Dataset, table: Table) -> pl.LazyFrame | None:
    if table == "interactions":
        return dataset.scan()
    frame = dataset.table(table)
    return None if frame is None else frame.lazy()


def _row_problems(schema: Schema, table: Table, frame: pl.LazyFrame, now: float | None) -> Iterable[Problem]:
    rules = row_rules(schema, table, frame.collect_schema(), now=now)
    if not rules:
        return
    wanted = [
        expression
        for i, rule in enumerate(rules)
        for expression in (
            rule.broken.sum().alias(f"count{i}"),
            pl.arg_where(rule.broken).first().alias(f"row{i}"),
            pl.col(rule.column).filter(rule.broken).first().alias(f"value{i}"),
        )
    ]
    found = frame.select(wanted).collect().row(0, named=True)
    for i, rule in enumerate(rules):
        if found[f"count{i}"]:
            value = found[f"value{i}"]
            yield Problem(
                rule.problem,
                rule.remedy,
                file=table,
                row=int(found[f"row{i}"]),
                row_kind="row",
                column=rule.column,
                value=None if value is None else str(value),
                count=int(found[f"count{i}"]),
            )


def _repeated_interactions(schema: Schema, log: pl.LazyFrame) -> Iterable[Problem]:
    """Find rows of the same user, item and time; without times, rows that are equal in every column."""
    present = log.collect_schema().names()
    roles = (Role.USER, Role.ITEM, Role.TIME)
    keys = [column.name for column in schema.columns("interactions", *roles) if column.name in present]
    if len(keys) < 2 or not (schema.has("interactions", Role.USER) and schema.has("interactions", Role.ITEM)):
        return
    if not schema.has("interactions", Role.TIME):
        keys = present
    rows = repeated_rows(log, keys)
    if len(rows):
        first = log.select(keys).slice(int(rows[0]), 1).collect().row(0)
        yield Problem(
            "the interaction stands in an earlier row already",
            "Keep one of them, or give repeated events different times.",
            file="interactions",
            row=int(rows[0]),
            row_kind="row",
            value=", ".join(f"{key}={value}" for key, value in zip(keys[:3], first, strict=False)),
            count=len(rows),
        )


def _catalogue_problems(
    schema: Schema, table: Table, role: Role, log: pl.LazyFrame, catalogue: pl.LazyFrame
) -> Iterable[Problem]:
    keys = schema.columns(table, role)
    if len(keys) != 1 or keys[0].name not in catalogue.collect_schema():
        return
    key = keys[0].name
    again = (
        catalogue.select(key).with_row_index("row").filter(pl.col(key).is_not_null() & ~pl.col(key).is_first_distinct())
    )
    if (found := _first(again, key)) is not None:
        row, value, count = found
        remedy = "Keep one row for each id."
        yield Problem(f"the {role} id stands twice", remedy, table, row, key, value, count, "row")
    if not schema.has("interactions", role):
        return
    column = schema.name_of("interactions", role)
    if column not in log.collect_schema():
        return
    kinds = _plain(log.collect_schema()[column]), _plain(catalogue.collect_schema()[key])
    if kinds[0] != kinds[1]:
        message = f"ids are {kinds[0]} in the log and {kinds[1]} in the table {table}"
        yield Problem(message, "Convert one of the two, so that ids can meet.", "interactions", column=column)
        return
    known = catalogue.select(_comparable(key).alias("id")).unique()
    strange = (
        log.select(_comparable(column).alias("id"), pl.col(column))
        .with_row_index("row")
        .drop_nulls("id")
        .join(known, on="id", how="anti", maintain_order="left")
    )
    if (found := _first(strange, column)) is not None:
        row, value, count = found
        remedy = f"Add it to the table {table}, or drop the rows."
        message = f"the {role} id is not in the table {table}"
        yield Problem(message, remedy, "interactions", row, column, value, count, "row")


def _first(rows: pl.LazyFrame, column: str) -> tuple[int, str, int] | None:
    found = rows.select(pl.col("row").first(), pl.col(column).first(), pl.len().alias("count")).collect().row(0)
    return (int(found[0]), str(found[1]), int(found[2])) if found[2] else None


def _plain(dtype: pl.DataType) -> str:
    return "whole numbers" if dtype.is_integer() else "text" if not dtype.is_numeric() else "fractions"


def _comparable(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String)
