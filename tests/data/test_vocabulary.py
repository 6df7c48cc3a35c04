"""Vocabularies: ids by falling count, ties by text, nothing from beyond the training part."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.vocabulary import Vocabulary, count_tokens
from palate.errors import ConfigError

columns = st.lists(st.none() | st.sampled_from(["a", "b", "c", "ä", "zz", "", "Z"]), max_size=60)


def test_ids_by_hand() -> None:
    # rum 3, gin 2, tea 2 (a tie: g before t), ale 1
    values = pl.Series(["tea", "rum", "gin", "rum", "tea", None, "gin", "rum", "ale"])
    vocabulary = Vocabulary.fit(values)
    assert vocabulary.tokens.to_list() == ["rum", "gin", "tea", "ale"]
    assert (vocabulary.size, vocabulary.oov, Vocabulary.PAD) == (6, 5, 0)
    assert vocabulary.encode(pl.Series(["ale", "rum", "beer", None])).tolist() == [4, 1, 5, 5]
    assert vocabulary.encode(values).dtype == np.int32
    assert vocabulary.decode(np.array([0, 1, 4, 5, 99])).to_list() == [None, "rum", "ale", None, None]


def test_rare_tokens_read_oov() -> None:
    vocabulary = Vocabulary.fit(pl.Series(["a", "a", "b"]), min_count=2)
    assert vocabulary.tokens.to_list() == ["a"]
    assert vocabulary.encode(pl.Series(["a", "b"])).tolist() == [1, 2]


def test_the_missing_token_is_never_learned() -> None:
    vocabulary = Vocabulary.fit(pl.Series(["-", "-", "-", "x"]), missing="-")
    assert vocabulary.tokens.to_list() == ["x"]
    assert vocabulary.encode(pl.Series(["-", "x"])).tolist() == [2, 1]


def test_a_value_of_the_test_part_only_is_oov() -> None:
    train, test = pl.Series([1, 1, 2]), pl.Series([2, 3])
    vocabulary = Vocabulary.fit(train)
    assert vocabulary.encode(test).tolist() == [2, 3]
    assert vocabulary.oov == 3


def test_ties_of_numbers_are_in_the_order_of_their_text() -> None:
    assert Vocabulary.fit(pl.Series([9, 10, 100])).tokens.to_list() == ["10", "100", "9"]


@settings(max_examples=50, deadline=None)
@given(columns, st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(values: list[str | None], min_count: int, random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = Vocabulary.fit(pl.Series(values, dtype=pl.String), min_count=min_count)
    second = Vocabulary.fit(pl.Series(shuffled, dtype=pl.String), min_count=min_count)
    assert first == second


@settings(max_examples=50, deadline=None)
@given(columns, st.integers(1, 3))
def test_encoding_is_undone_for_known_tokens(values: list[str | None], min_count: int) -> None:
    series = pl.Series(values, dtype=pl.String)
    vocabulary = Vocabulary.fit(series, min_count=min_count)
    ids = vocabulary.encode(series)
    kept = {value for value in values if value is not None and values.count(value) >= min_count}
    assert vocabulary.decode(ids).to_list() == [value if value in kept else None for value in values]
    assert all(1 <= i <= vocabulary.oov for i in ids.tolist())
    counts = [values.count(token) for token in vocabulary.tokens.to_list()]
    assert counts == sorted(counts, reverse=True)


@settings(max_examples=50, deadline=None)
@given(columns)
def test_streaming_counts_the_same(values: list[str | None]) -> None:
    series = pl.Series("c", values, dtype=pl.String)
    assert Vocabulary.fit(series.to_frame().lazy()) == Vocabulary.fit(series)


def test_counts_of_one_token_in_two_spellings_are_summed() -> None:
    counted = count_tokens(pl.Series([0.0, -0.0, 1.0]))
    assert dict(counted.sort("token").iter_rows()) == {"0": 2, "1": 1}


@settings(max_examples=50, deadline=None)
@given(columns)
def test_saved_and_rebuilt_is_equal(values: list[str | None]) -> None:
    vocabulary = Vocabulary.fit(pl.Series(values, dtype=pl.String), missing="zz")
    assert Vocabulary.from_arrays(**vocabulary.to_arrays(), missing="zz") == vocabulary


def test_min_count_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_count is 0"):
        Vocabulary.fit(pl.Series(["a"]), min_count=0)
