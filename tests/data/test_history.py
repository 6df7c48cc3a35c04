"""Histories: strictly earlier positives of the same user, against a slow reference; never the row itself."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.history import HistoryLog

events = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 8), st.integers(1, 9)), max_size=40)
queries = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-9, 12)), max_size=20)


def build(log: list[tuple[str, int, int]]) -> HistoryLog:
    users = pl.Series([user for user, _, _ in log], dtype=pl.String)
    times = np.array([time for _, time, _ in log], dtype=np.int64)
    return HistoryLog.build(users, times, np.array([item for _, _, item in log], dtype=np.int32))


def reference(log: list[tuple[str, int, int]], user: str, time: int, length: int) -> list[int]:
    ordered = sorted((entry for entry in log if entry[0] == user and entry[1] < time), key=lambda entry: entry[1])
    items = [item for _, _, item in ordered][-length:]
    return [0] * (length - len(items)) + items


@settings(max_examples=50, deadline=None)
@given(events, queries, st.integers(1, 5))
def test_agrees_with_the_slow_reference(
    log: list[tuple[str, int, int]], rows: list[tuple[str, int]], length: int
) -> None:
    found = build(log).before(
        pl.Series([user for user, _ in rows], dtype=pl.String),
        np.array([time for _, time in rows], dtype=np.int64),
        length=length,
    )
    assert found.tolist() == [reference(log, user, time, length) for user, time in rows]
    assert found.dtype == np.int32


@settings(max_examples=50, deadline=None)
@given(events, st.integers(1, 4))
def test_what_happens_later_changes_nothing(log: list[tuple[str, int, int]], length: int) -> None:
    """No leakage: with everything from a moment on removed, histories before that moment stay the same."""
    moment = 4
    before = [entry for entry in log if entry[1] < moment]
    users, times = pl.Series(["a", "b", "c"] * 2), np.array([moment] * 3 + [moment - 2] * 3)
    whole = build(log).before(users, times, length=length)
    assert whole.tolist() == build(before).before(users, times, length=length).tolist()


def test_the_same_second_is_not_before() -> None:
    log = build([("a", 5, 1), ("a", 5, 2), ("a", 6, 3)])
    assert log.before(pl.Series(["a", "a"]), np.array([5, 6]), length=3).tolist() == [[0, 0, 0], [0, 1, 2]]


def test_nobody_and_no_time_have_no_history() -> None:
    log = build([("a", 5, 1)])
    nothing = log.before(pl.Series([None, "z", "a"]), np.array([9, 9, np.iinfo(np.int64).min]), length=2)
    assert nothing.tolist() == [[0, 0]] * 3
    assert build([]).before(pl.Series(["a"]), np.array([1]), length=2).tolist() == [[0, 0]]


def test_saved_and_rebuilt_answers_the_same() -> None:
    log = build([("b", 5, 1), ("a", 3, 2), ("b", 4, 7)])
    again = HistoryLog.from_arrays(log.to_arrays())
    for one in (log, again):
        assert one.before(pl.Series(["b", "a"]), np.array([9, 9]), length=2).tolist() == [[7, 1], [0, 2]]
