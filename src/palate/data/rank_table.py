"""Encoded rows for ranking models: contiguous columns, and batches that are one gather away.

Choices made here:

* Ids are stored as int32 rows ``[N, F]``, half the memory of int64, and widened batch by batch.
* A batch is one gather of rows. Nothing is copied up front, so the first batch is as quick as any other.
* A sequence that all rows share (the history of the one user of a request) may be a broadcast view; a batch of
  consecutive rows keeps it one, and the model then reads it once.
* On disk a table is a folder of ``.npy`` files that are mapped, not read: a table may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from palate.data.features import RankBatch
from palate.errors import ConfigError, DataError, SavedFolderError
from palate.saving import SavedFolder, load_folder, write_manifest, writing_folder

__all__ = ["RankTable", "iterate"]

AnyArray = np.ndarray[Any, np.dtype[Any]]
Rows = slice | np.ndarray[Any, np.dtype[np.int64]]

KIND = "rank-table"
_DTYPES: dict[str, type[np.generic]] = {
    "ids": np.int32,
    "numeric": np.float32,
    "vectors": np.int32,
    "labels": np.float32,
    "weights": np.float32,
    "users": np.int64,
}


@dataclass(frozen=True, slots=True)
class RankTable:
    """Rows of a :class:`~palate.data.features.FeatureSpec`, in memory or mapped from disk.

    Shapes:
        ids: int32 ``[N, F_categorical]``, rows of the fused table (offset included), in field order.
        numeric: float32 ``[N, F_numeric]`` or ``None``.
        sequences: one int32 ``[N, L]`` per sequence field, padded at the left with the PAD row of the field.
        vectors: int32 ``[N, F_vector]`` or ``None``.
        labels: float32 ``[N]`` or ``None``.
        weights: float32 ``[N]`` or ``None``.
        users: int64 ``[N]``, group of each row, -1 for none; or ``None``.

    Raises:
        DataError: If the columns have different numbers of rows, or another type.

    Example:
        >>> table = RankTable(ids=np.array([[1, 5], [2, 6], [3, 7]], np.int32), labels=np.ones(3, np.float32))
        >>> table.batch(np.array([2, 0])).ids
        tensor([[3, 7],
                [1, 5]])
    """

    ids: AnyArray
    numeric: AnyArray | None = None
    sequences: tuple[AnyArray, ...] = ()
    vectors: AnyArray | None = None
    labels: AnyArray | None = None
    weights: AnyArray | None = None
    users: AnyArray | None = None

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            expected = _DTYPES.get(name, np.int32)
            if column.dtype != expected or len(column) != len(self.ids):
                raise DataError(
                    f'The column "{name}" of the table is {column.dtype} with {len(column):,} rows; '
                    f"{np.dtype(expected)} with {len(self.ids):,} is expected."
                )

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> dict[str, AnyArray]:
        """Return the columns that are there, by name; the sequences are ``sequence_0``, ``sequence_1``, ..."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sequences"}
        named |= {f"sequence_{place}": column for place, column in enumerate(self.sequences)}
        return {name: column for name, column in named.items() if column is not None}

    def batch(self, rows: Rows) -> RankBatch:
        """Return rows as tensors; a slice of a stored table reads only that part of the files."""

        def whole(column: AnyArray | None) -> Tensor | None:
            return None if column is None else torch.from_numpy(_gather(column, rows).astype(np.int64))

        def real(column: AnyArray | None) -> Tensor | None:
            return None if column is None else torch.from_numpy(np.array(_gather(column, rows), np.float32))

        ids = whole(self.ids)
        assert ids is not None
        sequences = tuple(_sequence(column, rows) for column in self.sequences)
        return RankBatch(
            ids=ids,
            numeric=real(self.numeric),
            sequences=sequences,
            vectors=whole(self.vectors),
            labels=real(self.labels),
            weights=real(self.weights),
            users=whole(self.users),
        )

    def take(self, rows: Rows) -> RankTable:
        """Return the table of these rows, in memory."""
        return self._map(lambda column: np.array(_gather(column, rows)))

    def replace(self, **columns: Any) -> RankTable:
        """Return the table with other columns, for example ``labels``."""
        unknown = sorted(set(columns) - {f.name for f in fields(self)})
        if unknown:
            raise ConfigError(f'A table has no column "{unknown[0]}".')
        return RankTable(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **columns})

    def save(self, path: str | Path) -> Path:
        """Write the table as a folder of ``.npy`` files, atomically."""
        with writing_folder(path) as folder:
            for name, column in self.columns().items():
                np.save(folder / f"{name}.npy", column, allow_pickle=False)
            write_manifest(folder, kind=KIND, name="rows", facts=self.facts)
        return Path(path)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Self:
        """Map a saved table.

        Args:
            path: The folder.
            verify: Read every file and compare it with its recorded SHA-256.

        Raises:
            SavedFolderError: If the folder is missing, incomplete, or its files are not the columns of a table.
        """
        folder = load_folder(path, kind=KIND, verify=verify)
        facts = folder.facts
        try:
            columns = {name: _mapped(folder, name) for name in facts["columns"] if not name.startswith("sequence_")}
            sequences = tuple(_mapped(folder, f"sequence_{place}") for place in range(int(facts["sequences"])))
            table = cls(sequences=sequences, **columns)
        except (KeyError, TypeError, ValueError, EOFError, OSError, DataError) as error:
            raise SavedFolderError(
                f"{path} does not hold a table: {error}", remedy="The folder was altered: encode the data again."
            ) from None
        if len(table) != facts.get("rows"):
            raise SavedFolderError(f"{path} has {len(table):,} rows; {facts.get('rows'):,} were saved.")
        return table

    @property
    def facts(self) -> dict[str, Any]:
        """What a saved table records about itself."""
        return {"rows": len(self), "columns": list(self.columns()), "sequences": len(self.sequences)}

    def _map(self, change: Callable[[AnyArray], AnyArray]) -> RankTable:
        changed = {name: change(column) for name, column in self.columns().items()}
        sequences = tuple(changed.pop(f"sequence_{place}") for place in range(len(self.sequences)))
        return RankTable(sequences=sequences, **changed)


def iterate(table: RankTable, batch_size: int) -> Iterator[RankBatch]:
    """Yield the rows in order, for evaluation.

    Raises:
        ConfigError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}.", remedy="It must be at least 1.")
    for start in range(0, len(table), batch_size):
        yield table.batch(slice(start, start + batch_size))


def _gather(column: AnyArray, rows: Rows) -> AnyArray:
    return column[rows] if isinstance(rows, slice) else np.take(column, rows, axis=0)


def _sequence(column: AnyArray, rows: Rows) -> Tensor:
    found = _gather(column, rows)
    if found.strides[0] == 0 and len(found):
        return torch.from_numpy(found[:1].astype(np.int64)).expand(len(found), -1)
    return torch.from_numpy(found.astype(np.int64))


def _mapped(folder: SavedFolder, name: str) -> AnyArray:
    # Copy-on-write: torch wants memory that it may write to, and the file must never change.
    column: AnyArray = np.load(folder.file(f"{name}.npy"), mmap_mode="c", allow_pickle=False)
    return column
