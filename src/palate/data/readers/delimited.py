"""Rows of cells between separators: what CSV, TSV, RecBole, MovieLens and Criteo files have in common."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from palate.data.readers.cells import type_cells
from palate.data.readers.contract import Batch, Finding, Kind, ReadOptions
from palate.data.readers.records import UNIT, Records, record_blocks
from palate.errors import DataError, Problem

__all__ = ["Delimited", "header_of"]


@dataclass(frozen=True)
class Delimited:
    """A delimited file as a source.

    Attributes:
        file: The file, gzipped or not.
        names: Column names, in order.
        separator: What stands between cells: one character, or several (``::``).
        options: Block and row sizes.
        header: Whether the first row is a header.
        quoting: Whether ``"`` quotes cells.
        encoding: Encoding of the text.
        kinds: Kinds that the format prescribes; they go before those of the caller.
        missing: By column, the text that means "not known".
    """

    file: Path
    names: tuple[str, ...]
    separator: str
    options: ReadOptions
    header: bool = True
    quoting: bool = True
    encoding: str = "utf-8"
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    row_kind: str = "line"

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        """Return the typed rows; see :class:`~palate.data.readers.contract.Source`."""
        header = self.header
        mark = self.separator.encode()
        single = mark if len(mark) == 1 else None
        blocks = record_blocks(
            self.file,
            self.options,
            encoding=self.encoding,
            separator=single,
            quoting=self.quoting and single is not None,
        )
        for block in blocks:
            records, findings = block, block.findings
            if header and len(records):
                records, header = records.keep(np.arange(len(records)) > 0), False
            if single is None:
                records = Records(records.data.replace(mark, UNIT), records.places)
            records, ragged = self._rectangular(records)
            records = Records(records.data, records.places, records.quoted, (*findings, *ragged))
            if len(records) or records.findings:
                typed = type_cells(self._cells(records), {**kinds, **self.kinds}, types)
                yield self._raw_in_file_terms(typed.batch(records))

    def _raw_in_file_terms(self, batch: Batch) -> Batch:
        mark = self.separator.encode()
        if len(mark) == 1:
            return batch
        findings = tuple(
            Finding(each.row, each.raw.replace(UNIT, mark), each.problem, each.remedy, each.column, each.value)
            for each in batch.findings
        )
        return Batch(
            batch.frame, batch.places, lambda row: batch.raw(row).replace(UNIT, mark), findings, batch.bad_rows
        )

    def _rectangular(self, records: Records) -> tuple[Records, tuple[Finding, ...]]:
        """Set aside rows that do not have one cell for each column."""
        mark = self._mark
        wanted = len(self.names)
        counts = _separators(records, mark)
        wrong = np.flatnonzero(counts != wanted - 1)
        if not len(wrong):
            return records, ()
        remedy = f"Give the row {wanted} cells" + (", or quote cells that hold the separator." if self.quoting else ".")
        findings = tuple(
            Finding(
                int(records.places[i]), records.raw(i), f"the row has {counts[i] + 1} cells instead of {wanted}", remedy
            )
            for i in wrong.tolist()
        )
        keep = np.ones(len(records), bool)
        keep[wrong] = False
        return records.keep(keep), findings

    def _cells(self, records: Records) -> pl.DataFrame:
        schema = dict.fromkeys(self.names, pl.String)
        if not len(records):
            return pl.DataFrame(schema=schema)
        data = records.data if records.quoted else records.data.replace(b"\r\n", b"\n")
        frame = pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            schema=schema,
            separator=self._mark.decode(),
            quote_char='"' if records.quoted else None,
            infer_schema=False,
            raise_if_empty=False,
        )
        if frame.height != len(records):  # pragma: no cover - the cut and the parser agree on what a row is
            raise DataError(f"{self.file.name} was cut into {len(records)} rows, but {frame.height} were parsed.")
        for name, word in self.missing.items():
            frame = frame.with_columns(pl.col(name).replace(word, None))
        return frame

    @property
    def _mark(self) -> bytes:
        mark = self.separator.encode()
        return mark if len(mark) == 1 else UNIT


def header_of(path: Path, options: ReadOptions, *, separator: str, encoding: str, quoting: bool) -> tuple[str, ...]:
    """Return the cells of the first row of a delimited file.

    Raises:
        DataError: If the file is empty, its first row cannot be read, or it names a column twice or not at all.
    """
    mark = separator.encode()
    for block in record_blocks(path, options, encoding=encoding, separator=mark, quoting=quoting):
        damaged = [each for each in block.findings if not len(block) or each.row < block.places[0]]
        if damaged:
            each = min(damaged, key=lambda found: found.row)
            raise _header_error(path, each.row, each.problem, each.remedy)
        if len(block):
            first = block.keep(np.arange(len(block)) == 0)
            width = int(_separators(first, mark)[0]) + 1
            names = tuple(str(i) for i in range(width))
            row = Delimited(path, names, separator, options, header=False, quoting=quoting)._cells(first).row(0)
            return _checked(path, int(first.places[0]), tuple("" if cell is None else str(cell) for cell in row))
    raise _header_error(path, None, "the file is empty", "Write a header and rows, or fetch the file again.")


def _separators(records: Records, mark: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the number of separators outside quotes in each row, int64 ``[N]``."""
    total = records.data.count(mark)
    if not len(records) or not total:
        return np.zeros(len(records), np.int64)
    view = np.frombuffer(records.data, np.uint8)
    places = np.flatnonzero(view == mark[0])
    if records.quoted:
        places = places[np.searchsorted(np.flatnonzero(view == ord('"')), places) % 2 == 0]
    return np.diff(np.searchsorted(places, records.ends), prepend=0).astype(np.int64, copy=False)


def _checked(path: Path, line: int, names: tuple[str, ...]) -> tuple[str, ...]:
    problems = []
    for place, name in enumerate(names):
        if not name.strip():
            problems.append(
                Problem(f"column {place + 1} has no name", "Name it in the header.", str(path), line, value=name)
            )
        elif names.index(name) < place:
            message = f"columns {names.index(name) + 1} and {place + 1} have the same name"
            problems.append(Problem(message, "Rename one of them in the header.", str(path), line, column=name))
    if problems:
        raise DataError(f"The header of {path.name} cannot be used.", problems=problems)
    return names


def _header_error(path: Path, line: int | None, problem: str, remedy: str) -> DataError:
    return DataError(f"{path.name} cannot be read.", problems=[Problem(problem, remedy, str(path), line)])
