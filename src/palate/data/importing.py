"""From files of any size to a saved data set, in memory that does not grow with them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import polars as pl
import pyarrow.parquet as pq

from palate.data.assembling import Parts, gather, refuse_empty
from palate.data.fingerprint import content_digest
from palate.data.folder import DESCRIPTION, describe
from palate.data.intake import Intake, ParquetSink
from palate.data.readers.contract import ReadOptions
from palate.data.rejects import Rejects
from palate.data.roles import RoleArguments, Roles, merge_roles, schema_from_roles
from palate.data.schema import Schema, Table
from palate.data.tables import split_lists
from palate.errors import ConfigError, Problem
from palate.saving import writing_folder

__all__ = ["ImportReport", "import_files"]

_TABLES: tuple[Table, ...] = ("interactions", "items", "users")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        folder: The data set that was written.
        rows_read: Rows of the sources, by table.
        rows_kept: Rows that were written, by table.
        rows_rejected: Rows that were set aside.
        rejects: Where they are, or an empty text.
        problems: What is wrong with them.
        seconds: How long it took.
    """

    folder: str
    rows_read: dict[str, int]
    rows_kept: dict[str, int]
    rows_rejected: int
    rejects: str
    problems: tuple[Problem, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {table}" for table, count in self.rows_kept.items())
        aside = f"; {self.rows_rejected:,} rows set aside in {self.rejects}" if self.rows_rejected else ""
        return f"{self.folder}: {counts}{aside} ({self.seconds:.1f} s)"


def import_files(
    sources: str | Path | Sequence[str | Path],
    target_folder: str | Path,
    *,
    items: Any = None,
    users: Any = None,
    format: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    quoting: bool = True,
    max_record: int = 1 << 24,
    reject_to: str | Path | None = None,
    name: str | None = None,
    facts: dict[str, Any] | None = None,
    **roles: Unpack[RoleArguments],
) -> ImportReport:
    r"""Write files as a data set folder, block by block; memory is bounded by a block and a row group.

    Every row is checked on its way. Without ``reject_to`` a bad row makes the import fail, after the whole log was
    looked at, with all problems in one error and nothing written. With it, bad rows go to that file as they stood,
    and the import goes on. What needs the whole log at once (repeated rows, unknown ids) is for
    :func:`~palate.data.checks.check_dataset`.

    Args:
        sources: The log: a file, a folder, or files with the same columns.
        target_folder: The folder to write; replaced as a whole when everything went well.
        items: The catalogue: a file or a table.
        users: The table of users: a file or a table.
        format: Name of the format, when it is not recognised by itself.
        encoding: Text encoding, when it is not what the format prescribes.
        separator: Separator of a delimited file.
        quoting: Whether ``"`` quotes cells of a delimited file.
        max_record: Bytes that one row may have.
        reject_to: File that takes the rows that cannot be used (``.jsonl``: one object per row).
        name: Name of the data set; by default after the target.
        facts: ``licence``, ``source``, ``citation`` and the like.
        **roles: Which column is what, see :class:`~palate.data.roles.Roles`.

    Raises:
        ConfigError: If a role is misspelt.
        SchemaError: If a role names a column that does not exist.
        DataError: If rows or files cannot be used.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "log.csv").write_text("user,item\nann,1\nbo,2\n")
        >>> import_files(folder / "log.csv", folder / "data").rows_kept
        {'interactions': 2}
    """
    started = time.monotonic()
    Roles(**roles)  # a misspelt role is told before any file is read
    options = ReadOptions(encoding=encoding, separator=separator, quoting=quoting, max_record=max_record)
    parts = gather({"interactions": sources, "items": items, "users": users}, options=options, format=format)
    if "interactions" not in parts.sources:
        raise ConfigError("import_files reads files.", remedy="For a table in memory use Dataset.from_tables and save.")
    declared = merge_roles(parts.roles, roles)
    schema = schema_from_roles(declared, parts.names())
    with writing_folder(target_folder) as scratch, Rejects(reject_to) as rejects:
        intakes = [Intake(table, schema, time_unit=declared.time_unit, rejects=rejects) for table in parts.sources]
        kept = _write_tables(parts, schema, intakes, scratch)
        rejects.raise_if_any()
        refuse_empty(intakes, parts)
        text = describe(
            schema,
            name=name or Path(target_folder).name,
            facts={**parts.facts, **(facts or {})},
            rows=kept,
            digest=_digest(schema, scratch, kept),
        )
        (scratch / DESCRIPTION).write_text(text, encoding="utf-8")
    return ImportReport(
        folder=str(target_folder),
        rows_read={intake.table: intake.rows_read for intake in intakes},
        rows_kept=dict(kept),
        rows_rejected=rejects.rows,
        rejects=str(reject_to) if reject_to is not None and rejects.rows else "",
        problems=rejects.problems(),
        seconds=time.monotonic() - started,
    )


def _write_tables(parts: Parts, schema: Schema, intakes: Sequence[Intake], folder: Path) -> dict[str, int]:
    kept: dict[str, int] = {}
    for intake in intakes:
        sink = ParquetSink(folder / f"{intake.table}.parquet")
        try:
            intake.run(parts.sources[intake.table], sink)
        finally:
            sink.close()
        kept[intake.table] = sink.rows
    for table, frame in parts.frames.items():
        file = folder / f"{table}.parquet"
        split_lists(frame, schema.columns(table)).sink_parquet(file, compression="zstd", maintain_order=True)
        kept[table] = pq.read_metadata(file).num_rows
    return {table: kept[table] for table in _TABLES if table in kept}


def _digest(schema: Schema, folder: Path, kept: Mapping[str, int]) -> str:
    """Return the fingerprint of what was written, read back piece by piece."""

    def pieces(table: Table) -> Any:
        with pq.ParquetFile(folder / f"{table}.parquet") as file:
            yield pl.DataFrame(file.schema_arrow.empty_table())
            for batch in file.iter_batches(batch_size=1 << 17):
                yield pl.DataFrame(batch)

    return content_digest(schema, {table: pieces(table) for table in _TABLES if table in kept})
