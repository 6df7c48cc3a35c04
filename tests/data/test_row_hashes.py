"""Counting and finding repeated rows agrees with the plain way, for every type of column."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data import row_hashes
from palate.data.row_hashes import count_distinct, repeated_rows

ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", "", None]), st.floats(0, 1)), max_size=30)


@settings(max_examples=60, deadline=None, database=None)
@given(ROWS, st.integers(1, 7))
def test_against_sets(rows: list[tuple[int, str | None, float]], size: int) -> None:
    frame = pl.LazyFrame(rows, schema={"u": pl.Int64, "i": pl.String, "x": pl.Float64}, orient="row")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_hashes, "_ROWS", size)
        seen: set[tuple[int, str | None]] = set()
        later = []
        for index, (user, item, _) in enumerate(rows):
            if (user, item) in seen:
                later.append(index)
            seen.add((user, item))
        assert repeated_rows(frame, ["u", "i"]).tolist() == later
        assert count_distinct(frame, ["u", "i"]) == len({pair for pair in seen if pair[1] is not None})


def test_rows_whose_hashes_meet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr(row_hashes, "_hashes", lambda frame, columns: np.zeros(4, np.uint64))
    frame = pl.LazyFrame({"u": [1, 2, 1, 3]})
    assert repeated_rows(frame, ["u"]).tolist() == [2]


def test_lists_and_dates_count_too() -> None:
    frame = pl.DataFrame({"l": [["a"], ["b"], ["a"]], "d": ["2020-01-01"] * 3}).with_columns(pl.col("d").str.to_date())
    assert repeated_rows(frame.lazy(), ["l", "d"]).tolist() == [2]
