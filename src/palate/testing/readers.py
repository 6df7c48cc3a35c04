"""The laws of a reader of files: it knows its own, tells what it cannot read, and loses nothing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palate.data.dataset import Dataset
from palate.data.opening import open_dataset
from palate.data.readers.contract import KINDS, Batch, Kind, Reader, ReadOptions, Source, WidenError, readers
from palate.data.readers.contract import reader_for as find_reader
from palate.data.schema import Role
from palate.errors import PalateError
from palate.testing.battery import Battery, BatteryReport

__all__ = ["READER_LAWS", "check_dataset_reader"]


@dataclass(frozen=True)
class ReaderCase:
    """What the laws run on: the reader, a way to write a good file, and the roles of its columns."""

    reader: Reader
    write: Callable[[Path], Path]
    roles: Mapping[str, Any]

    def open(self, path: Path) -> Dataset:
        """Open ``path`` as this format."""
        return open_dataset(path, format=self.reader.name, **self.roles)

    def hostile(self, change: Callable[[bytes], bytes]) -> None:
        """Spoil a good file and demand one clear error or a data set, never a fault of another kind."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.write(Path(folder))
            spoiled = path if path.is_file() else max(path.iterdir(), key=lambda file: file.stat().st_size)
            spoiled.write_bytes(change(spoiled.read_bytes()))
            with contextlib.suppress(PalateError):
                len(self.open(path).interactions)


READER_LAWS = Battery[ReaderCase]("dataset reader")


def check_dataset_reader(name: str, write: Callable[[Path], Path], **roles: Any) -> BatteryReport:
    r"""Run the laws of a registered reader; raise with all that are broken.

    Args:
        name: The reader's ``name``.
        write: Writes a good file (or folder) of the format below the given folder and returns its path.
        **roles: Roles of the columns, for formats that do not say them.

    Example:
        >>> def write(folder):
        ...     path = folder / "log.csv"
        ...     _ = path.write_text("user,item\nann,1\nbo,2\n")
        ...     return path
        >>> print(check_dataset_reader("csv", write))
        csv: 6 of 6 laws hold, 0 broken
    """
    return READER_LAWS.require(ReaderCase(find_reader(Path(), name), write, roles), name)


@READER_LAWS.law
def it_recognises_its_own_and_never_raises_on_others(case: ReaderCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert case.reader.sniff(case.write(Path(folder))), "its own file is not recognised"
        for name, content in (("garbage.bin", bytes(range(256)) * 8), ("empty", b"")):
            other = Path(folder) / f"other-{name}"
            other.write_bytes(content)
            assert case.reader.sniff(other) in (True, False)
        assert not case.reader.sniff(Path(folder) / "nothing here")


@READER_LAWS.law
def it_is_described_and_found_by_name(case: ReaderCase) -> None:
    assert case.reader.summary
    assert case.reader.name in [known.name for known in readers()]


@READER_LAWS.law
def reading_twice_gives_the_same(case: ReaderCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = case.write(Path(folder))
        first, second = case.open(path), case.open(path)
        assert len(first) > 0
        assert first.fingerprint == second.fingerprint


@READER_LAWS.law
def the_size_of_blocks_changes_nothing(case: ReaderCase) -> None:
    def rows(block_size: int) -> list[Any]:
        layout = case.reader.read(path, "interactions", ReadOptions(block_size=block_size))
        source = layout.sources["interactions"][0]
        roles: dict[str, Any] = {**layout.roles, **case.roles}
        named = {str(roles[role.value]): KINDS[role] for role in (Role.USER, Role.ITEM, Role.TIME) if roles.get(role)}
        kinds = {name: named.get(name, Kind.ANY) for name in source.names}
        batches = _settled(source, kinds)
        places = np.concatenate([batch.places for batch in batches])
        assert (np.diff(places) >= 0).all(), "rows do not come in the order of the file"
        return [row for batch in batches for row in batch.frame.rows()]

    with tempfile.TemporaryDirectory() as folder:
        path = case.write(Path(folder))
        assert rows(1 << 23) == rows(16)


def _settled(source: Source, kinds: Mapping[str, Kind]) -> list[Batch]:
    """Return all batches, starting over when a later cell needs a wider type."""
    types: dict[str, Any] = {}
    while True:
        try:
            return list(source.batches(kinds, types))
        except WidenError as wider:
            types = wider.types


@READER_LAWS.law
def a_spoiled_file_gives_one_clear_error_or_a_defined_result(case: ReaderCase) -> None:
    case.hostile(lambda content: b"")
    case.hostile(lambda content: content[: len(content) // 2])
    case.hostile(lambda content: bytes(range(256)) * 4)
    case.hostile(lambda content: content.replace(b"1", b"\x00"))
    case.hostile(lambda content: content + b"\xff\xfe\x00 1 2")
    case.hostile(lambda content: b"\xef\xbb\xbf" + content)


@READER_LAWS.law
def what_is_not_there_is_said_so(case: ReaderCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        message = ""
        try:
            case.open(Path(folder) / "missing.file")
        except PalateError as error:
            message = str(error)
        assert "missing.file" in message
