"""A hash that says whether two data sets hold the same columns, however they are stored.

Every column feeds three streams: one byte per value that says whether it is there, the length of every text or
list, and the bytes of the values themselves. A stream does not know where a chunk ended, so a file read in pieces,
a frame in memory and a Parquet folder give the same digest. Order of rows and columns counts; compression, row
groups, chunks and dictionary encoding do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from palate.data.schema import Schema, Table
from palate.errors import SchemaError

__all__ = ["TableHash", "content_digest"]

_ROWS = 1 << 18


def content_digest(schema: Schema, tables: Mapping[Table, Iterable[pl.DataFrame]]) -> str:
    """Return the SHA-256 over a schema and the tables, each given piece by piece."""
    digest = hashlib.sha256(schema.model_dump_json().encode())
    for table in ("interactions", "items", "users"):
        content = TableHash()
        for piece in tables.get(table, ()):
            content.update(piece)
        digest.update(f"{table}:{content.hexdigest()}".encode())
    return digest.hexdigest()


class TableHash:
    """SHA-256 over the columns of one table, fed piece by piece.

    Example:
        >>> whole, pieces = TableHash(), TableHash()
        >>> frame = pl.DataFrame({"user": ["a", "b", None]})
        >>> whole.update(frame)
        >>> pieces.update(frame[:1])
        >>> pieces.update(frame[1:])
        >>> whole.hexdigest() == pieces.hexdigest()
        True
    """

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}

    def update(self, frame: pl.DataFrame) -> None:
        """Feed the next rows."""
        for start in range(0, max(frame.height, 1), _ROWS):
            for series in frame.slice(start, _ROWS):
                self._feed(series.name, series)

    def hexdigest(self) -> str:
        """Return the digest of everything fed so far."""
        digest = hashlib.sha256()
        for name, stream in self._streams.items():
            digest.update(f"{len(name)}:{name}".encode())
            digest.update(stream.digest())
        return digest.hexdigest()

    def _feed(self, place: str, series: pl.Series) -> None:
        dtype = series.dtype
        if isinstance(dtype, pl.Categorical | pl.Enum):
            series, dtype = series.cast(pl.String), pl.String()
        elif isinstance(dtype, pl.Decimal | pl.Int128 | pl.UInt128):
            series = series.cast(pl.String)
        kind = (
            "Struct"
            if isinstance(dtype, pl.Struct)
            else "List"
            if isinstance(dtype, pl.List | pl.Array)
            else str(dtype)
        )
        self._write(f"{place}/{kind}/valid", series.is_not_null().to_numpy())
        if isinstance(dtype, pl.List | pl.Array):
            lists = series.cast(pl.List(dtype.inner)).drop_nulls()
            self._write(f"{place}/lengths", lists.list.len().cast(pl.Int64).to_numpy())
            entries = lists.list.explode(empty_as_null=False) if lists.len() else pl.Series([], dtype=dtype.inner)
            self._feed(f"{place}/entries", entries)
        elif series.dtype in (pl.String, pl.Binary):
            values = pa.array(series.drop_nulls().cast(pl.Binary).to_arrow().cast(pa.large_binary()))
            offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset :][: len(values) + 1]
            self._write(f"{place}/lengths", np.diff(offsets))
            if values.buffers()[2] is not None:
                self._stream(f"{place}/values").update(memoryview(values.buffers()[2])[offsets[0] : offsets[-1]])
        elif dtype == pl.Null:
            return
        elif isinstance(dtype, pl.Struct):
            for entry in series.struct.unnest():
                self._feed(f"{place}/{entry.name}", entry)
        elif dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
            self._write(f"{place}/values", series.drop_nulls().to_physical().to_numpy())
        else:
            raise SchemaError(
                f'The column "{place}" is of type {dtype}, which a data set cannot hold.',
                remedy="Flatten it into columns of numbers, texts, dates or lists of these.",
            )

    def _write(self, place: str, values: np.ndarray[Any, Any]) -> None:
        self._stream(place).update(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).data)

    def _stream(self, place: str) -> Any:
        return self._streams.setdefault(place, hashlib.sha256())
