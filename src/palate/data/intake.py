"""Rows from sources into a table: types settled, rules applied, bad rows set aside; to memory or to Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from palate.data.readers.contract import KINDS, Batch, Finding, Source, WidenError
from palate.data.rejects import Rejects
from palate.data.roles import TimeUnit
from palate.data.rules import row_rules, type_problems
from palate.data.schema import Role, Schema, Table
from palate.data.tables import split_lists
from palate.data.times import in_unit
from palate.errors import DataError, Problem, SchemaError

__all__ = ["Intake", "MemorySink", "ParquetSink", "Sink", "names_of"]


class Sink(Protocol):
    """Where finished rows go."""

    def begin(self) -> None:
        """Start, or start over."""
        ...

    def write(self, frame: pl.DataFrame) -> None:
        """Take the next rows."""
        ...


@dataclass
class MemorySink:
    """Keeps the rows in memory."""

    parts: list[pl.DataFrame] = field(default_factory=list)

    def begin(self) -> None:
        """Forget the rows taken so far."""
        self.parts = []

    def write(self, frame: pl.DataFrame) -> None:
        """Keep the rows."""
        self.parts.append(frame)

    def frame(self) -> pl.DataFrame:
        """Return all rows as one frame."""
        full = [part for part in self.parts if part.height] or self.parts[:1]
        return pl.concat(full, how="vertical", rechunk=True)


class ParquetSink:
    """Writes the rows to a Parquet file, a row group at a time.

    Args:
        file: The file to write.
        group_size: Rows of a row group; also how many rows wait in memory.
    """

    def __init__(self, file: Path, group_size: int = 1 << 19) -> None:
        self.file = file
        self.rows = 0
        self._group_size = group_size
        self._waiting: list[pl.DataFrame] = []
        self._writer: pq.ParquetWriter | None = None

    def begin(self) -> None:
        """Start the file over."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._waiting, self.rows = None, [], 0

    def write(self, frame: pl.DataFrame) -> None:
        """Take rows; a full row group goes to disk."""
        if frame.height or not self._waiting:
            self._waiting.append(frame)
        if self.waiting >= self._group_size:
            self._flush()

    @property
    def waiting(self) -> int:
        """Rows that are held in memory."""
        return sum(part.height for part in self._waiting)

    def close(self) -> None:
        """Write what waits and finish the file."""
        if self._waiting or self._writer is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        full = [part for part in self._waiting if part.height] or self._waiting[:1]
        self._waiting = []
        if not full or (self._writer is not None and not full[0].height):
            return
        table = pl.concat(full, how="vertical", rechunk=False).to_arrow()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.file, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=self._group_size)
        self.rows += table.num_rows


class Intake:
    """Brings the sources of one table to a sink.

    Args:
        table: Which table it is.
        schema: Roles of the columns.
        time_unit: Unit of a whole-number time column.
        rejects: Takes the bad rows.
        now: The present in seconds since 1970, for the rule about times.
    """

    def __init__(
        self, table: Table, schema: Schema, *, time_unit: TimeUnit, rejects: Rejects, now: float | None = None
    ) -> None:
        self.table = table
        self.schema = schema
        self.time_unit = time_unit
        self.rejects = rejects
        self.now = now
        self.rows_read = 0
        self.rows_kept = 0
        self.kinds = {column.name: KINDS[column.role] for column in schema.columns(table)}

    def run(self, sources: Sequence[Source], sink: Sink) -> None:
        """Read all sources, starting over with wider types as often as a column needs them.

        Raises:
            DataError: If a file as such cannot be read.
            SchemaError: If a column is of a type that its role cannot have.
        """
        types: dict[str, pl.DataType] = {}
        start = self.rejects.mark()
        while True:
            sink.begin()
            self.rows_read = self.rows_kept = 0
            try:
                for source in sources:
                    for frame in self._frames(source, types):
                        sink.write(frame)
                return
            except WidenError as wider:
                types = {**types, **wider.types}
                self.rejects.rewind(start)

    def _frames(self, source: Source, types: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
        names = [column.name for column in self.schema.columns(self.table)]
        for batch in source.batches(self.kinds, types):
            frame = self._finished(batch.frame.select(names), source)
            good, findings = self._apply_rules(frame, batch)
            self.rows_read += batch.frame.height + batch.bad_rows
            self.rejects.add(source.file, (*batch.findings, *findings), row_kind=source.row_kind)
            kept = frame if good is None else frame.filter(pl.Series(good))
            self.rows_kept += kept.height
            yield kept

    def _finished(self, frame: pl.DataFrame, source: Source) -> pl.DataFrame:
        columns = self.schema.columns(self.table)
        lazy = split_lists(frame.lazy(), columns)
        timed = [column.name for column in columns if column.role == Role.TIME]
        if timed and frame.schema[timed[0]] != pl.Null and frame.height:
            lazy = in_unit(lazy, timed[0], self.time_unit)
        finished: pl.DataFrame = lazy.collect()
        problems = type_problems(self.schema, self.table, finished.schema) if frame.height else []
        if problems:
            named = [Problem(p.problem, p.remedy, str(source.file), column=p.column) for p in problems]
            raise SchemaError(f"The columns of {source.file.name} do not fit their roles.", problems=named)
        return finished

    def _apply_rules(
        self, frame: pl.DataFrame, batch: Batch
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]] | None, list[Finding]]:
        rules = row_rules(self.schema, self.table, frame.schema, now=self.now)
        if not rules or not frame.height:
            return None, []
        masks = frame.select(rule.broken.alias(str(i)) for i, rule in enumerate(rules))
        if not masks.select(pl.any_horizontal(pl.all().any())).item():
            return None, []
        findings = []
        for rule, mask in zip(rules, masks, strict=True):
            rows = mask.arg_true()
            values = frame[rule.column].gather(rows)
            for row, value in zip(rows.to_list(), values.to_list(), strict=True):
                shown = None if value is None else str(value)
                place = int(batch.places[row])
                findings.append(Finding(place, batch.raw(row), rule.problem, rule.remedy, rule.column, shown))
        good = ~masks.select(pl.any_horizontal(pl.all())).to_series()
        return good.to_numpy(), findings


def names_of(table: Table, sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the column names that all ``sources`` of a table share; only their order may differ.

    Raises:
        DataError: If there is no source, or files name different columns.
    """
    if not sources:
        raise DataError(f"There is no file for the table {table}.", remedy="Check the path or the pattern.")
    first = sources[0]
    problems = [
        Problem(
            f"its columns are not those of {first.file.name}: {sorted(set(each.names) ^ set(first.names))} differ",
            "Give all files of a table the same columns.",
            file=str(each.file),
        )
        for each in sources[1:]
        if set(each.names) != set(first.names)
    ]
    if problems:
        raise DataError(f"The files of the table {table} do not fit together.", problems=problems)
    return first.names
