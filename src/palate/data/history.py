"""What a user took before a moment: the history field of a ranking model, for all rows at once.

Choices made here:

* *Before* is strict: an interaction of the same second is not part of the history, because the log does not say
  which came first.
* Only interactions that went well count (label 1; all of them in a log of positives alone).
* A row's own interaction, and anything later, can never be part of its history, whatever the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from palate.data.padding import pad_left
from palate.data.tokens import TokenIndex, pack_tokens, unpack_tokens

__all__ = ["HistoryLog"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, slots=True)
class HistoryLog:
    """Every user's positives by time, in one sorted array.

    A pair (user, time) becomes one integer key, ``user * (T + 1) + rank of the time among the T times that occur``;
    the end of a history is then one binary search for all rows together.

    Attributes:
        users: The users of the log.
        moments: int64 ``[T]``, the different times, rising.
        keys: int64 ``[P]``, rising.
        items: int32 ``[P]``, ids of the items in the vocabulary of the item field, in the order of ``keys``.

    Example:
        >>> users, times = pl.Series(["ann", "ann", "bo"]), np.array([10, 20, 15])
        >>> log = HistoryLog.build(users, times, np.array([7, 8, 9], np.int32))
        >>> log.before(pl.Series(["ann", "ann", "bo", "cy"]), np.array([20, 21, 15, 99]), length=3).tolist()
        [[0, 0, 7], [0, 7, 8], [0, 0, 0], [0, 0, 0]]
    """

    users: TokenIndex
    moments: IntArray
    keys: IntArray
    items: Int32Array

    @classmethod
    def build(cls, users: pl.Series, times: IntArray, items: Int32Array) -> Self:
        """Sort positives by user and time; interactions of the same second keep the order of the log.

        Shapes:
            users, times, items: ``[P]``. Rows without a user are left out.
        """
        index = TokenIndex.of(users)
        codes = index.positions(users).astype(np.int64)
        known = codes >= 0
        codes, times, items = codes[known], np.asarray(times, np.int64)[known], items[known]
        moments, ranks = np.unique(times, return_inverse=True)
        keys = codes * (len(moments) + 1) + ranks
        order = np.argsort(keys, kind="stable")
        return cls(index, moments, keys[order], np.ascontiguousarray(items[order], dtype=np.int32))

    def before(self, users: pl.Series, times: IntArray, *, length: int) -> Int32Array:
        """Return the last ``length`` items that each user took strictly before each time, oldest first.

        Shapes:
            users, times: ``[N]`` -> int32 ``[N, length]``, 0 (PAD) at the left.
        """
        codes = self.users.positions(users).astype(np.int64)
        base = codes * (len(self.moments) + 1)
        start = np.searchsorted(self.keys, base)
        stop = np.searchsorted(self.keys, base + np.searchsorted(self.moments, np.asarray(times, np.int64)))
        start = np.where(codes < 0, stop, start)
        return pad_left(self.items, start, stop, length)

    def to_arrays(self) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Return the log as arrays, for safetensors."""
        return {**pack_tokens(self.users.tokens), "moments": self.moments, "keys": self.keys, "items": self.items}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> Self:
        """Rebuild the log from what :meth:`to_arrays` returned."""
        users = TokenIndex(unpack_tokens(arrays["utf8"], arrays["offsets"]))
        return cls(users, arrays["moments"], arrays["keys"], arrays["items"])
