"""JSON Lines: one object per line, one column per key.

The keys of the first block are the columns. A number and a text of the same spelling are the same value, so that
``5`` and ``"5"`` are one id; ``true`` and ``false`` count as 1 and 0 where a number is expected; nested objects stay
as JSON text. Blocks go through a vectorised parser; one that it refuses is parsed line by line, which names the lines.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from palate.data.readers.cells import Defect, TypedCells, type_cells
from palate.data.readers.contract import Batch, Finding, Kind, Layout, ReadOptions, WidenError, reader
from palate.data.readers.lines import line_column
from palate.data.readers.records import Records, record_blocks
from palate.data.readers.stream import head
from palate.data.schema import Table
from palate.errors import DataError, Problem

__all__ = ["JsonLinesReader"]

# Halves of surrogate pairs, keys written with escapes.
_ESCAPED = re.compile(rb'\\u[dD][89a-fA-F]|\\[^"]{0,60}"\s*:')
_EMPTY_KEY = re.compile(rb'""\s*:')
_LONG = re.compile(rb"\d{19}")  # whole numbers of that many digits may not fit 64 bits


@dataclass(frozen=True)
class _JsonLines:
    file: Path
    names: tuple[str, ...]
    lists: frozenset[str]
    options: ReadOptions
    encoding: str
    row_kind: str = "line"

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        for records in record_blocks(self.file, self.options, encoding=self.encoding):
            cells, good = self._cells(records)
            typed = type_cells(cells.drop(sorted(self.lists)), kinds, types)
            yield self._with_lists(typed, cells, types).batch(good)

    def _cells(self, records: Records) -> tuple[pl.DataFrame, Records]:
        """Return every value as text, and the records that the rows came from."""
        if len(records) and not self._needs_care(records):
            try:
                schema = dict.fromkeys(self.names, pl.String)
                frame = pl.read_ndjson(io.BytesIO(records.data), schema=schema)
                if frame.height == len(records):
                    return frame, records
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
                pass  # some line is wrong; below is who says which
        return self._line_by_line(records)

    def _needs_care(self, records: Records) -> bool:
        """Say whether the fast parser might lose something: digits, half characters, a key that stands twice."""
        if _delicate(records.data):
            return True
        lines = line_column(records)
        return any((lines.str.count_matches(json.dumps(name), literal=True) > 1).any() for name in self.names)

    def _line_by_line(self, records: Records) -> tuple[pl.DataFrame, Records]:
        columns: dict[str, list[str | None]] = {name: [] for name in self.names}
        keep = np.zeros(len(records), bool)
        findings = list(records.findings)
        for row in range(len(records)):
            raw = records.raw(row)
            if not raw.strip():
                continue
            value, problem = _parsed(raw)
            if value is None:
                remedy = "Write one JSON object per line, without NaN, Infinity or repeated keys."
                shown = raw[:60].decode("utf-8", "backslashreplace")
                findings.append(Finding(int(records.places[row]), raw, problem, remedy, value=shown))
                continue
            keep[row] = True
            for name, column in columns.items():
                column.append(_as_text(value.get(name)))
        kept = records.keep(keep)
        frame = pl.DataFrame(columns, schema=dict.fromkeys(self.names, pl.String))
        return frame, Records(kept.data, kept.places, kept.quoted, tuple(findings))

    def _with_lists(self, typed: TypedCells, cells: pl.DataFrame, types: dict[str, pl.DataType]) -> TypedCells:
        """Add the list columns; a cell of another kind is a bad one."""
        frame, bad, defects = typed.frame, typed.bad, list(typed.defects)
        for name in sorted(self.lists):
            values, wrong = _as_lists(cells[name])
            remedy = "Write a list of texts or numbers, or null."
            rows = wrong.arg_true().to_list()
            defects += [Defect(row, name, cells[name][row], "the cell is not a list", remedy) for row in rows]
            bad |= wrong
            frame = frame.with_columns(_settled(values, types))
        return TypedCells(frame, bad, tuple(defects))


@reader
class JsonLinesReader:
    """Reads JSON Lines (also called NDJSON)."""

    name: ClassVar[str] = "jsonl"
    summary: ClassVar[str] = "JSON Lines (NDJSON), one object per line; gzipped or not"
    order: ClassVar[int] = 40
    takes: ClassVar[tuple[str, ...]] = ("encoding",)

    def sniff(self, path: Path) -> bool:
        """Recognise the endings, or a first line that is a JSON object."""
        if not path.is_file():
            return False
        if {".jsonl", ".ndjson"} & {suffix.lower() for suffix in path.suffixes[-2:]}:
            return True
        line = head(path).split(b"\n", 1)[0].strip()
        return line.startswith(b"{") and line.endswith(b"}")

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out one file as ``table``; the keys of the first block are its columns."""
        encoding = options.encoding or "utf-8"
        first = next(record_blocks(path, options, encoding=encoding), None)
        names, lists, reason = (
            _columns(first) if first is not None else ((), frozenset[str](), "there is no line in it")
        )
        if not names:
            problem = Problem(f"no line holds a JSON object: {reason}", "Is this the right format?", str(path))
            raise DataError(f"{path.name} cannot be read.", problems=[problem])
        return Layout({table: (_JsonLines(path, names, lists, options, encoding),)})


