"""RecBole atomic files: tab-separated, with a type behind each column name (``user_id:token``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from palate.data.readers.contract import Kind, Layout, ReadOptions, reader
from palate.data.readers.delimited import Delimited, header_of
from palate.data.readers.stream import first_lines
from palate.data.roles import RoleArguments
from palate.data.schema import Table
from palate.errors import DataError, Problem, suggest

__all__ = ["RecBoleReader"]

_TABLES: Mapping[str, Table] = {".inter": "interactions", ".item": "items", ".user": "users"}
_TYPES = ("token", "float", "token_seq", "float_seq")
_USER, _ITEM, _TIME, _LABEL = "user_id", "item_id", "timestamp", "label"
_KEYS: Mapping[Table, tuple[str, ...]] = {"interactions": (_USER, _ITEM), "items": (_ITEM,), "users": (_USER,)}


@reader
class RecBoleReader:
    """Reads ``NAME.inter`` with ``NAME.item`` and ``NAME.user`` beside it, or one of them alone.

    ``token`` columns become categories, ``float`` columns numbers, and both ``_seq`` types lists. ``user_id``,
    ``item_id``, ``timestamp`` and ``label`` play the roles that RecBole gives them; a column ``rating`` becomes a
    label only by a rule that you pass, for example ``label="rating >= 4"``.
    """

    name: ClassVar[str] = "recbole"
    summary: ClassVar[str] = "RecBole atomic files (.inter, .item, .user)"
    order: ClassVar[int] = 20
    takes: ClassVar[tuple[str, ...]] = ("encoding", "separator")

    def sniff(self, path: Path) -> bool:
        """Recognise a folder with one ``.inter`` file, or the typed header."""
        if path.is_dir():
            return len(list(path.glob("*.inter"))) == 1
        if not path.is_file() or path.suffix not in _TABLES:
            return False
        header = next(iter(first_lines(path, 1)), "")
        return bool(header) and all(cell.rpartition(":")[2] in _TYPES for cell in header.split("\t"))

    def read(self, path: Path, table: Table, options: ReadOptions) -> Layout:
        """Lay out the folder of ``.inter``, or one file."""
        files = self._files(path, table)
        sources, columns = {}, {}
        for part, file in files.items():
            source, columns[part] = _source(file, options)
            sources[part] = (source,)
        return Layout(sources, _roles(columns))

    def _files(self, path: Path, table: Table) -> dict[Table, Path]:
        if path.is_file():
            return {_TABLES.get(path.suffix, table): path}
        logs = sorted(path.glob("*.inter"))
        if len(logs) != 1:
            raise DataError(
                f"{path} holds {len(logs)} .inter files.", remedy="Name a folder with exactly one, or the file itself."
            )
        beside = {part: logs[0].with_suffix(ending) for ending, part in _TABLES.items()}
        return {part: file for part, file in beside.items() if file.is_file()}


def _source(file: Path, options: ReadOptions) -> tuple[Delimited, dict[str, str]]:
    encoding = options.encoding or "utf-8"
    separator = options.separator or "\t"
    cells = header_of(file, options, separator=separator, encoding=encoding, quoting=False)
    pairs = [cell.rpartition(":") for cell in cells]
    problems = [
        Problem(f'"{cell}" is not a typed column name', f"Write NAME:TYPE. {suggest(kind, _TYPES)}", str(file), 1)
        for cell, (name, _, kind) in zip(cells, pairs, strict=True)
        if kind not in _TYPES or not name
    ]
    if problems:
        raise DataError(f"The header of {file.name} is not RecBole's.", problems=problems)
    columns = {name: kind for name, _, kind in pairs}
    if len(columns) < len(cells):
        found = Problem("a column name stands twice", "Rename one of them.", str(file), 1)
        raise DataError(f"The header of {file.name} cannot be used.", problems=[found])
    kinds = {name: Kind.NUMBER for name, kind in columns.items() if kind == "float" and name != _TIME}
    source = Delimited(file, tuple(columns), separator, options, encoding=encoding, quoting=False, kinds=kinds)
    return source, columns


def _roles(columns: Mapping[Table, Mapping[str, str]]) -> RoleArguments:
    log = columns.get("interactions", {})
    roles = RoleArguments(
        user=_USER if _USER in log else None,
        item=_ITEM if _ITEM in log else None,
        time=_TIME if _TIME in log else None,
        label=_LABEL if _LABEL in log else None,
        categorical=_named(columns, "token"),
        numeric=_named(columns, "float", leave=("rating",)),
        lists=dict.fromkeys([*_named(columns, "token_seq"), *_named(columns, "float_seq")], " "),
    )
    for key, table, argument in ((_ITEM, "items", "item_key"), (_USER, "users", "user_key")):
        if key in columns.get("items" if table == "items" else "users", {}) and key not in log:
            roles["item_key" if argument == "item_key" else "user_key"] = key
    return roles


def _named(columns: Mapping[Table, Mapping[str, str]], kind: str, leave: tuple[str, ...] = ()) -> list[str]:
    """Return the columns of a type, with their table in front, without those that have a role by name.

    A rating is what the model is to foresee: as an input it would give the answer away.
    """
    return [
        f"{table}.{name}"
        for table, types in columns.items()
        for name, type_ in types.items()
        if type_ == kind
        and name not in _KEYS[table]
        and not (table == "interactions" and name in (_TIME, _LABEL, *leave))
    ]
