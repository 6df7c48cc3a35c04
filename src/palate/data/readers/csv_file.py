"""CSV and its relatives: a header, one row per line, cells between commas, tabs, semicolons or bars."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from palate.data.readers.contract import Layout, ReadOptions, reader
from palate.data.readers.delimited import Delimited, header_of
from palate.data.readers.stream import first_lines
from palate.data.schema import Table
from palate.errors import ConfigError

__all__ = ["CsvReader"]

_SEPARATORS = (",", "\t", ";", "|")


@reader
class CsvReader:
    """Reads RFC 4180 text with a header: quoted cells may hold separators, line ends and doubled quotes."""

    name: ClassVar[str] = "csv"
    summary: ClassVar[str] = "CSV, TSV and relatives with a header; gzipped or not"
    order: ClassVar[int] = 80
    takes: ClassVar[tuple[str, ...]] = ("encoding", "separator", "quoting")

    def sniff(self, path: Path) -> bool:
        """Recognise the endings ``.csv`` and ``.tsv``, and any text whose lines have equally many separators."""
        if not path.is_file():
            return False
        if {".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes[-2:]}:
            return True
        lines = [line for line in first_lines(path, 5) if line]
        return len(lines) > 1 and any(
            lines[0].count(mark) and len({line.count(mark) for line in lines}) == 1 for mark in _SEPARATORS
        )

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out one file as ``table``."""
        encoding = options.encoding or "utf-8"
        separator = options.separator or _separator(path, encoding)
        if len(separator) != 1 or separator in '"\r\n' or not separator.isascii():
            raise ConfigError(
                f"separator={separator!r} cannot separate cells.", remedy='Use one character such as "," or "\\t".'
            )
        names = header_of(path, options, separator=separator, encoding=encoding, quoting=options.quoting)
        source = Delimited(path, names, separator, options, encoding=encoding, quoting=options.quoting)
        return Layout({table: (source,)})


def _separator(path: Path, encoding: str) -> str:
    """Return the separator that is most frequent in the header; the ending decides when none occurs."""
    if ".tsv" in {suffix.lower() for suffix in path.suffixes}:
        return "\t"
    header = next(iter(first_lines(path, 1, encoding=encoding)), "")
    return max(_SEPARATORS, key=header.count)
