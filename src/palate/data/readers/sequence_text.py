"""Sequence text: one user per line, first the user, then the items from the oldest to the newest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from palate.data.readers.cells import NO_ID, type_cells
from palate.data.readers.contract import Batch, Finding, Kind, Layout, ReadOptions, reader
from palate.data.readers.lines import line_column
from palate.data.readers.records import Records, record_blocks
from palate.data.readers.stream import first_lines
from palate.data.roles import RoleArguments
from palate.data.schema import Table

__all__ = ["SequenceTextReader"]


@dataclass(frozen=True)
class _Sequences:
    file: Path
    options: ReadOptions
    encoding: str
    names: tuple[str, ...] = ("user", "item", "position")
    row_kind: str = "line"

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        for block in record_blocks(self.file, self.options, encoding=self.encoding):
            words = line_column(block).str.extract_all(r"\S+")
            short = (words.list.len() < 2).to_numpy()
            missing = words.list.eval(pl.element().is_in(NO_ID)).list.any().to_numpy() & ~short
            findings = [*block.findings, *_named(block, short, missing)]
            records = block.keep(~(short | missing))
            words = words.filter(pl.Series(~(short | missing)))
            lengths = words.list.len().cast(pl.Int64).to_numpy() - 1
            owner = np.repeat(np.arange(len(lengths)), lengths)
            users = words.list.first().gather(owner).alias("user")
            items = words.list.slice(1).list.explode(empty_as_null=False).alias("item")
            frame = type_cells(pl.DataFrame([users, items]), kinds, types).frame
            starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
            frame = frame.with_columns(pl.Series("position", np.arange(frame.height) - starts, dtype=pl.Int64))
            raw = _Unrolled(records, owner)
            yield Batch(frame, records.places[owner], raw, tuple(findings), len(findings))


@dataclass(frozen=True, slots=True)
class _Unrolled:
    """Gives the line from which an interaction came."""

    records: Records
    owner: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __call__(self, row: int) -> bytes:
        return self.records.raw(int(self.owner[row]))


@reader
class SequenceTextReader:
    """Reads ``user item item ...`` lines.

    The order of the line is all that such files know of time. It becomes the order of the rows and the column
    ``position`` (from 0 in each line); it is not called a time, because positions of different users do not compare.
    """

    name: ClassVar[str] = "sequences"
    summary: ClassVar[str] = 'Lines of "user item item ...", oldest first; gzipped or not'
    order: ClassVar[int] = 70
    takes: ClassVar[tuple[str, ...]] = ("encoding",)

    def sniff(self, path: Path) -> bool:
        """Recognise ``.txt`` files whose lines are at least two plain words."""
        if not path.is_file() or ".txt" not in {suffix.lower() for suffix in path.suffixes[-2:]}:
            return False
        lines = [line.split(" ") for line in first_lines(path, 20) if line.strip()]
        words = {word for line in lines for word in line}
        plain = all(not set(word) & set(',;|\t:"{}[]<>') for word in words)
        return bool(lines) and plain and all(len([word for word in line if word]) >= 2 for line in lines)

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out one file as the log."""
        source = _Sequences(path, options, options.encoding or "utf-8")
        return Layout({table: (source,)}, RoleArguments(user="user", item="item"))


def _named(
    records: Records,
    short: np.ndarray[tuple[int], np.dtype[np.bool_]],
    missing: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> Iterator[Finding]:
    for row in np.flatnonzero(short | missing).tolist():
        raw = records.raw(row)
        if not raw.strip():
            continue
        shown = raw.decode("utf-8", "backslashreplace")[:60]
        problem, remedy = "the user has no items", "Write the user and at least one item on each line."
        if missing[row]:
            problem, remedy = 'a word reads like "missing"', "Mend or drop the line; if it is an id, rename it."
        yield Finding(int(records.places[row]), raw, problem, remedy, value=shown)
