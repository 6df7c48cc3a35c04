"""A data set on disk: Parquet files and ``dataset.toml``, written beside and renamed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from palate.data.readers.parquet import DAMAGE
from palate.data.schema import Column, LabelRule, Schema, Table
from palate.data.tables import collect
from palate.errors import ConfigError, DataError, SavedFolderError
from palate.saving import restore_folder, writing_folder

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["DESCRIPTION", "FORMAT", "describe", "is_dataset_folder", "open_folder", "save_dataset"]

FORMAT = 1
DESCRIPTION = "dataset.toml"
_TABLES: tuple[Table, ...] = ("interactions", "items", "users")


def is_dataset_folder(path: Path) -> bool:
    """Say whether ``path`` is a folder that :meth:`Dataset.save` wrote."""
    return (path / DESCRIPTION).is_file()


def save_dataset(dataset: Dataset, folder: str | Path) -> Path:
    """Write ``dataset`` to ``folder`` atomically; a lazy log is streamed through."""
    with writing_folder(folder) as scratch:
        rows: dict[str, int] = {}
        for table in _TABLES:
            frame = dataset.scan() if table == "interactions" else dataset.table(table)
            if frame is not None:
                file = scratch / f"{table}.parquet"
                frame.lazy().sink_parquet(file, compression="zstd", maintain_order=True)
                rows[table] = pq.read_metadata(file).num_rows
        text = describe(dataset.schema, name=dataset.name, facts=dataset.facts, rows=rows, digest=dataset.fingerprint)
        (scratch / DESCRIPTION).write_text(text, encoding="utf-8")
    return Path(folder)


def open_folder(folder: str | Path) -> Dataset:
    """Open a folder written by :func:`save_dataset`; the log stays on disk until it is used.

    Raises:
        SavedFolderError: If it is missing, incomplete, altered, or of a newer format.
    """
    from palate.data.dataset import Dataset

    path = Path(folder)
    restore_folder(path)
    document = _document(path)
    try:
        schema = _schema(document)
        name, facts, rows = str(document["name"]), dict(document.get("facts", {})), dict(document["rows"])
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        message = error.message if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        raise SavedFolderError(
            f"{path / DESCRIPTION} cannot be used: {message}", remedy="The file was altered; restore it."
        ) from None
    frames = {table: _table(path, table, schema, rows[table]) for table in _TABLES if table in rows}
    if "interactions" not in frames:
        raise SavedFolderError(f"{path} has no interactions.", remedy="Save the data set again.")
    small = {table: _loaded(frames[table], path) if table in frames else None for table in ("items", "users")}
    opened = Dataset(schema, frames["interactions"], small["items"], small["users"], name=name, facts=facts)
    return opened._with_record(int(rows["interactions"]), str(document.get("fingerprint", "")))


def describe(schema: Schema, *, name: str, facts: Mapping[str, Any], rows: Mapping[str, int], digest: str) -> str:
    """Return the text of ``dataset.toml``."""
    lines = [f"format = {FORMAT}", f"name = {_value(name)}", f"fingerprint = {_value(digest)}"]
    lines += ["", "[rows]", *(f"{table} = {count}" for table, count in rows.items())]
    if schema.label is not None:
        lines += ["", "[label]", *_pairs(schema.label.model_dump())]
    for table in _TABLES:
        for column in schema.columns(table):
            lines += ["", f"[[{table}]]", *_pairs(column.model_dump(mode="json"))]
    if facts:
        lines += ["", "[facts]", *_pairs(facts)]
    return "\n".join(lines) + "\n"


def _document(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise SavedFolderError(f"{path} does not exist.", remedy="Check the path, or save a data set there first.")
    if not is_dataset_folder(path):
        raise SavedFolderError(
            f"{path} is not a saved data set: {DESCRIPTION} is missing.",
            remedy="To read other files use palate.open, or import them first.",
        )
    try:
        document = tomllib.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        found = int(document["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SavedFolderError(
            f"{path / DESCRIPTION} cannot be read: {error}.", remedy="The file was altered; restore it."
        ) from None
    if found > FORMAT:
        raise SavedFolderError(
            f"{path} has format {found}; this Palate reads up to {FORMAT}.",
            remedy="Update Palate: pip install -U palate",
        )
    return document


def _schema(document: Mapping[str, Any]) -> Schema:
    columns = {table: tuple(Column(**entry) for entry in document.get(table, ())) for table in _TABLES}
    label = document.get("label")
    return Schema(**columns, label=None if label is None else LabelRule(**label))


def _table(path: Path, table: Table, schema: Schema, rows: Any) -> pl.LazyFrame:
    file = path / f"{table}.parquet"
    try:
        footer = pq.read_metadata(file)
        names = footer.schema.to_arrow_schema().names
        frame = pl.scan_parquet(file, glob=False)
        frame.collect_schema()
    except FileNotFoundError:
        raise SavedFolderError(f'{path} has lost its part "{file.name}".', remedy="Copy it again, whole.") from None
    except DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SavedFolderError(f"{file} cannot be read: {reason}.", remedy="Copy the folder again, whole.") from None
    missing = [column.name for column in schema.columns(table) if column.name not in names]
    if missing or footer.num_rows != rows:
        wrong = f"lost the columns {missing}" if missing else f"{footer.num_rows:,} rows; {rows:,} were saved"
        raise SavedFolderError(f"{file} has {wrong}.", remedy="The file was altered: copy the folder again, whole.")
    return frame


def _loaded(frame: pl.LazyFrame, path: Path) -> pl.DataFrame:
    try:
        return collect(frame, f"a table of {path}")
    except DataError as error:
        raise SavedFolderError(error.message.partition("\n")[0], remedy="Copy the folder again, whole.") from None


def _pairs(values: Mapping[str, Any]) -> Iterable[str]:
    return [f"{_value(str(key))} = {_value(value)}" for key, value in values.items() if value is not None]


def _value(value: Any) -> str:
    """Write one TOML value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_pairs(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    # JSON strings are TOML strings but for one control character that JSON leaves bare.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
