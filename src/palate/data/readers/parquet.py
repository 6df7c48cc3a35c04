"""Parquet: columns with types of their own, read a row group at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from palate.data.readers.contract import Batch, Kind, Layout, ReadOptions, reader
from palate.data.schema import Table
from palate.errors import DataError, Problem, SchemaError

__all__ = ["DAMAGE", "ParquetReader"]

_ROWS = 1 << 17
# What reading a damaged Parquet file may raise.
DAMAGE = (
    OSError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # not an ordinary exception, but what some columns lead to
    ValueError,
    OverflowError,
    TypeError,
    RecursionError,
)


@dataclass(frozen=True)
class _ParquetFile:
    file: Path
    names: tuple[str, ...]
    row_kind: str = "row"

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        start = 0
        try:
            with pq.ParquetFile(self.file, page_checksum_verification=True) as opened:
                for batch in opened.iter_batches(batch_size=_ROWS):
                    frame = self._typed(pl.DataFrame(pa.Table.from_batches([batch])), types)
                    places = np.arange(start, start + frame.height, dtype=np.int64)
                    yield Batch(frame, places, partial(_as_json, frame))
                    start += frame.height
        except DAMAGE as error:
            raise _unreadable(self.file, error) from None

    def _typed(self, frame: pl.DataFrame, types: dict[str, pl.DataType]) -> pl.DataFrame:
        """Give the columns the types of the first file; whole numbers may differ in width."""
        for column in frame:
            wanted = types.setdefault(column.name, column.dtype)
            if column.dtype == wanted:
                continue
            if not (wanted.is_integer() and column.dtype.is_integer()):
                raise SchemaError(
                    f'The column "{column.name}" of {self.file.name} is of type {column.dtype}; the files before have '
                    f"{wanted}.",
                    remedy="Write all files of a table with the same types.",
                )
            frame = frame.with_columns(column.cast(wanted))
        return frame


@reader
class ParquetReader:
    """Reads Parquet files; types are taken as they are."""

    name: ClassVar[str] = "parquet"
    summary: ClassVar[str] = "Parquet"
    order: ClassVar[int] = 10
    takes: ClassVar[tuple[str, ...]] = ()

    def sniff(self, path: Path) -> bool:
        """Recognise the magic bytes or the ending."""
        if not path.is_file():
            return False
        try:
            with path.open("rb") as stream:
                return stream.read(4) == b"PAR1" or path.suffix.lower() in (".parquet", ".pq")
        except OSError:
            return path.suffix.lower() in (".parquet", ".pq")

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out one file as ``table``."""
        try:
            names = tuple(pq.read_schema(path).names)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist.", remedy="Check the path.") from None
        except DAMAGE as error:
            raise _unreadable(path, error) from None
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise SchemaError(
                f"{path.name} has more than one column called {', '.join(map(repr, repeated))}.",
                remedy="Write the file with different names.",
            )
        return Layout({table: (_ParquetFile(path, names),)})


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    problem = Problem(f"this is not a whole Parquet file: {reason}", "Fetch or write it again.", file=str(path))
    return DataError(f"{path.name} cannot be read.", problems=[problem])


def _as_json(frame: pl.DataFrame, row: int) -> bytes:
    return json.dumps(frame.row(row, named=True), default=str, ensure_ascii=False).encode("utf-8", "backslashreplace")
