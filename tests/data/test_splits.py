"""Splits: hand-made logs, laws over random ones, and the same split read back."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.dataset import Dataset
from palate.data.split import PARTS, Split, fingerprint_rows
from palate.data.splits import (
    _cuts,
    check_leakage,
    leave_one_out,
    split_by_column,
    split_by_ratio,
    split_by_time,
    split_by_user,
)
from palate.errors import ConfigError, DataError, SavedFolderError, SchemaError, UnknownNameError


def make(users: Any, times: Any = None, **more: Any) -> Dataset:
    columns = {"user": users, "item": list(range(len(users)))}
    if times is not None:
        columns["time"] = times
    return Dataset.from_tables(
        pl.DataFrame({**columns, **more}), time=None if times is None else "time", split="part" if more else None
    )


def parts(split: Split) -> list[list[int]]:
    return [split.part(part).tolist() for part in PARTS]


logs = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6)), min_size=10, max_size=60)


def test_by_time_by_hand() -> None:
    data = make(["a"] * 10, [5, 1, 9, 3, 3, 8, 0, 2, 7, 6])
    # order: 6 1 7 3 4 0 9 8 5 2
    split = split_by_time(data, (0.6, 0.2, 0.2))
    assert parts(split) == [[0, 1, 3, 4, 6, 7], [8, 9], [2, 5]]
    assert split.settings == {"fractions": [0.6, 0.2, 0.2]}


def test_rows_of_one_second_are_cut_in_the_order_of_the_log() -> None:
    assert parts(split_by_time(make(["a"] * 10, [7] * 10))) == [[0, 1, 2, 3, 4, 5, 6, 7], [8], [9]]


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(45_840_617, (36_672_493, 4_584_062, 4_584_062)), (739_012, (591_209, 73_901, 73_902))],
)
def test_the_sizes_are_those_of_the_published_splits(rows: int, sizes: tuple[int, ...]) -> None:
    """Criteo_x4 and ML-1M."""
    first, second = _cuts(rows, (0.8, 0.1, 0.1))
    assert (first, second - first, rows - second) == sizes


@settings(max_examples=50, deadline=None)
@given(logs, st.integers(0, 3))
def test_every_row_falls_into_one_part(log: list[tuple[str, int]], seed: int) -> None:
    data = make([user for user, _ in log], [time for _, time in log])
    for split in (split_by_time(data), split_by_ratio(data, seed=seed), split_by_ratio(data, (0.5, 0, 0.5), seed=seed)):
        assert sorted(chain.from_iterable(parts(split))) == list(range(len(log)))
        assert check_leakage(data, split) == [] or split.how != "time"
    assert split_by_ratio(data, seed=seed) == split_by_ratio(data, seed=seed)


def test_seeds_differ() -> None:
    data = make(["a"] * 50)
    assert split_by_ratio(data, seed=0).fingerprint != split_by_ratio(data, seed=1).fingerprint
    assert len(split_by_ratio(data, (0.7, 0.2, 0.1)).test) == 5


@settings(max_examples=50, deadline=None)
@given(logs, st.integers(0, 3))
def test_a_user_falls_into_one_part(log: list[tuple[str, int]], seed: int) -> None:
    users = [user for user, _ in log] + list("wxyz")
    split = split_by_user(make(users), (0.5, 0.25, 0.25), seed=seed)
    homes = [{users[row] for row in rows} for rows in parts(split)]
    assert set.union(*homes) == set(users)
    assert sum(map(len, homes)) == len(set(users))
    assert sorted(chain.from_iterable(parts(split))) == list(range(len(users)))


def test_by_column() -> None:
    names = ["train", "Valid", "TEST", "train", "dev"]
    split = split_by_column(make(list("abcde"), part=names))
    assert parts(split) == [[0, 3], [1, 4], [2]]
    assert split.settings == {"column": "part"}
    with pytest.raises(DataError, match="does not state a split") as caught:
        split_by_column(make(list("abcd"), part=["train", "holdout", "holdout", None]))
    assert [(p.value, p.count) for p in caught.value.problems] == [("holdout", 2), (None, 1)]
    with pytest.raises(DataError, match="no rows to train on"):
        split_by_column(make(["a"], part=["test"]))
    with pytest.raises(SchemaError, match='no column "prt".*Did you mean "part"'):
        split_by_column(make(["a"], part=["train"]), "prt")


def test_leave_one_out_by_hand() -> None:
    #          0    1    2    3    4    5    6    7    8
    users = ["a", "b", "a", "a", "b", "c", "a", "b", None]
    times = [5, 1, 5, 9, 1, 3, 9, 0, 7]
    # a by time: 0, 2 (both at 5), 3, 6 (both at 9); b: 7, then 1 and 4 (both at 1); c has one row
    split = leave_one_out(make(users, times))
    assert parts(split) == [[0, 2, 5, 7, 8], [1, 3], [4, 6]]
    assert check_leakage(make(users, times), split) == []
    assert parts(leave_one_out(make(users, times), min_rows=4)) == [[0, 1, 2, 4, 5, 7, 8], [3], [6]]


def test_leave_one_out_without_times_takes_the_order_of_the_log() -> None:
    assert parts(leave_one_out(make(["a", "b", "a", "a", "b", "b"]))) == [[0, 1], [2, 4], [3, 5]]


@settings(max_examples=50, deadline=None)
@given(logs)
def test_leave_one_out_tests_the_latest(log: list[tuple[str, int]]) -> None:
    users, times = [user for user, _ in log], [time for _, time in log]
    data = make(users, times)
    split = leave_one_out(data)
    assert sorted(chain.from_iterable(parts(split))) == list(range(len(log)))
    for row in split.test.tolist():
        own = [other for other in range(len(log)) if users[other] == users[row]]
        assert (times[row], row) == max((times[other], other) for other in own)
    assert len(split.test) == len(split.validation) == sum(users.count(user) >= 3 for user in set(users))
    assert check_leakage(data, split) == []


def test_bad_settings_are_refused() -> None:
    data = make(list("ab"), [1, 2])
    for fractions in ((0.8, 0.2), (0.8, 0.1, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)):
        with pytest.raises(ConfigError, match="three shares that sum to 1"):
            split_by_time(data, fractions)
    with pytest.raises(DataError, match="The part validation would be empty"):
        split_by_time(data)
    with pytest.raises(ConfigError, match="seed is -1"):
        split_by_ratio(data, seed=-1)
    with pytest.raises(ConfigError, match="min_rows is 2"):
        leave_one_out(data, min_rows=2)
    with pytest.raises(DataError, match="No user has 3 rows"):
        leave_one_out(data)
    with pytest.raises(SchemaError, match="no column with the role time"):
        split_by_time(make(["a"] * 10))


def test_a_split_is_read_back_and_cannot_be_changed(tmp_path: Path) -> None:
    split = split_by_ratio(make(["a"] * 30), seed=4)
    split.save(tmp_path / "split")
    again = Split.load(tmp_path / "split")
    assert again == split
    assert again.settings == split.settings
    assert parts(again) == parts(split)
    with pytest.raises(ValueError, match="read-only"):
        split.train[0] = 1
    with pytest.raises(UnknownNameError, match='Did you mean "validation"'):
        split.part("validaton")
    (tmp_path / "split" / "rows.safetensors").write_bytes(b"")
    with pytest.raises(SavedFolderError):
        Split.load(tmp_path / "split")


def test_the_fingerprint_is_of_the_set() -> None:
    assert fingerprint_rows(np.array([3, 1, 2])) == fingerprint_rows(np.array([1, 2, 3], dtype=np.int32))
    assert fingerprint_rows(np.array([1, 2])) != fingerprint_rows(np.array([1, 2, 3]))
    one = Split(np.array([0]), np.array([1]), np.array([2]), how="time")
    assert one.fingerprint != Split(np.array([0]), np.array([2]), np.array([1]), how="time").fingerprint
