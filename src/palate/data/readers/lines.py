"""Lines as a text column: the common ground of formats whose rows are not cells between one separator."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from palate.data.readers.records import Records

__all__ = ["line_column"]


def line_column(records: Records) -> pl.Series:
    """Return the rows as a text column without line ends; nothing is copied but the column itself."""
    offsets = np.concatenate([np.zeros(1, np.int64), records.ends])
    array = pa.LargeStringArray.from_buffers(len(records), pa.py_buffer(offsets), pa.py_buffer(records.data))
    column = pl.Series("line", array)
    return column.str.strip_chars_end("\r\n")