def _delicate(data: bytes) -> bool:
    """Say whether a text holds what the fast parser would change in silence."""
    if (b"\\" in data and _ESCAPED.search(data)) or (b'""' in data and _EMPTY_KEY.search(data)):
        return True
    # A run of 19 digits covers two neighbours of every ninth byte and all between them; look there first.
    sampled = np.frombuffer(data, np.uint8)[::9] - np.uint8(ord("0")) < 10
    starts = np.flatnonzero(sampled[1:] & sampled[:-1]) * 9
    return any(_LONG.search(data, max(start - 18, 0), start + 28) is not None for start in starts.tolist())


def _columns(records: Records) -> tuple[tuple[str, ...], frozenset[str], str]:
    """Return the keys of a block, those whose values are lists, and what is wrong with its first bad line."""
    if len(records) and not _delicate(records.data):
        try:
            found = pl.read_ndjson(io.BytesIO(records.data), infer_schema_length=None)
            # A text that begins like a list is one, or is a list beside texts: only a look at each line tells.
            if not any(column.str.starts_with("[").any() for column in found if column.dtype == pl.String):
                lists_ = frozenset(column.name for column in found if column.dtype == pl.List)
                return tuple(found.columns), lists_, ""
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            pass  # some line is wrong, or kinds of values are mixed
    names: dict[str, None] = {}
    lists: set[str] = set()
    reason = "there is no line in it"
    for row in range(len(records)):
        value, fault = _parsed(records.raw(row))
        reason = fault if not names and fault else reason
        names.update(dict.fromkeys(value or ()))
        lists.update(key for key, entry in (value or {}).items() if isinstance(entry, list))
    return tuple(names), frozenset(lists), reason


class _Object(dict[str, Any]):
    """An object that remembers whether a key stood in it twice."""

    repeated = False


def _parsed(raw: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the object of one line, or ``None`` and the reason."""
    try:
        value = json.loads(raw, object_pairs_hook=_object, parse_constant=_refuse)
        if not isinstance(value, _Object):
            return None, "the line is not a JSON object"
        _spelt(value).encode("utf-8")
    except RecursionError:
        return None, "the line is nested too deeply"
    except UnicodeEncodeError:
        return None, "the line holds half a character (a lone surrogate)"
    except json.JSONDecodeError as error:
        return None, f"the line is not JSON: {error.msg.removesuffix(' at')} at character {error.colno}"
    except (ValueError, ArithmeticError) as error:
        return None, f"the line is not JSON: {error}"
    return (None, "a key stands twice") if value.repeated else (value, "")


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    value = _Object(pairs)
    value.repeated = len(value) < len(pairs)
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _spelt(value)


def _spelt(value: Any) -> str:
    """Spell a value as the vectorised parser does: numbers without exponent, whole ones without a fraction."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_spelt(key)}: {_spelt(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelt, value)) + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is too large for floating point")
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return json.dumps(value, ensure_ascii=False)


def _as_lists(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the lists as texts, and where a cell is not a list."""
    wrong = ~text.str.starts_with("[").fill_null(True)
    try:
        values = text.set(wrong, None).str.json_decode(pl.List(pl.String))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        decoded: list[list[str | None] | None] = []
        for cell, bad in zip(text.to_list(), wrong.to_list(), strict=True):
            entries = None if cell is None or bad else _list_of(cell)
            wrong[len(decoded)] = bad or (cell is not None and entries is None)
            decoded.append(entries)
        values = pl.Series(text.name, decoded, dtype=pl.List(pl.String))
    return values, wrong


def _list_of(cell: str) -> list[str | None] | None:
    try:
        entries = json.loads(cell)
    except ValueError:
        return None
    return [_as_text(entry) for entry in entries] if isinstance(entries, list) else None


def _settled(lists: pl.Series, types: dict[str, pl.DataType]) -> pl.Series:
    """Make lists of whole numbers when all entries are; start over as texts when a later one is not."""
    known = types.get(lists.name)
    if known == pl.List(pl.String):
        return lists
    whole = lists.cast(pl.List(pl.Int64), strict=False)
    exact = (whole.cast(pl.List(pl.String)) == lists).fill_null(True).all()
    if known is None:
        types[lists.name] = pl.List(pl.Int64()) if exact else pl.List(pl.String())
    elif not exact:
        raise WidenError({lists.name: pl.List(pl.String())})
    return whole if exact else lists
