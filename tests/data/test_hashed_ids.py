"""Hashing: the same on every machine, by a slow reference; spread over the ids; never an error."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.hashed_ids import HashedIds, stable_hash
from palate.errors import ConfigError


def reference(token: str, salt: str) -> int:
    state = 0xCBF29CE484222325
    for byte in (salt + token).encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=20), st.text(max_size=3))
def test_hash_is_the_slow_one(tokens: list[str], salt: str) -> None:
    hashes = stable_hash(pl.Series(tokens, dtype=pl.String), salt=salt)
    assert [int(value) for value in hashes] == [reference(token, salt) for token in tokens]


def test_known_values_do_not_change_between_releases() -> None:
    assert HashedIds("item", bits=20).encode(pl.Series(["318", "1", None])).tolist()[2] == 2**20 + 1
    expected = [1 + reference(token, "item\x00") % 2**20 for token in ("318", "1")]
    assert HashedIds("item", bits=20).encode(pl.Series([318, 1])).tolist() == expected


def test_ids_fill_their_range_evenly() -> None:
    ids = HashedIds("f", bits=6).encode(pl.Series(np.arange(64_000)))
    counts = np.bincount(ids, minlength=66)
    assert counts[0] == counts[65] == 0
    # Poisson with mean 1000: five deviations
    assert counts[1:65].min() > 1000 - 160
    assert counts[1:65].max() < 1000 + 160


def test_fields_hash_apart_and_missing_reads_the_last_id() -> None:
    values = pl.Series(["a", "b", "c", "-", None])
    one, other = HashedIds("x", 16, missing="-"), HashedIds("y", 16, missing="-")
    assert (one.encode(values)[:3] != other.encode(values)[:3]).all()
    assert one.encode(values)[3:].tolist() == [one.oov, one.oov] == [one.size - 1] * 2


@pytest.mark.parametrize("bits", [0, 31])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match="hash_bits"):
        HashedIds("x", bits)
