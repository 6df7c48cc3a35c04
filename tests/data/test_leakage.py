"""Planted leaks are found and named; honest splits pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from palate.data.dataset import Dataset
from palate.data.encoder import FeatureEncoder
from palate.data.leakage import check_leakage, require_no_leakage
from palate.data.split import Split
from palate.data.splits import leave_one_out, split_by_ratio, split_by_time
from palate.errors import LeakageError

ROWS = 300


def make(**columns: Any) -> Dataset:
    rng = np.random.default_rng(0)
    clicks = rng.integers(0, 2, ROWS)
    frame = {
        "user": rng.integers(0, 20, ROWS),
        "item": rng.integers(0, 40, ROWS),
        "time": np.arange(ROWS),
        "click": clicks,
        "noise": rng.normal(size=ROWS),
        "row_id": np.arange(ROWS),
        **{name: make_column(clicks) for name, make_column in columns.items()},
    }
    return Dataset.from_tables(
        pl.DataFrame(frame, strict=False),
        time="time",
        label="click",
        categorical=["row_id", *(name for name in columns if name.startswith("c_"))],
        numeric=["noise", *(name for name in columns if name.startswith("n_"))],
    )


def found(data: Dataset, split: Split, **settings: Any) -> str:
    return "\n".join(str(problem) for problem in check_leakage(data, split, **settings))


def change(split: Split, **parts: Any) -> Split:
    kept = {"train": split.train, "validation": split.validation, "test": split.test, **parts}
    return Split(**kept, how=split.how, settings=split.settings)


def test_honest_splits_pass() -> None:
    data = make()
    for split in (split_by_time(data), split_by_ratio(data), leave_one_out(data)):
        assert check_leakage(data, split, encoder=FeatureEncoder.fit(data, split.train)) == []
        require_no_leakage(data, split)


def test_a_row_in_two_parts() -> None:
    data = make()
    split = split_by_time(data)
    leaky = change(split, train=np.append(split.train, split.test[:3]))
    assert "row 270: rows are in train and in test [3 rows]" in found(data, leaky)
    with pytest.raises(LeakageError, match="rows are in train and in test"):
        require_no_leakage(data, leaky)


def test_rows_twice_or_from_nowhere() -> None:
    data = make()
    split = split_by_time(data)
    assert "train holds rows more than once [2 rows]" in found(
        data, change(split, train=np.append(split.train, [0, 1]))
    )
    assert "test names rows that the log of 300 does not have" in found(data, change(split, test=np.array([ROWS])))


def test_the_same_event_in_two_parts() -> None:
    data = make()
    frame = data.interactions
    copied = data.replace(interactions=pl.concat([frame, frame[:5]]))
    split = split_by_time(data)
    leaky = change(split, test=np.arange(ROWS - 30, ROWS + 5))
    text = found(copied, Split(split.train, split.validation, leaky.test, how="ratio"))
    assert "the same user, item and time stand in more than one part [5 rows]" in text


def test_later_rows_in_train() -> None:
    data = make()
    split = split_by_time(data)
    swapped = change(split, train=np.append(split.train[1:], 299), test=np.append(split.test[:-1], 0))
    text = found(data, swapped)
    assert "rows of train are later than the first row of validation" in text
    assert "rows of train are later than the first row of test" in text


def test_the_future_of_a_user_in_leave_one_out() -> None:
    data = make()
    split = leave_one_out(data)
    leaky = Split(split.train, split.test, split.validation, how="leave-one-out")
    assert "rows of validation are later than the same user's row of test [20 rows]" in found(data, leaky)


def test_a_copy_of_the_label_in_any_disguise() -> None:
    names = ["n_copy", "n_minus", "c_word", "n_almost"]
    data = make(
        n_copy=lambda y: y,
        n_minus=lambda y: 5.0 - 3 * y,
        c_word=lambda y: np.where(y == 1, "yes", "no"),
        n_almost=lambda y: y + np.random.default_rng(1).normal(0, 1.0, len(y)),
    )
    columns = {problem.column for problem in check_leakage(data, split_by_time(data))}
    assert columns == set(names[:3])


def test_an_id_of_the_row_is_no_copy() -> None:
    """It orders the training rows perfectly; held-out rows it does not know."""
    data = make()
    assert check_leakage(data, split_by_ratio(data)) == []


def test_an_encoder_that_saw_more_than_train() -> None:
    data = make()
    split = split_by_time(data)
    encoder = FeatureEncoder.fit(data)
    assert "fitted on other rows than those of train" in found(data, split, encoder=encoder)


def test_all_leaks_come_together() -> None:
    data = make(n_copy=lambda y: y)
    split = split_by_time(data)
    swapped = change(split, train=np.append(split.train[1:], 299), test=np.append(split.test[:-1], 0))
    with pytest.raises(LeakageError) as caught:
        require_no_leakage(data, swapped, encoder=FeatureEncoder.fit(data))
    assert len(caught.value.problems) >= 4
