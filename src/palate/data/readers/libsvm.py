"""libfm and libsvm text: ``label index:value index:value ...``.

Two tables come out of it. When every row of the first block has equally many features, each with the value 1, the
file is a table of categories in one-hot form (that is how Frappe and MovieLens tags are passed around): the columns
are ``f1`` to ``fF``, and their values the indices. Otherwise the columns are the lists ``indices`` and ``values``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from palate.data.readers.contract import Batch, Finding, Kind, Layout, ReadOptions, reader
from palate.data.readers.lines import line_column
from palate.data.readers.records import Records, record_blocks
from palate.data.readers.stream import first_lines
from palate.data.roles import RoleArguments
from palate.data.schema import Table

__all__ = ["LibsvmReader"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class _Parsed:
    """Lines taken apart: one label per line, one index and value per feature."""

    label: pl.Series
    lengths: np.ndarray[Any, np.dtype[np.int64]]
    indices: pl.Series
    values: pl.Series

    def good(self) -> BoolArray:
        """Say for each line whether all its parts are numbers."""
        wrong = (self.indices.is_null() | ~self.values.is_finite().fill_null(False)).to_numpy()
        owner = np.repeat(np.arange(len(self.lengths)), self.lengths)
        bad = np.bincount(owner[wrong], minlength=len(self.lengths)) > 0
        return self.label.is_finite().fill_null(False).to_numpy() & ~bad

    def lines(self, keep: BoolArray) -> _Parsed:
        """Return only these lines."""
        features = pl.Series(np.repeat(keep, self.lengths))
        return _Parsed(
            self.label.filter(pl.Series(keep)),
            self.lengths[keep],
            self.indices.filter(features),
            self.values.filter(features),
        )


@dataclass(frozen=True)
class _Libsvm:
    file: Path
    fields: int | None
    options: ReadOptions
    encoding: str
    row_kind: str = "line"

    @property
    def names(self) -> tuple[str, ...]:
        if self.fields is None:
            return ("label", "indices", "values")
        return ("label", *(f"f{i + 1}" for i in range(self.fields)))

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        for records in record_blocks(self.file, self.options, encoding=self.encoding):
            parsed = _parse(records)
            good = parsed.good()
            findings = [*records.findings, *_findings(records, ~good, "the line is not label index:value ...")]
            if self.fields is not None:
                fitting = good & _one_hot(parsed, self.fields)
                problem = f"the line does not have {self.fields} features of value 1, as the lines before"
                findings += _findings(records, good & ~fitting, problem)
                good = fitting
            kept = records.keep(good)
            yield Batch(self._frame(parsed.lines(good)), kept.places, kept.raw, tuple(findings), len(findings))

    def _frame(self, parsed: _Parsed) -> pl.DataFrame:
        label = parsed.label.alias("label")
        if self.fields is None:
            row = np.repeat(np.arange(len(parsed.lengths), dtype=np.int64), parsed.lengths)
            features = pl.DataFrame({"row": row, "indices": parsed.indices, "values": parsed.values})
            lists = features.group_by("row", maintain_order=True).agg("indices", "values")
            lines = pl.DataFrame({"row": np.arange(len(parsed.lengths), dtype=np.int64), "label": label})
            joined = lines.join(lists, on="row", how="left", maintain_order="left").drop("row")
            # A line without features is an empty list, not a missing one.
            return joined.with_columns(pl.col("indices", "values").fill_null([]))
        table = parsed.indices.to_numpy().reshape(-1, self.fields)
        return pl.DataFrame([label, *(pl.Series(f"f{i + 1}", table[:, i]) for i in range(self.fields))])


@reader
class LibsvmReader:
    """Reads libfm and libsvm text, gzipped or not."""

    name: ClassVar[str] = "libsvm"
    summary: ClassVar[str] = "libfm and libsvm text: label index:value ..."
    order: ClassVar[int] = 50
    takes: ClassVar[tuple[str, ...]] = ("encoding",)

    def sniff(self, path: Path) -> bool:
        """Recognise a number followed by pairs."""
        if not path.is_file():
            return False
        lines = [line for line in first_lines(path, 5) if line.strip()]
        shape = re.compile(r"\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:\s+\d+:\S+)*\s*")
        return any(":" in line for line in lines) and all(shape.fullmatch(line) for line in lines)

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out one file as the log; rows have neither user nor item unless you name their columns."""
        encoding = options.encoding or "utf-8"
        fields = None
        for records in record_blocks(path, options, encoding=encoding):
            parsed = _parse(records)
            parsed = parsed.lines(parsed.good())
            width = int(parsed.lengths[0]) if len(parsed.lengths) else 0
            fields = width if width and _one_hot(parsed, width).all() else None
            break
        source = _Libsvm(path, fields, options, encoding)
        roles = RoleArguments(user=None, item=None, label="label")
        if fields is not None:
            roles["categorical"] = source.names[1:]
        return Layout({table: (source,)}, roles)


def _parse(records: Records) -> _Parsed:
    words = line_column(records).str.extract_all(r"\S+")
    label = words.list.first().cast(pl.Float64, strict=False)
    pairs = words.list.slice(1)
    flat = pl.DataFrame({"pair": pairs.list.explode(empty_as_null=False).cast(pl.String)})
    both = flat.select(
        pl.col("pair").str.extract(r"^(\d{1,18}):\S+$").cast(pl.Int64, strict=False).alias("index"),
        pl.col("pair").str.extract(r"^\d{1,18}:(\S+)$").cast(pl.Float64, strict=False).alias("value"),
    )
    return _Parsed(label, pairs.list.len().cast(pl.Int64).fill_null(0).to_numpy(), both["index"], both["value"])


def _one_hot(parsed: _Parsed, fields: int) -> BoolArray:
    """Say for each line whether it has ``fields`` features of value 1."""
    owner = np.repeat(np.arange(len(parsed.lengths)), parsed.lengths)
    others = np.bincount(owner[(parsed.values != 1.0).fill_null(True).to_numpy()], minlength=len(parsed.lengths))
    fitting: BoolArray = (parsed.lengths == fields) & (others == 0)
    return fitting


def _findings(records: Records, wrong: BoolArray, problem: str) -> list[Finding]:
    remedy = "Write a number, then pairs of a whole index and a finite value, between blanks."
    return [
        Finding(
            int(records.places[row]),
            records.raw(row),
            problem,
            remedy,
            value=records.raw(row)[:60].decode("utf-8", "backslashreplace"),
        )
        for row in np.flatnonzero(wrong).tolist()
        if records.raw(row).strip()
    ]
