"""Ids by hashing: no vocabulary to learn, at the price that tokens may share an id.

For streams whose vocabulary never ends. It is not what the published results use, hence never the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from palate.data.tokens import TokenIndex, as_text, pack_tokens
from palate.errors import ConfigError

__all__ = ["HashedIds", "stable_hash"]

Int32Array = np.ndarray[Any, np.dtype[np.int32]]
UInt64Array = np.ndarray[Any, np.dtype[np.uint64]]

_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def stable_hash(tokens: pl.Series, *, salt: str = "") -> UInt64Array:
    """Return a 64-bit hash of each token: FNV-1a over ``salt`` and its UTF-8 bytes, then a final mix.

    The same on every machine and in every release, unlike the hashes of Python and Polars.

    Shapes:
        ``[N]`` strings without null -> uint64 ``[N]``.

    Example:
        >>> a, b = stable_hash(pl.Series(["tea", "tea"])), stable_hash(pl.Series(["tea"]), salt="item")
        >>> bool(a[0] == a[1]), bool(a[0] == b[0])
        (True, False)
    """
    packed = pack_tokens(tokens)
    utf8, starts, lengths = packed["utf8"], packed["offsets"][:-1], np.diff(packed["offsets"])
    state = _FNV_OFFSET
    with np.errstate(over="ignore"):
        for byte in salt.encode("utf-8"):
            state = (state ^ np.uint64(byte)) * _FNV_PRIME
        hashes = np.full(len(tokens), state, dtype=np.uint64)
        # Longest first, so that the tokens that still have a byte at ``place`` are a prefix.
        order = np.argsort(-lengths, kind="stable")
        alive = np.searchsorted(-lengths[order], -np.arange(int(lengths.max(initial=0))), side="left")
        for place, count in enumerate(alive):
            rows = order[:count]
            hashes[rows] = (hashes[rows] ^ utf8[starts[rows] + place]) * _FNV_PRIME
        return _mix(hashes)


def _mix(hashes: UInt64Array) -> UInt64Array:
    """Spread every bit over all others (the finaliser of splitmix64): the low bits become the id."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64Array = hashes ^ (hashes >> np.uint64(31))
    return mixed


@dataclass(frozen=True)
class HashedIds:
    r"""The ids of one field by hashing.

    .. math:: \mathrm{id} = 1 + h(\text{field}, \text{token}) \bmod 2^{\text{bits}}

    PAD is 0 and the last id, ``2 ** bits + 1``, is for missing values, as in a vocabulary.

    Args:
        field: Name of the field; two fields hash the same token to different places.
        bits: 1..30.
        missing: The token that means "not known".

    Example:
        >>> HashedIds("city", bits=4).encode(pl.Series(["Delft", None])).tolist()[1]
        17
    """

    field: str
    bits: int
    missing: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 30:
            raise ConfigError(f"hash_bits is {self.bits}.", remedy="It must be from 1 to 30.")

    @property
    def oov(self) -> int:
        """The id of a missing value."""
        return int(2**self.bits) + 1

    @property
    def size(self) -> int:
        """Number of ids, PAD and the one for missing values included."""
        return int(2**self.bits) + 2

    def encode(self, values: pl.Series) -> Int32Array:
        """Return the id of each value, int32 ``[N]``."""
        different = TokenIndex.of(values)
        hashes = stable_hash(different.tokens, salt=f"{self.field}\x00") & np.uint64(2**self.bits - 1)
        ids = np.append(hashes.astype(np.int32) + np.int32(1), np.int32(self.oov))
        if self.missing is not None:
            ids[:-1][(different.tokens == self.missing).to_numpy()] = self.oov
        encoded: Int32Array = ids[different.positions(as_text(values))]
        return encoded
