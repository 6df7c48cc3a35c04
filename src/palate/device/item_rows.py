"""The table that a device ranks with: one row per item, in full, half or one-byte numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from palate.errors import SavedFolderError

__all__ = ["ItemRows", "Precision", "encode_rows"]

Precision = Literal["float32", "float16", "int8"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
AnyArray = np.ndarray[Any, np.dtype[Any]]

_CHUNK = 4096  # rows that are widened at a time, so that small numbers stay small in memory


def encode_rows(table: FloatArray, precision: Precision) -> tuple[AnyArray, FloatArray | None]:
    """Return the rows in ``precision``, and with one byte a number the scale of each row.

    Equation (one byte):
        scale_j = max |table_j| / 127;  rows_j = round(table_j / scale_j);  table_j ~ scale_j rows_j

    The error of a number is at most half a scale.

    Shapes:
        table float32 ``[V + 1, D]`` -> rows ``[V + 1, D]``, scales float32 ``[V + 1]`` or ``None``.

    Example:
        >>> rows, scales = encode_rows(np.array([[0.0, 0.0], [1.0, -0.5]], np.float32), "int8")
        >>> rows.tolist(), [f"{scale:.4f}" for scale in scales]
        ([[0, 0], [127, -64]], ['1.0000', '0.0079'])
    """
    if precision == "float32":
        return np.ascontiguousarray(table, np.float32), None
    if precision == "float16":
        return table.astype(np.float16), None
    largest = np.abs(table).max(axis=1)
    scales = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


@dataclass(frozen=True, eq=False)
class ItemRows:
    """Transformed item vectors T(e_j), so that a score is one product.

    Equation:
        score_j = < user, T(e_j) >

    Shapes:
        rows float32, float16 or int8 ``[V + 1, D]`` (row 0 stands for no item), scales float32 ``[V + 1]`` with int8.
    """

    rows: AnyArray
    scales: FloatArray | None = None

    @property
    def num_items(self) -> int:
        """``V``."""
        return len(self.rows) - 1

    def scores(self, user: FloatArray) -> FloatArray:
        """Return the scores of all items for ``user [D]``: float32 ``[V + 1]``, ``-inf`` in place 0."""
        if self.rows.dtype == np.float32:
            scores = np.asarray(self.rows @ user, np.float32)
        else:
            scores = np.empty(len(self.rows), np.float32)
            for start in range(0, len(scores), _CHUNK):
                part = slice(start, start + _CHUNK)
                np.matmul(self.rows[part].astype(np.float32), user, out=scores[part])
        if self.scales is not None:
            scores *= self.scales
        scores[0] = -np.inf
        return scores

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the named arrays."""
        return {"rows": self.rows} | ({} if self.scales is None else {"scales": self.scales})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> Self:
        """Rebuild from what :meth:`to_arrays` returned.

        Raises:
            SavedFolderError: If the arrays are not rows and scales.
        """
        rows, scales = arrays.get("rows"), arrays.get("scales")
        whole = rows is not None and rows.ndim == 2 and rows.dtype in (np.float32, np.float16, np.int8)
        if rows is None or not whole or (rows.dtype == np.int8) != (scales is not None):
            raise SavedFolderError("The item rows are not those of an export.", remedy="Export again.")
        if scales is not None and (scales.shape != rows.shape[:1] or scales.dtype != np.float32):
            raise SavedFolderError("The scales do not fit the item rows.", remedy="Export again.")
        return cls(rows, scales)
