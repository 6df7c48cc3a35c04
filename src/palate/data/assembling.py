"""Files and tables, in any mixture, into one data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from palate.data.dataset import Dataset
from palate.data.intake import Intake, MemorySink, names_of
from palate.data.readers.contract import Layout, Reader, ReadOptions, Source, reader_for
from palate.data.rejects import Rejects
from palate.data.roles import RoleArguments, merge_roles, schema_from_roles
from palate.data.schema import Role, Table
from palate.data.tables import as_lazy_frame, split_lists
from palate.data.times import in_unit
from palate.errors import ConfigError, DataError

__all__ = ["Parts", "assemble", "gather", "refuse_empty"]

_IN_FOLDERS = (
    "*.parquet",
    "*.csv",
    "*.csv.gz",
    "*.tsv",
    "*.tsv.gz",
    "*.jsonl",
    "*.jsonl.gz",
    "*.ndjson",
    "*.ndjson.gz",
)
_SMALL: tuple[Table, ...] = ("items", "users")


@dataclass(frozen=True)
class Parts:
    """What a caller gave, laid out: sources from files, frames from tables, and what the formats say of roles."""

    sources: dict[Table, tuple[Source, ...]] = field(default_factory=dict)
    frames: dict[Table, pl.LazyFrame] = field(default_factory=dict)
    roles: RoleArguments = field(default_factory=lambda: RoleArguments())
    facts: dict[str, Any] = field(default_factory=dict)
    lazy: bool = False

    def names(self) -> dict[Table, Sequence[str]]:
        """Return the column names of each table."""
        names: dict[Table, Sequence[str]] = {table: names_of(table, sources) for table, sources in self.sources.items()}
        return names | {table: frame.collect_schema().names() for table, frame in self.frames.items()}


def gather(given: Mapping[Table, Any], *, options: ReadOptions, format: str | None = None) -> Parts:
    """Lay out files and tables.

    Args:
        given: By table a frame, a path, or several paths; a path may bring other tables along (a MovieLens folder
            brings its catalogue), which yield to those that are given.
        options: How to read files.
        format: Name of a reader; by default each file is recognised.

    Raises:
        DataError: If a file does not exist or is not recognised.
        SchemaError: If a value is neither a table nor a path.
    """
    parts = Parts(lazy=isinstance(given.get("interactions"), pl.LazyFrame))
    brought: dict[Table, tuple[Source, ...]] = {}
    for table, value in given.items():
        if value is None:
            continue
        paths = _paths(value)
        if paths is None:
            parts.frames[table] = as_lazy_frame(value, table)
            continue
        if not paths:
            raise DataError(f"No file matches {value}.", remedy="Check the pattern.")
        layouts = [_layout(path, table, options, format) for path in paths]
        parts.sources[table] = tuple(source for layout in layouts for source in layout.sources.get(table, ()))
        for layout in layouts:
            brought |= {other: found for other, found in layout.sources.items() if other != table}
            parts.facts.update(layout.facts)
            parts.roles.update(layout.roles if table == "interactions" else {})
    parts.sources.update({t: found for t, found in brought.items() if t not in parts.sources and t not in parts.frames})
    return parts


def assemble(
    parts: Parts,
    roles: RoleArguments,
    *,
    name: str,
    facts: Mapping[str, Any] | None = None,
    reject_to: str | Path | None = None,
) -> Dataset:
    """Make a data set in memory of laid-out parts; tables that came as lazy frames stay lazy.

    Raises:
        ConfigError: If a role is misspelt.
        SchemaError: If a role names a column that does not exist.
        DataError: If rows of a file cannot be used; all of them are listed.
    """
    declared = merge_roles(parts.roles, roles)
    schema = schema_from_roles(declared, parts.names())
    frames = {table: split_lists(frame, schema.columns(table)) for table, frame in parts.frames.items()}
    if "interactions" in frames and schema.has("interactions", Role.TIME):
        column = schema.name_of("interactions", Role.TIME)
        frames["interactions"] = in_unit(frames["interactions"], column, declared.time_unit)
    read: dict[Table, pl.DataFrame] = {}
    with Rejects(reject_to) as rejects:
        sinks = {table: MemorySink() for table in parts.sources}
        intakes = []
        for table, sources in parts.sources.items():
            intakes.append(Intake(table, schema, time_unit=declared.time_unit, rejects=rejects))
            intakes[-1].run(sources, sinks[table])
        rejects.raise_if_any()
        refuse_empty(intakes, parts)
        read = {table: sink.frame() for table, sink in sinks.items()}
    log = read["interactions"] if "interactions" in read else frames["interactions"]
    if "interactions" in parts.frames and not parts.lazy:
        log = log.lazy().collect()
    small = {table: read[table] if table in read else _collected(frames.get(table)) for table in _SMALL}
    known = {**parts.facts, **(facts or {})}
    return Dataset(schema, log, small["items"], small["users"], name=name, facts=known)


def refuse_empty(intakes: Iterable[Intake], parts: Parts) -> None:
    """Refuse tables that ended without a row.

    Raises:
        DataError: If there is one.
    """
    for intake in intakes:
        if not intake.rows_kept:
            files = ", ".join(source.file.name for source in parts.sources[intake.table])
            found = "no row could be used" if intake.rows_read else "there are no rows"
            raise DataError(f"{files}: {found}.", remedy=f"The table {intake.table} needs at least one row.")


def _collected(frame: pl.LazyFrame | None) -> pl.DataFrame | None:
    return None if frame is None else frame.collect()


def _paths(value: Any) -> list[Path] | None:
    """Return the paths that ``value`` names, or ``None`` when it is a table."""
    if isinstance(value, str | Path):
        path = Path(value)
        pattern = not path.exists() and any(mark in path.name for mark in "*?[")
        return sorted(path.parent.glob(path.name)) if pattern else [path]
    if isinstance(value, list | tuple) and value and all(isinstance(entry, str | Path) for entry in value):
        return [Path(entry) for entry in value]
    return None


def _read(known: Reader, path: Path, table: Table, options: ReadOptions) -> Layout:
    for name, value in options.chosen().items():
        if name not in known.takes:
            raise ConfigError(
                f"{name}={value!r} means nothing to the format {known.name} of {path}.",
                remedy=f"Leave it out, or pass format= if {path.name} is not {known.name}.",
            )
    return known.read(path, table, options)


def _layout(path: Path, table: Table, options: ReadOptions, format: str | None) -> Layout:
    if path.is_dir():
        known = None if format is None else reader_for(path, format)
        if known is None or not known.sniff(path):
            files = sorted({file for pattern in _IN_FOLDERS for file in path.glob(pattern) if file.is_file()})
            try:
                known = known if known is not None and not files else reader_for(path)
            except DataError:
                if not files:
                    raise
                layouts = [_read(reader_for(file, format), file, table, options) for file in files]
                return Layout({table: tuple(source for layout in layouts for source in layout.sources[table])})
        return _read(known, path, table, options)
    return _read(reader_for(path, format), path, table, options)
