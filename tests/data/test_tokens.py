"""One text form for every value, and three ways to look it up that must agree."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data import tokens as module
from palate.data.tokens import TokenIndex, as_text, pack_tokens, unpack_tokens
from palate.errors import DataError, SavedFolderError, SchemaError

texts = st.text(max_size=6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([318, None]), ["318", None]),
        (pl.Series([318.0, 2.5, float("nan"), None, -0.0]), ["318", "2.5", None, None, "0"]),
        (pl.Series([True, None]), ["true", None]),
        (pl.Series(["318", ""]), ["318", ""]),
        (pl.Series([date(2020, 1, 2)]), ["2020-01-02"]),
        (pl.Series(["a"], dtype=pl.Categorical), ["a"]),
        (pl.Series([2.0**60]), ["1.152921504606847e+18"]),
    ],
)
def test_every_value_has_one_text(values: pl.Series, expected: list[str | None]) -> None:
    assert as_text(values).to_list() == expected


@pytest.mark.parametrize("values", [pl.Series([[1]]), pl.Series([b"x"]), pl.Series([{"a": 1}])])
def test_lists_and_bytes_are_no_tokens(values: pl.Series) -> None:
    with pytest.raises(SchemaError, match="a token is a text"):
        TokenIndex(["a"]).positions(pl.concat([values] * 100))


def test_the_same_id_is_found_whatever_its_type() -> None:
    index = TokenIndex([318, 1])
    for values in (pl.Series([318, 7]), pl.Series([318.0, 7.0]), pl.Series(["318", "7"])):
        assert index.positions(values).tolist() == [0, -1]


def test_repeated_and_missing_tokens_are_refused_by_name() -> None:
    with pytest.raises(DataError, match='2 ids of items stand more than once, for example "a", "b"'):
        TokenIndex(["b", "a", "b", "a", "c"], what="ids of items")
    with pytest.raises(DataError, match="1 of 2 tokens are missing"):
        TokenIndex(pl.Series(["a", None]))


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, unique=True, max_size=20), st.lists(st.none() | texts, max_size=70))
def test_every_way_to_look_up_agrees_with_a_dictionary(tokens: list[str], values: list[str | None]) -> None:
    index = TokenIndex(pl.Series(tokens, dtype=pl.String))
    expected = [tokens.index(value) if value in tokens else -1 for value in values]
    series = pl.Series(values, dtype=pl.String)
    assert index.positions(series).tolist() == expected
    assert [index.positions(series[place : place + 1]).tolist()[0] for place in range(len(values))] == expected
    if tokens:
        assert index._join(series).tolist() == expected
        assert index._search(series).tolist() == expected


def test_many_values_take_the_same_path_to_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [f"t{place}" for place in range(5000)]
    values = pl.Series([f"t{place * 7 % 6000}" for place in range(2000)])
    expected = [place * 7 % 6000 if place * 7 % 6000 < 5000 else -1 for place in range(2000)]
    index = TokenIndex(tokens)
    assert index.positions(values).tolist() == expected
    monkeypatch.setattr(module, "_FEW", 0)
    assert index.positions(values[:100]).tolist() == expected[:100]  # few of many: binary search


def test_tokens_of_a_column_come_in_order_of_appearance() -> None:
    assert TokenIndex.of(pl.Series([3.0, None, 1.0, 3.0, float("nan")])).tokens.to_list() == ["3", "1"]


def test_taking_places_gives_tokens_and_null() -> None:
    assert TokenIndex(["a", "b"]).take([1, -1, 0]).to_list() == ["b", None, "a"]
    assert TokenIndex([]).positions(pl.Series(["a"])).tolist() == [-1]


@settings(max_examples=50, deadline=None)
@given(st.lists(texts, max_size=20))
def test_packing_is_undone(tokens: list[str]) -> None:
    packed = pack_tokens(pl.Series(tokens, dtype=pl.String))
    assert packed["utf8"].dtype == np.uint8
    assert packed["offsets"].dtype == np.int64
    assert unpack_tokens(packed["utf8"], packed["offsets"]).to_list() == tokens


@pytest.mark.parametrize(
    ("utf8", "offsets"),
    [
        (np.array([97], np.uint8), np.array([0, 2])),
        (np.array([97], np.uint8), np.array([1, 1])),
        (np.array([97, 98], np.uint8), np.array([0, 2, 1, 2])),
        (np.array([0xFF], np.uint8), np.array([0, 1])),
        (np.array([97], np.int64), np.array([0, 1])),
        (np.array([], np.uint8), np.array([], np.int64)),
    ],
)
def test_altered_arrays_are_refused(utf8: Any, offsets: Any) -> None:
    with pytest.raises(SavedFolderError):
        unpack_tokens(utf8, offsets)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series(["b", None, "a", "b"], dtype=pl.Categorical),
        pl.Series(["b", None, "a", "b"], dtype=pl.Enum(["a", "q", "b"])),
        pl.Series([date(2020, 1, 1), None, date(1960, 1, 1)]),
        pl.Series([Decimal("1.50"), None, Decimal("2.00")], dtype=pl.Decimal(10, 2)),
        pl.Series([True, None, False]),
        pl.Series([1.0, float("nan"), 2.5]),
        pl.Series([None, None]),
    ],
)
def test_long_columns_of_every_type_are_looked_up(values: pl.Series) -> None:
    long = pl.concat([values] * 60)[1:]
    index = TokenIndex.of(long)
    assert index.take(index.positions(long)).to_list() == as_text(long).cast(pl.String).to_list()
