"""The catalogue (or the users) in encoded form: one row per id, looked up instead of joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from palate.data.field_codec import FieldCodec
from palate.data.tokens import TokenIndex, pack_tokens, unpack_tokens

__all__ = ["EntityTable"]

AnyArray = np.ndarray[Any, np.dtype[Any]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class EntityTable:
    """The attributes of items or users, encoded once; each column has one more row, for ids that are not known.

    Encoding ``N`` interactions then costs one look-up of the id and one gather per attribute, however long the
    texts of the attributes are.

    Attributes:
        index: The ids.
        columns: For each field, its encoded values ``[num_ids + 1, ...]``; the last row is what a missing value reads.
    """

    index: TokenIndex
    columns: Mapping[str, AnyArray]

    @classmethod
    def build(cls, index: TokenIndex, table: pl.DataFrame, codecs: Mapping[str, FieldCodec]) -> Self:
        """Encode the attributes of ``table``, whose rows are in the order of ``index``."""
        columns = {
            name: np.concatenate([codec.encode(table.get_column(codec.plan.source)), codec.missing(1)])
            for name, codec in codecs.items()
        }
        return cls(index, columns)

    def rows(self, ids: pl.Series) -> Int32Array:
        """Return the row of each id; -1, the last row, where it is not known."""
        return self.index.positions(ids)

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return ids and columns as arrays, for safetensors."""
        numbered = {f"column.{place}": column for place, column in enumerate(self.columns.values())}
        return {**pack_tokens(self.index.tokens), **numbered}

    @classmethod
    def from_arrays(cls, names: list[str], arrays: Mapping[str, AnyArray]) -> Self:
        """Rebuild the table from what :meth:`to_arrays` returned and the names of its columns in order."""
        index = TokenIndex(unpack_tokens(arrays["utf8"], arrays["offsets"]))
        return cls(index, {name: arrays[f"column.{place}"] for place, name in enumerate(names)})
