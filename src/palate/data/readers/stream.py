"""Bytes of a file, plain or gzipped, in pieces; whatever is wrong with the file as such is one DataError."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from palate.errors import DataError, Problem, UnknownNameError

__all__ = ["first_lines", "head", "pieces"]

_GZIP = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def pieces(path: Path, *, encoding: str = "utf-8", size: int = 1 << 23) -> Iterator[bytes]:
    """Return the bytes of ``path`` as UTF-8, ``size`` at a time, without a byte order mark.

    A UTF-8 file passes through unchecked: who cuts it into rows can say which row is wrong. Other encodings are
    translated here.

    Raises:
        DataError: If the file does not exist, is a folder, is cut short, or is not of the declared encoding.
        UnknownNameError: If there is no such encoding.
    """
    try:
        canonical = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        known = ("utf-8", "latin-1", "cp1252", "utf-16", "ascii", "gb18030", "shift-jis")
        raise UnknownNameError.among("text encoding", encoding, known) from None
    raw = _raw_pieces(path, size)
    if canonical not in ("utf-8", "utf-8-sig", "ascii"):
        yield from _translated(path, raw, encoding)
        return
    first = next(raw, b"")
    while len(first) < len(_UTF8_MARK) and (more := next(raw, b"")):
        first += more
    if first.startswith(_UTF16_MARKS):
        raise _file_error(path, "the text is UTF-16, not UTF-8", 'Pass encoding="utf-16".')
    yield first.removeprefix(_UTF8_MARK)
    yield from raw


def head(path: Path, size: int = 1 << 16) -> bytes:
    """Return the first bytes of a file (unzipped), or nothing at all when it cannot be read; for sniffing."""
    try:
        return next(_raw_pieces(path, size), b"").removeprefix(_UTF8_MARK)
    except DataError:
        return b""


def first_lines(path: Path, count: int, *, encoding: str = "utf-8") -> list[str]:
    """Return up to ``count`` first whole lines of a text, or none when it does not look like text; for sniffing."""
    start = head(path)
    try:
        text = start.decode(encoding)
    except UnicodeDecodeError as error:
        # The cut may have split the last character; anything earlier means that this is no text.
        if error.start < len(start) - 4:
            return []
        text = start[: error.start].decode(encoding)
    except (LookupError, ValueError):
        return []
    if "\x00" in text:
        return []
    lines = text.split("\n")
    whole = lines if len(start) < 1 << 16 else lines[:-1]
    return [line.removesuffix("\r") for line in whole[:count]]


def _raw_pieces(path: Path, size: int) -> Iterator[bytes]:
    try:
        with _open(path) as stream:
            while piece := stream.read(size):
                yield piece
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", remedy="Check the path.") from None
    except IsADirectoryError:
        raise _file_error(path, "this is a folder, not a file", "Name a file in it.") from None
    except EOFError:
        raise _file_error(path, "the compressed file is cut short", "Fetch or copy it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _file_error(path, f"the compressed file is damaged: {error}", "Fetch or copy it again.") from None
    except (OSError, ValueError) as error:
        raise _file_error(path, f"the file cannot be read: {error}", "Check the file and its rights.") from None


def _open(path: Path) -> IO[bytes]:
    if not path.is_file() and path.exists() and not path.is_dir():
        raise OSError("it is not an ordinary file")
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP
    return cast("IO[bytes]", gzip.open(path, "rb")) if zipped else path.open("rb")


def _translated(path: Path, raw: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    lines = 1
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
        for piece in raw:
            text = decoder.decode(piece)
            lines += text.count("\n")
            yield text.encode("utf-8")
        yield decoder.decode(b"", final=True).encode("utf-8")
    except (UnicodeError, LookupError, TypeError) as error:
        reason = getattr(error, "reason", error)
        message = f"the text is not {encoding}: {reason}"
        raise _file_error(path, message, "Pass the right encoding=.", row=lines) from None


def _file_error(path: Path, problem: str, remedy: str, row: int | None = None) -> DataError:
    found = Problem(problem, remedy, file=str(path), row=row)
    return DataError(f"{path.name} cannot be read.", problems=[found])
