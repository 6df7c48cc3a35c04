"""Times as whole seconds since 1970, whatever the column holds."""

from __future__ import annotations

import polars as pl

from palate.data.roles import TimeUnit
from palate.errors import SchemaError

__all__ = ["in_unit", "seconds"]


def seconds(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the expression that reads ``column`` as int64 seconds since 1970 (UTC), rounded down.

    Numbers are seconds already; datetimes keep their zone (one without a zone is UTC); a date is its midnight.

    Raises:
        SchemaError: If the column is neither a number nor a date nor a datetime.
    """
    if isinstance(dtype, pl.Datetime):
        return pl.col(column).dt.epoch("us").floordiv(1_000_000).cast(pl.Int64)
    if dtype == pl.Date:
        return pl.col(column).cast(pl.Int64) * 86_400
    if dtype.is_integer():
        return pl.col(column).cast(pl.Int64)
    if dtype.is_float():
        return pl.col(column).floor().cast(pl.Int64, strict=False)
    raise SchemaError(
        f'The time column "{column}" is of type {dtype}.',
        remedy="Times are numbers of seconds since 1970, dates or datetimes: convert the column first.",
    )


def in_unit(frame: pl.LazyFrame, column: str, unit: TimeUnit) -> pl.LazyFrame:
    """Return ``frame`` with a whole-number ``column`` of ``unit`` as a datetime; seconds stay as they are.

    Raises:
        SchemaError: If a unit other than seconds is declared for a column that is not of whole numbers.
    """
    if unit == "s":
        return frame
    dtype = frame.collect_schema()[column]
    if not dtype.is_integer():
        raise SchemaError(
            f'time_unit="{unit}" is declared, but the time column "{column}" is of type {dtype}.',
            remedy="Leave time_unit out: it is for whole numbers.",
        )
    return frame.with_columns(pl.col(column).cast(pl.Int64).cast(pl.Datetime(unit)))
