"""Rows of a text, cut exactly: quoted line ends, line numbers, and what cannot be a row, in bounded memory.

The ordinary block has no surprise, and is dealt with by a few vectorised scans. Quotes are handled by parity: a
line end or separator between an odd number of quotes belongs to a cell. Parity holds only while every opening quote
begins a cell and every closing one ends it; a block where that fails is cut record by record instead, so that one
stray quote costs one row and not the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from palate.data.readers.contract import Finding, ReadOptions
from palate.data.readers.stream import pieces
from palate.errors import DataError, Problem

__all__ = ["UNIT", "Records", "record_blocks"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
UNIT = b"\x1f"  # stands for a separator of several characters inside a block
_MARK = b"\xef\xbb\xbf"
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


@dataclass(frozen=True)
class Records:
    """Whole rows of a text: valid UTF-8, none empty, each ended by a line feed.

    Attributes:
        data: The rows one after the other.
        places: int64 ``[N]``, the line on which each row begins.
        quoted: Whether a quote occurs.
        findings: The rows that were set aside.
    """

    data: bytes
    places: IntArray
    quoted: bool = False
    findings: tuple[Finding, ...] = ()

    @cached_property
    def ends(self) -> IntArray:
        """int64 ``[N]``, where each row ends in ``data`` (behind its line feed)."""
        return _record_ends(self.data, self.quoted)

    def __len__(self) -> int:
        return len(self.places)

    def raw(self, row: int) -> bytes:
        """Return a row without its line end."""
        start = int(self.ends[row - 1]) if row else 0
        return self.data[start : int(self.ends[row])].removesuffix(b"\n").removesuffix(b"\r")

    def keep(self, rows: BoolArray) -> Records:
        """Return only the rows where the mask holds, without findings."""
        if rows.all():
            return Records(self.data, self.places, self.quoted)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
        ends = np.concatenate([[0], self.ends])
        data = b"".join(self.data[int(ends[a]) : int(ends[b])] for a, b in zip(edges[::2], edges[1::2], strict=True))
        return Records(data, self.places[rows], self.quoted and b'"' in data)


def record_blocks(
    path: Path,
    options: ReadOptions,
    *,
    encoding: str = "utf-8",
    separator: bytes | None = None,
    quoting: bool = False,
) -> Iterator[Records]:
    """Cut a text into blocks of whole rows.

    Args:
        path: A text file, gzipped or not.
        options: Size of a block and of a row.
        encoding: Encoding of the text; the rows come out in UTF-8.
        separator: One byte between cells; needed to judge quotes.
        quoting: Whether ``"`` quotes cells.

    Raises:
        DataError: If the file as such cannot be read, or a row is longer than ``options.max_record``.
    """
    carry, line = b"", 1
    cutter = _Cutter(path, (separator or b",") if quoting else None, options.max_record)
    source = pieces(path, encoding=encoding, size=options.block_size)
    last = False
    while not last:
        piece = next(source, None)
        last = piece is None
        buffer = carry + (piece or b"")
        if last and buffer and not buffer.endswith(b"\n"):
            buffer += b"\n"
        cut = buffer.rfind(b"\n") + 1
        block, carry = buffer[:cut], buffer[cut:]
        if len(carry) > options.max_record:
            raise cutter.too_long(line + block.count(b"\n"))
        if block:
            records, rest = cutter.cut(block, line, last=last)
            line += block.count(b"\n") - rest.count(b"\n")
            carry = rest + carry
            yield records


class _Cutter:
    """Cuts blocks that end in a line feed into rows."""

    def __init__(self, path: Path, separator: bytes | None, max_record: int) -> None:
        self.path = path
        self.separator = separator
        self.max_record = max_record
        if separator is not None:
            mark = re.escape(separator)
            cell = rb'(?>"(?>[^"]|"")*+"|(?!")[^"\n' + mark + rb"]*+)"
            self.record = re.compile(rb"(?>" + cell + mark + rb")*+" + cell + rb"\r?\n")
            self.opened = re.compile(rb"(?>" + cell + mark + rb')*+"(?>[^"]|"")*+\Z')

    def cut(self, block: bytes, line: int, *, last: bool) -> tuple[Records, bytes]:
        """Return the rows of ``block``, and the bytes of a row that is not complete yet."""
        quoted = self.separator is not None and b'"' in block
        if not quoted:
            return self._sound(block, np.arange(line, line + block.count(b"\n")), quoted=False), b""
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == _QUOTE)
        newlines = np.flatnonzero(data == _NEWLINE)
        if not self._well_quoted(data, quotes):
            return self._one_by_one(block, line, last=last)
        outside = np.searchsorted(quotes, newlines) % 2 == 0
        ends = newlines[outside] + 1
        cut = int(ends[-1]) if len(ends) else 0
        if cut < len(block) and (last or len(block) - cut > self.max_record):
            return self._one_by_one(block, line, last=last)
        before = np.concatenate([[0], np.searchsorted(newlines, ends[:-1])]) if len(ends) else ends
        return self._sound(block[:cut], line + before, quoted=True), block[cut:]

    def _well_quoted(self, data: np.ndarray[Any, np.dtype[np.uint8]], quotes: IntArray) -> bool:
        """Say whether each opening quote begins a cell and each closing quote ends one."""
        separator = (self.separator or b",")[0]
        opening, closing = quotes[::2], quotes[1::2]
        before = data[np.maximum(opening - 1, 0)]
        begins = (opening == 0) | (before == separator) | (before == _NEWLINE)
        begins[1:] |= opening[1:] == closing[: len(opening) - 1] + 1  # a doubled quote inside a cell
        after = data[np.minimum(closing + 1, len(data) - 1)]
        stops = (after == separator) | (after == _NEWLINE) | (after == _QUOTE)
        crlf = (after == _RETURN) & (data[np.minimum(closing + 2, len(data) - 1)] == _NEWLINE)
        return bool(begins.all() and (stops | crlf).all())

    def _one_by_one(self, block: bytes, line: int, *, last: bool) -> tuple[Records, bytes]:
        """Cut a block with stray quotes: good rows are kept, a bad one ends with its line."""
        good, places, findings, place = [], [], [], 0
        while place < len(block):
            match = self.record.match(block, place)
            if match is not None and match.end() - place <= self.max_record:
                good.append(match.group())
                places.append(line)
                end = match.end()
            elif not last and len(block) - place <= self.max_record and self.opened.match(block, place):
                break
            else:
                end = block.index(b"\n", place) + 1
                findings.append(_bad_quote(line, block[place:end]))
            line += block.count(b"\n", place, end)
            place = end
        data = b"".join(good)
        sound = self._sound(data, np.array(places, np.int64), quoted=b'"' in data)
        return Records(sound.data, sound.places, sound.quoted, (*findings, *sound.findings)), block[place:]

    def _sound(self, data: bytes, places: IntArray, *, quoted: bool) -> Records:
        """Set aside rows that are not text; leave out empty lines."""
        records = Records(data, places.astype(np.int64, copy=False), quoted)
        wrong = _wrong_rows(records)
        findings = tuple(
            Finding(int(records.places[i]), records.raw(i), problem, remedy, value=_shown(records.raw(i)))
            for i, (problem, remedy) in sorted(wrong.items())
        )
        keep = ~_empty_rows(records)
        keep[list(wrong)] = False
        kept = records.keep(keep)
        return Records(kept.data, kept.places, kept.quoted, findings)

    def too_long(self, line: int) -> DataError:
        found = Problem(
            f"the row is longer than {self.max_record:,} bytes",
            "Is this the right format? Otherwise pass a larger max_record.",
            file=str(self.path),
            row=line,
        )
        return DataError(f"{self.path.name} cannot be read.", problems=[found])


def _record_ends(data: bytes, quoted: bool) -> IntArray:
    view = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(view == _NEWLINE)
    if quoted:
        newlines = newlines[np.searchsorted(np.flatnonzero(view == _QUOTE), newlines) % 2 == 0]
    return newlines.astype(np.int64, copy=False) + 1


def _wrong_rows(records: Records) -> dict[int, tuple[str, str]]:
    """Return what keeps rows from being text, by row: problem and remedy."""
    data = records.data
    view = np.frombuffer(data, np.uint8)
    wrong: dict[int, tuple[str, str]] = {}

    def rows(places: IntArray) -> list[int]:
        found: list[int] = np.searchsorted(records.ends, places, side="right").tolist()
        return found

    if not data.isascii():
        reason = ("the row is not UTF-8", 'Pass encoding="latin-1" (or the right one), or mend the row.')
        wrong |= dict.fromkeys(_bad_text(records), reason)
    if data.count(b"\r") != data.count(b"\r\n"):
        returns = np.flatnonzero(view == _RETURN)
        alone = returns[view[returns + 1] != _NEWLINE]
        if records.quoted:
            alone = alone[np.searchsorted(np.flatnonzero(view == _QUOTE), alone) % 2 == 0]
        reason = ("a carriage return stands inside the row", "End lines with LF or CRLF, or quote the cell.")
        wrong |= dict.fromkeys(rows(alone), reason)
    if data.startswith(_MARK) or b"\n" + _MARK in data:
        reason = ("a byte order mark stands inside the file", "Files were joined end to end: remove it.")
        starts = np.concatenate([[0], records.ends[:-1]]).tolist()
        wrong |= {i: reason for i, start in enumerate(starts) if data.startswith(_MARK, start)}
    if b"\x00" in data:
        reason = ("the row holds a NUL byte", "The file is damaged or not text: mend or drop the row.")
        wrong |= dict.fromkeys(rows(np.flatnonzero(view == 0)), reason)
    return wrong


def _empty_rows(records: Records) -> BoolArray:
    data = records.data
    if not (b"\n\n" in data or b"\n\r\n" in data or data.startswith((b"\n", b"\r\n"))):
        return np.zeros(len(records), bool)
    starts = np.concatenate([[0], records.ends[:-1]])
    lengths = records.ends - starts
    first = np.frombuffer(data, np.uint8)[np.minimum(starts, len(data) - 1)]
    empty: BoolArray = (lengths == 1) | ((lengths == 2) & (first == _RETURN))
    return empty


def _bad_text(records: Records) -> list[int]:
    try:
        records.data.decode("utf-8")
    except UnicodeDecodeError:
        return [i for i in range(len(records)) if not _is_utf8(records.raw(i))]
    return []


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _bad_quote(line: int, raw: bytes) -> Finding:
    return Finding(
        line,
        raw.removesuffix(b"\n").removesuffix(b"\r"),
        "a quote stands inside an unquoted cell, or is never closed",
        "Quote the whole cell and double the quotes inside it, or pass quoting=False.",
        value=_shown(raw),
    )


def _shown(raw: bytes, limit: int = 60) -> str:
    text = raw[: 2 * limit].decode("utf-8", "backslashreplace").rstrip("\r\n")
    return text if len(text) <= limit else text[:limit] + "..."
