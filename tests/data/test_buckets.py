"""Numbers as features: the exact rule of the Criteo benchmarks, quantiles, and plain numbers."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.buckets import QuantileBuckets, Standardiser, criteo_bucket
from palate.errors import ConfigError, DataError, SchemaError

numbers = st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0, 0), (1, 1), (2, 2), (3, 1), (10, 5), (1000, 47), (-1, -1), (2.5, 0), (1.9, 1), (-1.7, -1), (8, 4)],
)
def test_criteo_rule_by_hand(value: float, bucket: int) -> None:
    assert criteo_bucket(pl.Series([value])).to_list() == [bucket]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 10**7), min_size=1, max_size=50))
def test_criteo_rule_is_the_scalar_rule(values: list[int]) -> None:
    expected = [math.floor(math.log(v) ** 2) if v > 2 else int(v) for v in values]
    assert criteo_bucket(pl.Series(values)).to_list() == expected


def test_missing_counts_stay_missing() -> None:
    assert criteo_bucket(pl.Series([None, 3.0, float("nan")])).to_list() == [None, 1, None]


def test_quantiles_by_hand() -> None:
    buckets = QuantileBuckets.fit(pl.Series([1, 2, 3, 4, 5, 6, 7, 8]), num_buckets=4)
    assert buckets.edges.tolist() == [2, 4, 6]
    assert buckets.encode(pl.Series([-9, 2, 3, 4, 7, 99, None])).to_list() == [0, 0, 1, 1, 3, 3, None]


def test_equal_values_share_a_bucket() -> None:
    buckets = QuantileBuckets.fit(pl.Series([0, 0, 0, 0, 0, 0, 1]), num_buckets=4)
    assert buckets.encode(pl.Series([0, 1])).to_list() == [0, 1]
    constant = QuantileBuckets.fit(pl.Series([5, 5, 5]), num_buckets=4)
    assert len(constant.edges) == 0
    assert len(QuantileBuckets.fit(pl.Series([None], dtype=pl.Float64), num_buckets=4).edges) == 0


@settings(max_examples=50, deadline=None)
@given(numbers, st.integers(2, 8))
def test_buckets_rise_with_the_value(values: list[float | None], num_buckets: int) -> None:
    series = pl.Series(values, dtype=pl.Float64)
    buckets = QuantileBuckets.fit(series, num_buckets=num_buckets)
    ordered = buckets.encode(series.drop_nulls().sort()).to_list()
    assert ordered == sorted(ordered)
    assert all(0 <= bucket < num_buckets for bucket in ordered)


@settings(max_examples=50, deadline=None)
@given(numbers, st.lists(st.integers(0, 4), min_size=60, max_size=60))
def test_counts_are_the_same_as_repeated_values(values: list[float | None], counts: list[int]) -> None:
    series, weights = pl.Series(values, dtype=pl.Float64), pl.Series(counts[: len(values)])
    repeated = series.repeat_by(weights).list.explode(empty_as_null=False)
    weighted = QuantileBuckets.fit(series, weights, num_buckets=5)
    assert weighted.edges.tolist() == QuantileBuckets.fit(repeated, num_buckets=5).edges.tolist()
    one, other = Standardiser.fit(series, weights), Standardiser.fit(repeated)
    assert one.mean == pytest.approx(other.mean, rel=1e-9, abs=1e-6)
    assert one.deviation == pytest.approx(other.deviation, rel=1e-6, abs=1e-5)


def test_standardised_by_hand() -> None:
    scale = Standardiser.fit(pl.Series([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, None]))
    assert (scale.mean, scale.deviation) == (5.0, 2.0)
    encoded = scale.encode(pl.Series([9.0, None, 5.0, float("nan")]))
    assert encoded.tolist() == [2.0, 0.0, 0.0, 0.0]
    assert encoded.dtype == np.float32


def test_a_constant_is_only_centred() -> None:
    assert Standardiser.fit(pl.Series([0.1] * 7)).encode(pl.Series([0.1, 1.1])).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("encode", [criteo_bucket, Standardiser(0, 1).encode, QuantileBuckets(np.zeros(1)).encode])
def test_infinity_and_text_are_refused(encode: object) -> None:
    with pytest.raises(DataError, match='"price" holds infinity in 1 rows'):
        encode(pl.Series("price", [math.inf, 1.0]))  # type: ignore[operator]
    with pytest.raises(SchemaError, match='"price" is of type String'):
        encode(pl.Series("price", ["1"]))  # type: ignore[operator]


def test_one_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_buckets is 1"):
        QuantileBuckets.fit(pl.Series([1.0]), num_buckets=1)
