"""Criteo display advertising: a label, 13 counts and 26 hashed categories between tabs, without a header."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from palate.data.readers.contract import Kind, Layout, ReadOptions, reader
from palate.data.readers.delimited import Delimited
from palate.data.readers.stream import first_lines
from palate.data.roles import RoleArguments
from palate.data.schema import Table

__all__ = ["CriteoReader"]

_COUNTS = tuple(f"I{i}" for i in range(1, 14))
_HASHES = tuple(f"C{i}" for i in range(1, 27))


@reader
class CriteoReader:
    """Reads the training file of the display advertising challenge, whole or a sample, gzipped or not.

    Counts may be missing or negative and stay numbers; how a model buckets them is its own decision.
    """

    name: ClassVar[str] = "criteo"
    summary: ClassVar[str] = "Criteo display advertising TSV: label, 13 counts, 26 hashed categories"
    order: ClassVar[int] = 30
    takes: ClassVar[tuple[str, ...]] = ("encoding", "separator")

    def sniff(self, path: Path) -> bool:
        """Recognise 40 cells, the first 0 or 1, counts next, then eight hexadecimal digits."""
        if not path.is_file():
            return False
        cells = next(iter(first_lines(path, 1)), "").split("\t")
        counts = all(re.fullmatch(r"(?:-?\d+)?", cell) for cell in cells[1:14])
        hashes = all(re.fullmatch(r"(?:[0-9a-f]{8})?", cell) for cell in cells[14:])
        return len(cells) == 40 and cells[0] in ("0", "1") and counts and hashes

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out one file as the log; rows have neither user nor item."""
        kinds = dict.fromkeys(_COUNTS, Kind.NUMBER) | dict.fromkeys(_HASHES, Kind.TEXT)
        names = ("label", *_COUNTS, *_HASHES)
        source = Delimited(
            path,
            names,
            options.separator or "\t",
            options,
            header=False,
            quoting=False,
            encoding=options.encoding or "utf-8",
            kinds=kinds,
        )
        roles = RoleArguments(user=None, item=None, label="label", numeric=_COUNTS, categorical=_HASHES)
        return Layout({table: (source,)}, roles)
