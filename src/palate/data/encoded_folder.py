"""Encode a log that is larger than memory into a folder of memory maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from palate.data.history import HistoryLog
from palate.data.labels import labels_of
from palate.data.rank_table import KIND, RankTable
from palate.errors import ConfigError, DataError
from palate.saving import write_manifest, writing_folder

if TYPE_CHECKING:
    from palate.data.dataset import Dataset
    from palate.data.encoder import FeatureEncoder

__all__ = ["encode_folder"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
AnyArray = np.ndarray[Any, np.dtype[Any]]


def encode_folder(
    encoder: FeatureEncoder,
    dataset: Dataset,
    folder: str | Path,
    *,
    rows: IntArray | None = None,
    chunk_rows: int = 1 << 18,
    history: HistoryLog | None = None,
) -> RankTable:
    """Encode rows of a data set chunk by chunk, and return the table mapped from ``folder``.

    The result equals :meth:`~palate.data.encoder.FeatureEncoder.encode_dataset` of the same rows; only one chunk of
    the log is in memory at a time. The folder appears when it is complete.

    Args:
        encoder: A fitted encoder.
        dataset: The data set; a log on disk is streamed by row groups.
        folder: Where to write.
        rows: Row ids in rising order; all rows when left out.
        chunk_rows: Rows that are encoded together.
        history: The log to take histories from; every positive of ``dataset`` when the plan has a history field.

    Raises:
        ConfigError: If ``chunk_rows`` is below 1, or ``rows`` do not rise.
    """
    if chunk_rows < 1:
        raise ConfigError(f"chunk_rows is {chunk_rows}.", remedy="It must be at least 1.")
    wanted = None if rows is None else np.asarray(rows, dtype=np.int64)
    if wanted is not None and (np.diff(wanted) <= 0).any():
        raise ConfigError("The rows to encode do not rise.", remedy="Sort them: numpy.unique(rows).")
    if history is None and encoder.uses_history:
        history = encoder.history(dataset)
    groups = None if encoder.columns.user is None else encoder.user_groups(dataset)
    total = len(dataset) if wanted is None else len(wanted)
    with writing_folder(folder) as scratch:
        columns = _Columns(scratch, total)
        seen = 0
        log = dataset.scan().select(encoder.log_columns(dataset))
        for chunk in log.collect_batches(chunk_size=chunk_rows, maintain_order=True):
            for start in range(0, len(chunk), chunk_rows):
                part = _wanted(chunk.slice(start, chunk_rows), wanted, seen + start)
                if len(part):
                    table = encoder.encode(part, history=history)
                    rule = dataset.schema.label
                    labels = np.ones(len(part), np.float32) if rule is None else labels_of(part.lazy(), rule)
                    users = encoder.columns.groups(part, groups)
                    columns.append(table.replace(labels=labels, users=users))
            seen += len(chunk)
        columns.close()
    return RankTable.open(folder)


def _wanted(chunk: pl.DataFrame, rows: IntArray | None, first: int) -> pl.DataFrame:
    """Return the wanted rows of a chunk whose first row is row ``first`` of the log."""
    if rows is None:
        return chunk
    low, high = np.searchsorted(rows, [first, first + len(chunk)])
    return chunk[rows[low:high] - first]


class _Columns:
    """The growing files of a table whose number of rows is known."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._rows, self._filled = folder, rows, 0
        self._maps: dict[str, AnyArray] = {}
        self._facts: dict[str, Any] = {}

    def append(self, table: RankTable) -> None:
        """Write the next rows."""
        if not self._maps:
            self._facts = table.facts | {"rows": self._rows}
            for name, column in table.columns().items():
                shape = (self._rows, *column.shape[1:])
                file = self._folder / f"{name}.npy"
                self._maps[name] = np.lib.format.open_memmap(file, mode="w+", dtype=column.dtype, shape=shape)
        for name, column in table.columns().items():
            self._maps[name][self._filled : self._filled + len(table)] = column
        self._filled += len(table)

    def close(self) -> None:
        """Write everything to disk and describe it."""
        if self._filled != self._rows or not self._rows:
            raise DataError(f"{self._filled:,} of {self._rows:,} rows were found.", remedy="Check the row ids.")
        for column in self._maps.values():
            assert isinstance(column, np.memmap)
            column.flush()
        self._maps.clear()
        write_manifest(self._folder, kind=KIND, name="rows", facts=self._facts)
