"""Tokens: the one text form of every value, and the place of each token in a list.

A value reaches a vocabulary as text, and the same value has the same text wherever it comes from: 318 read from a
Parquet file, 318.0 from a column that pandas widened because one cell was empty, and "318" from a JSON request are
one token. Missing values (null, NaN) are no token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from palate.errors import DataError, SavedFolderError, SchemaError

__all__ = ["TokenIndex", "as_text", "pack_tokens", "unpack_tokens"]

Int32Array = np.ndarray[Any, np.dtype[np.int32]]
AnyArray = np.ndarray[Any, np.dtype[Any]]

# Looking up few tokens asks a dictionary, many tokens a join; between them a binary search spares building either.
_FEW = 64
_DICTIONARY_LIMIT = 1_000_000


def as_text(values: pl.Series) -> pl.Series:
    """Return the values as tokens: strings, with null where a value is missing.

    Whole floats lose their ``.0``, NaN becomes null, booleans become ``true`` and ``false``, dates their ISO form.

    Raises:
        SchemaError: If the values are lists, structs or binary.

    Example:
        >>> as_text(pl.Series([318.0, 2.5, float("nan")])).to_list()
        ['318', '2.5', None]
    """
    kind = values.dtype
    if kind == pl.String:
        return values
    if kind.is_float():
        return _float_text(values)
    if kind.is_nested() or kind == pl.Binary or kind == pl.Object:
        raise SchemaError(
            f'The column "{values.name}" holds {kind}; a token is a text, a number, a boolean or a date.',
            remedy="Give a column of lists the role list, or leave it out with the role ignore.",
        )
    return values.cast(pl.String)


def _float_text(values: pl.Series) -> pl.Series:
    values = values.fill_nan(None)
    whole = values.cast(pl.Int64, strict=False)
    # 2**53: above it a float no longer names one whole number.
    is_whole = (values == whole.cast(values.dtype)) & (values.abs() < 2**53)
    return pl.select(pl.when(is_whole).then(whole.cast(pl.String)).otherwise(values.cast(pl.String))).to_series()


class TokenIndex:
    """A list of different tokens that knows the place of each.

    Args:
        tokens: The tokens in order; each once, none missing.
        what: What the tokens are, for messages.

    Raises:
        DataError: If a token is missing or stands twice.

    Example:
        >>> TokenIndex(["b", "a"]).positions(pl.Series(["a", "zebra", None, "b"])).tolist()
        [1, -1, -1, 0]
    """

    def __init__(self, tokens: pl.Series | Iterable[Any], *, what: str = "tokens") -> None:
        series = tokens if isinstance(tokens, pl.Series) else pl.Series(list(tokens))
        self.tokens = as_text(series).alias("token").rechunk()
        if self.tokens.dtype != pl.String:
            self.tokens = self.tokens.cast(pl.String)
        if self.tokens.null_count():
            raise DataError(f"{self.tokens.null_count():,} of {len(self.tokens):,} {what} are missing.")
        if self.tokens.n_unique() != len(self.tokens):
            twice = self.tokens.filter(self.tokens.is_duplicated()).unique().sort()
            shown = ", ".join(f'"{token}"' for token in twice.head(5))
            raise DataError(
                f"{len(twice):,} {what} stand more than once, for example {shown}.",
                remedy="Keep one row for each id.",
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenIndex) and self.tokens.equals(other.tokens)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, values: pl.Series) -> TokenIndex:
        """Return the different tokens of a column, in order of first appearance."""
        return cls(as_text(values.unique(maintain_order=True)).drop_nulls().unique(maintain_order=True))

    def positions(self, values: pl.Series) -> Int32Array:
        """Return the place of each value, int32 ``[N]``, -1 where it is missing or not in the list.

        Every different value is looked up once, so a column costs one pass of hashing and one gather.
        """
        if len(values) <= _FEW:
            return self._lookup(as_text(values))
        codes, different = _dictionary_encode(values)
        found = np.append(self._lookup(as_text(different)), np.int32(-1))
        taken: Int32Array = found[codes]
        return taken

    def take(self, positions: Sequence[int] | AnyArray) -> pl.Series:
        """Return the tokens at ``positions``, null where a position is negative."""
        places = pl.Series(np.asarray(positions, dtype=np.int64))
        return self.tokens.gather(places.set(places < 0, None))

    def _lookup(self, texts: pl.Series) -> Int32Array:
        if not len(self.tokens) or texts.dtype == pl.Null:
            return np.full(len(texts), -1, dtype=np.int32)
        if len(texts) <= _FEW and len(self.tokens) <= _DICTIONARY_LIMIT:
            places = self._places
            return np.array([places.get(text, -1) for text in texts.to_list()], dtype=np.int32)
        if len(texts) * 16 < len(self.tokens):
            return self._search(texts)
        return self._join(texts)

    def _search(self, texts: pl.Series) -> Int32Array:
        tokens, order = self._sorted
        nearest = np.minimum(tokens.search_sorted(texts).to_numpy(), len(tokens) - 1)
        same = (tokens.gather(nearest) == texts).fill_null(False).to_numpy()
        return np.where(same, order[nearest], -1).astype(np.int32)

    def _join(self, texts: pl.Series) -> Int32Array:
        table = pl.DataFrame({"token": self.tokens, "place": np.arange(len(self.tokens), dtype=np.int32)})
        joined = texts.alias("token").to_frame().join(table, on="token", how="left", maintain_order="left")
        found: Int32Array = joined.get_column("place").fill_null(-1).to_numpy()
        return found

    @cached_property
    def _places(self) -> dict[str | None, int]:
        return dict(zip(self.tokens.to_list(), range(len(self.tokens)), strict=True))

    @cached_property
    def _sorted(self) -> tuple[pl.Series, Int32Array]:
        order = self.tokens.arg_sort()
        return self.tokens.gather(order), order.to_numpy().astype(np.int32)


def _dictionary_encode(values: pl.Series) -> tuple[Int32Array, pl.Series]:
    """Return codes into the different values (-1 where null), and the different values."""
    if values.dtype.is_nested() or values.dtype == pl.Object:
        as_text(values)  # says what is wrong with such a column
    if values.dtype.is_decimal() or values.dtype in (pl.Int128, pl.UInt128):
        values = as_text(values)  # wider than Arrow's numbers
    physical = values.to_physical().rechunk()
    encoded = pc.dictionary_encode(physical.to_arrow(compat_level=pl.CompatLevel.oldest()))
    # By way of Polars: Arrow's own conversion would import pandas.
    codes = _series(encoded.indices).fill_null(-1).to_numpy()
    if physical.dtype != values.dtype:
        # Dates and categories are numbers underneath; both ways count the different values by first appearance.
        return codes, values.drop_nulls().unique(maintain_order=True)
    return codes, _series(encoded.dictionary).alias(values.name)


def _series(array: pa.Array) -> pl.Series:
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def pack_tokens(tokens: pl.Series) -> dict[str, AnyArray]:
    """Return the tokens as two arrays: their UTF-8 bytes end to end, and where each begins and ends.

    Shapes:
        utf8: uint8 ``[total]``; offsets: int64 ``[K + 1]``.
    """
    offsets = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum(tokens.str.len_bytes().to_numpy(), out=offsets[1:])
    joined = tokens.str.join("").item() if len(tokens) else ""
    return {"utf8": np.frombuffer(joined.encode("utf-8"), dtype=np.uint8).copy(), "offsets": offsets}


def unpack_tokens(utf8: AnyArray, offsets: AnyArray) -> pl.Series:
    """Return the tokens that :func:`pack_tokens` packed.

    Raises:
        SavedFolderError: If the arrays do not describe tokens.
    """
    utf8, offsets = np.ascontiguousarray(utf8), np.ascontiguousarray(offsets)
    if utf8.dtype != np.uint8 or offsets.dtype != np.int64 or utf8.ndim != 1 or offsets.ndim != 1 or not len(offsets):
        raise SavedFolderError("Saved tokens are uint8 bytes and int64 offsets; these arrays are not.")
    if offsets[0] != 0 or offsets[-1] != len(utf8) or (np.diff(offsets) < 0).any():
        raise SavedFolderError("The offsets of saved tokens do not fit their bytes.", remedy="Save the thing again.")
    array = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(utf8))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise SavedFolderError(f"Saved tokens are not valid UTF-8 text: {error}.") from None
    return _series(array).alias("token")
