"""One shape for every kind of table: pandas, Polars, Arrow and whatever speaks the Arrow stream protocol.

The frame that comes out is lazy, so that a large source stays where it is until somebody needs its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from palate.data.schema import Column, Role
from palate.errors import DataError, SchemaError

__all__ = ["as_lazy_frame", "collect", "split_lists"]

_ODD = (TypeError, ValueError, OverflowError)


def as_lazy_frame(table: Any, what: str = "table") -> pl.LazyFrame:
    """Return ``table`` as a lazy Polars frame.

    Args:
        table: A Polars frame (eager or lazy), a pandas frame, an Arrow table, or any object with
            ``__arrow_c_stream__`` (DuckDB relations, for one).
        what: What the table is, for messages.

    Raises:
        SchemaError: If it is none of these, or two columns share a name.
        DataError: If a pandas column mixes kinds of values.
    """
    if isinstance(table, pl.LazyFrame):
        return table
    if isinstance(table, pl.DataFrame):
        return table.lazy()
    try:
        if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
            return _from_pandas(table, what).lazy()
        if isinstance(table, pa.Table | pa.RecordBatch) or hasattr(table, "__arrow_c_stream__"):
            return _from_arrow(pa.table(table), what).lazy()
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, *_ODD) as error:
        raise DataError(
            f"The table {what} cannot be read as columns: {str(error).splitlines()[0]}.",
            remedy="Give every column one kind of value, for example ids as text throughout.",
        ) from None
    raise SchemaError(
        f"The table {what} is of type {type(table).__name__}.",
        remedy="Pass a pandas, Polars or Arrow table, or the path of a file.",
    )


def collect(frame: pl.LazyFrame, what: str) -> pl.DataFrame:
    """Run a lazy frame; damage in the file behind it becomes one :class:`DataError`.

    Polars reports some damaged files by a panic, which is not an ordinary exception; it is caught here too.
    """
    try:
        table: pl.DataFrame = frame.collect()
        return table
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(
            f"Reading {what} failed: {(str(error).splitlines() or [type(error).__name__])[0]}.",
            remedy="The file behind it was altered, cut short or moved: restore it, or import it again.",
        ) from None


def split_lists(frame: pl.LazyFrame, columns: Sequence[Column]) -> pl.LazyFrame:
    """Turn list columns that stand in one text cell into lists; an empty cell stays missing.

    Columns that are lists already are left alone, so the call may be repeated.
    """
    types = frame.collect_schema()
    text = [
        pl.col(column.name).replace("", None).str.split(column.separator).alias(column.name)
        for column in columns
        if column.role == Role.LIST and column.separator and types.get(column.name) == pl.String
    ]
    return frame.with_columns(text) if text else frame


def _from_pandas(table: Any, what: str) -> pl.DataFrame:
    names = [str(name) for name in table.columns]
    _refuse_repeated(names, what)
    frame: pl.DataFrame = pl.from_pandas(table.set_axis(names, axis=1), include_index=False)
    return frame


def _from_arrow(table: pa.Table, what: str) -> pl.DataFrame:
    _refuse_repeated(table.column_names, what)
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):  # pragma: no cover - a table always gives a frame
        raise TypeError(f"{type(frame).__name__} came out of an Arrow table")
    return frame


def _refuse_repeated(names: Sequence[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SchemaError(
            f"The table {what} has more than one column called {', '.join(map(repr, repeated))}.",
            remedy="Rename or drop the repeated columns.",
        )
