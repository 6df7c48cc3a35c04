"""Hour, weekday and weekend against the calendar of the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.time_features import avazu_seconds, time_features
from palate.errors import DataError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(10**9), 4 * 10**9), min_size=1, max_size=20), st.sampled_from([0.0, 5.5, -3.0]))
def test_parts_agree_with_the_calendar(times: list[int], offset: float) -> None:
    frame = time_features(pl.Series(times), utc_offset_hours=offset)
    for seconds, (hour, weekday, is_weekend) in zip(times, frame.iter_rows(), strict=True):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, hours=offset)
        assert (hour, weekday, is_weekend) == (moment.hour, moment.weekday(), int(moment.weekday() >= 5))


def test_a_missing_time_has_no_parts() -> None:
    assert time_features(pl.Series([None, 0], dtype=pl.Int64)).rows() == [(None, None, None), (0, 3, 0)]


def test_avazu_hours() -> None:
    expected = int(datetime(2014, 10, 21, 17, tzinfo=UTC).timestamp())
    assert avazu_seconds(pl.Series(["14102117", None])).to_list() == [expected, None]
    early = int(datetime(2009, 1, 2, 3, tzinfo=UTC).timestamp())
    assert avazu_seconds(pl.Series([14102117, 9010203])).to_list() == [expected, early]


@pytest.mark.parametrize("value", ["14102125", "14132100", "x", "2014102117"])
def test_other_forms_are_refused(value: str) -> None:
    with pytest.raises(DataError, match='"hour" has 1 values that are not YYMMDDHH'):
        avazu_seconds(pl.Series("hour", ["14102117", value]))
