"""One 64-bit number per row, so that counting and comparing rows needs eight bytes each, however wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

__all__ = ["count_distinct", "repeated_rows"]

_ROWS = 1 << 18
HashArray = np.ndarray[Any, np.dtype[np.uint64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


def count_distinct(frame: pl.LazyFrame, columns: Sequence[str]) -> int:
    """Return the number of different combinations of ``columns``, rows with a missing one left out.

    Two combinations count as one if their hashes meet, which is expected in n^2 / 2^65 cases: never, for logs.
    """
    hashes = np.sort(_hashes(frame.select(columns).drop_nulls(), columns))
    return int((hashes[1:] != hashes[:-1]).sum()) + bool(len(hashes))


def repeated_rows(frame: pl.LazyFrame, columns: Sequence[str]) -> IntArray:
    """Return the indices of rows that an earlier row equals in ``columns``, in order; exact.

    Shapes:
        int64 ``[M]``.
    """
    hashes = _hashes(frame.select(columns), columns)
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    suspects = (
        np.unique(order[np.concatenate([same, [False]]) | np.concatenate([[False], same])]) if len(order) else order
    )
    if not len(suspects):
        return suspects.astype(np.int64)
    chosen = pl.LazyFrame({"row": suspects.astype(np.uint32)}).with_columns(pl.col("row").set_sorted())
    rows = frame.select(columns).with_row_index("row").join(chosen, on="row", how="semi", maintain_order="left")
    again = rows.filter(~pl.struct(columns).is_first_distinct()).select("row").collect()["row"]
    return again.cast(pl.Int64).to_numpy()


def _hashes(frame: pl.LazyFrame, columns: Sequence[str]) -> HashArray:
    hashed = frame.select(pl.struct(columns).hash().alias("hash"))
    parts = [part["hash"].to_numpy() for part in hashed.collect_batches(chunk_size=_ROWS, maintain_order=True)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
