"""Vocabularies: token -> id, learned from the training part alone.

Ids of a field: PAD is 0, tokens are 1..K by falling count in the training part, and OOV ("out of vocabulary") is
K + 1. Tokens with equal counts stand in lexicographic order of their UTF-8 bytes, so that the ids depend on the
counts only and never on the order of rows, files or threads. A missing value is never a token: it reads OOV, like a
token that training did not see often enough.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import polars as pl

from palate.data.tokens import TokenIndex, as_text, pack_tokens, unpack_tokens
from palate.errors import ConfigError

__all__ = ["Vocabulary", "count_tokens"]

Int32Array = np.ndarray[Any, np.dtype[np.int32]]
AnyArray = np.ndarray[Any, np.dtype[Any]]


def count_tokens(values: pl.Series | pl.LazyFrame, *, missing: str | None = None) -> pl.DataFrame:
    """Count the tokens of a column: a frame with ``token`` and ``count``, missing values left out.

    Args:
        values: A column, or a lazy frame of one column. A lazy frame is counted by the streaming engine, so memory
            is bounded by the number of different tokens and not by the number of rows.
        missing: The token that means "not known".
    """
    if isinstance(values, pl.Series):
        counted = values.alias("value").value_counts(name="count")
    else:
        name = values.collect_schema().names()[0]
        grouped = values.group_by(pl.col(name).alias("value")).agg(pl.len().alias("count"))
        counted = grouped.collect(engine="streaming")
    tokens = as_text(counted.get_column("value").alias("token")).cast(pl.String)
    frame = pl.DataFrame({"token": tokens, "count": counted.get_column("count").cast(pl.Int64)}).drop_nulls("token")
    if missing is not None:
        frame = frame.filter(pl.col("token") != missing)
    # Two values may be one token: 0.0 and -0.0.
    return frame.group_by("token").agg(pl.col("count").sum())


class Vocabulary:
    """The tokens of one categorical field and their ids.

    Args:
        tokens: Tokens in the order of their ids 1..K.
        missing: The token that means "not known"; it reads OOV.

    Shapes:
        encode: ``[N]`` values -> int32 ``[N]`` in 1..K + 1; decode: ``[N]`` ids -> ``[N]`` tokens.

    Example:
        >>> vocabulary = Vocabulary.fit(pl.Series(["tea", "milk", "tea", "rum"]))
        >>> vocabulary.tokens.to_list()
        ['tea', 'milk', 'rum']
        >>> vocabulary.encode(pl.Series(["milk", "gin", None])).tolist()
        [2, 4, 4]
    """

    PAD = 0

    def __init__(self, tokens: pl.Series | TokenIndex, *, missing: str | None = None) -> None:
        self.index = tokens if isinstance(tokens, TokenIndex) else TokenIndex(tokens)
        self.missing = missing

    @classmethod
    def fit(cls, values: pl.Series | pl.LazyFrame, *, min_count: int = 1, missing: str | None = None) -> Self:
        """Learn the tokens that occur at least ``min_count`` times; give it the training part only."""
        return cls.from_counts(count_tokens(values, missing=missing), min_count=min_count, missing=missing)

    @classmethod
    def from_counts(cls, counts: pl.DataFrame, *, min_count: int = 1, missing: str | None = None) -> Self:
        """Build the vocabulary from a frame with ``token`` and ``count``, each token once.

        Raises:
            ConfigError: If ``min_count`` is below 1.
        """
        if min_count < 1:
            raise ConfigError(f"min_count is {min_count}.", remedy="It must be at least 1.")
        kept = counts.filter(pl.col("count") >= min_count)
        if missing is not None:
            kept = kept.filter(pl.col("token") != missing)
        ordered = kept.sort(["count", "token"], descending=[True, False])
        return cls(ordered.get_column("token"), missing=missing)

    @property
    def tokens(self) -> pl.Series:
        """The tokens in the order of their ids 1..K."""
        return self.index.tokens

    @property
    def oov(self) -> int:
        """The id of everything unknown, ``K + 1``."""
        return len(self.index) + 1

    @property
    def size(self) -> int:
        """Number of ids, PAD and OOV included: ``K + 2``."""
        return len(self.index) + 2

    def __len__(self) -> int:
        return len(self.index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.index == other.index and self.missing == other.missing

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} tokens)"

    def encode(self, values: pl.Series) -> Int32Array:
        """Return the id of each value; unknown and missing values read OOV."""
        positions = self.index.positions(values)
        return np.where(positions < 0, np.int32(self.oov), positions + np.int32(1))

    def decode(self, ids: AnyArray) -> pl.Series:
        """Return the token of each id, null for PAD and OOV."""
        places = np.asarray(ids, dtype=np.int64) - 1
        return self.index.take(np.where(places < len(self.index), places, -1))

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return the tokens as ``utf8`` and ``offsets`` arrays, for safetensors."""
        return pack_tokens(self.tokens)

    @classmethod
    def from_arrays(cls, utf8: AnyArray, offsets: AnyArray, *, missing: str | None = None) -> Self:
        """Rebuild the vocabulary from what :meth:`to_arrays` returned."""
        return cls(unpack_tokens(utf8, offsets), missing=missing)
