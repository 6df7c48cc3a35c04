"""What a reader promises, and the few types that travel between a file and a table.

A reader looks at a path (``sniff``), and lays out what is there (``read``): per table one or more *sources*, the
roles that the format itself gives to columns, and facts. It does not bring rows. A source does, as batches of typed
columns in bounded memory, and it hands out the rows that it could not read instead of dropping or mending them.

Adding a format is one file in this folder: a class with the four members below, under :func:`reader`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import polars as pl
from pydantic import Field

from palate.config import Config
from palate.data.roles import RoleArguments
from palate.data.schema import Role, Table
from palate.errors import DataError, UnknownNameError

__all__ = [
    "KINDS",
    "Batch",
    "Finding",
    "Kind",
    "Layout",
    "ReadOptions",
    "Reader",
    "Source",
    "WidenError",
    "reader",
    "reader_for",
    "readers",
]

IntArray = np.ndarray[Any, np.dtype[np.int64]]


class Kind(StrEnum):
    """How the text of a cell is to be understood."""

    ID = "id"  # whole numbers when all are, otherwise text; never fractions; "NaN" is no id
    NUMBER = "number"
    TIME = "time"  # seconds, or a date and time in ISO form
    CATEGORY = "category"  # as an id, but anything goes
    TEXT = "text"
    ANY = "any"  # whole numbers, else fractions, else text: whatever holds all cells without loss


KINDS: Mapping[Role, Kind] = {
    Role.USER: Kind.ID,
    Role.ITEM: Kind.ID,
    Role.TIME: Kind.TIME,
    Role.LABEL: Kind.NUMBER,
    Role.WEIGHT: Kind.NUMBER,
    Role.NUMERIC: Kind.NUMBER,
    Role.CATEGORICAL: Kind.CATEGORY,
    Role.SPLIT: Kind.CATEGORY,
    Role.LIST: Kind.TEXT,
    Role.TEXT: Kind.TEXT,
    Role.TITLE: Kind.TEXT,
    Role.IMAGE: Kind.TEXT,
    Role.AUDIO: Kind.TEXT,
    Role.IGNORE: Kind.ANY,
}


class ReadOptions(Config):
    """What a caller may say about a file beyond its columns.

    Attributes:
        encoding: Text encoding; by default what the format prescribes (UTF-8 for most).
        separator: What separates cells of a delimited file; by default found from the first line.
        quoting: Whether ``"`` quotes cells of a delimited file.
        block_size: Bytes that are read at a time.
        max_record: Bytes that one row may have.
    """

    encoding: str | None = None
    separator: str | None = None
    quoting: bool = True
    block_size: int = Field(1 << 23, ge=1)
    max_record: int = Field(1 << 24, ge=1)

    def chosen(self) -> dict[str, object]:
        """Return what the caller chose among the settings that not every format has."""
        chosen = {"encoding": self.encoding, "separator": self.separator, "quoting": None if self.quoting else False}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect of one row of a file, with the row as it stood there."""

    row: int
    raw: bytes
    problem: str
    remedy: str
    column: str = ""
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Typed rows of a file, where each stood, and the rows that could not be typed.

    Attributes:
        frame: The good rows.
        places: int64 ``[N]``, the line (or record index) of each good row.
        raw: Gives a good row back as it stood in the file.
        findings: What is wrong with the other rows.
        bad_rows: How many other rows there are.
    """

    frame: pl.DataFrame
    places: IntArray
    raw: Callable[[int], bytes]
    findings: tuple[Finding, ...] = ()
    bad_rows: int = 0


class WidenError(Exception):
    """A cell does not fit the type that the cells before suggested; reading starts over with these types."""

    def __init__(self, types: Mapping[str, pl.DataType]) -> None:
        self.types = dict(types)
        super().__init__(f"wider types are needed: {self.types}")


class Source(Protocol):
    """One file that holds rows of one table."""

    @property
    def file(self) -> Path:
        """Where the rows are."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        ...

    @property
    def row_kind(self) -> str:
        """``line`` where an editor can go to the row, ``row`` (from 0) where not."""
        ...

    def batches(self, kinds: Mapping[str, Kind], types: dict[str, pl.DataType]) -> Iterator[Batch]:
        """Return the rows, oldest line first.

        Args:
            kinds: How to understand each column.
            types: Types settled so far; the source adds those that it settles.

        Raises:
            WidenError: If a type settled earlier cannot hold a cell; the caller starts over.
            DataError: If the file as such cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """What a path holds: sources by table, the roles that the format gives, and facts about the data."""

    sources: Mapping[Table, tuple[Source, ...]]
    roles: RoleArguments = field(default_factory=lambda: RoleArguments())
    facts: Mapping[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """Knows one format.

    Attributes:
        name: What ``format=`` takes.
        summary: The format in one line.
        order: Readers are asked from the smallest on, so a particular format comes before a general one.
        takes: Which of ``encoding``, ``separator`` and ``quoting`` a caller may choose.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    order: ClassVar[int]
    takes: ClassVar[tuple[str, ...]]

    def sniff(self, path: Path) -> bool:
        """Say whether ``path`` has this format, from its name and first bytes; never raises."""
        ...

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out what ``path`` holds; a format that does not say which table it is holds ``table``.

        Raises:
            DataError: If the path cannot be read as this format.
        """
        ...


_readers: dict[str, Reader] = {}
R = TypeVar("R", bound=type[Any])


def reader(kind: R) -> R:
    """Register a reader class under its ``name``."""
    _readers[kind.name] = kind()
    return kind


def readers() -> list[Reader]:
    """Return all readers, the most particular first (that is how a format is found)."""
    package = importlib.import_module("palate.data.readers")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_readers.values(), key=lambda known: (known.order, known.name))


def reader_for(path: Path, format: str | None = None) -> Reader:
    """Return the reader called ``format``, or the first that recognises ``path``.

    Raises:
        UnknownNameError: If no reader has that name.
        DataError: If the path does not exist, or no reader recognises it.
    """
    known = {each.name: each for each in readers()}
    if format is not None:
        if format not in known:
            raise UnknownNameError.among("format", format, known)
        return known[format]
    if not path.exists():
        raise DataError(f"{path} does not exist.", remedy="Check the path.")
    for each in known.values():
        if each.sniff(path):
            return each
    raise DataError(
        f"The format of {path} is not recognised.",
        remedy=f"Pass format= one of {', '.join(known)}; or open the file with another tool first and pass the table.",
    )
