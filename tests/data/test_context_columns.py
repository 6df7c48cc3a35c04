"""Context columns: names like features, a defined value for lists, numbers, times, and for what was never seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from palate.data.context_columns import ContextColumns, column_names
from palate.data.dataset import Dataset
from palate.errors import ConfigError, SavedFolderError, UnknownNameError

DAY = 86_400


@pytest.fixture
def data():
    log = pl.DataFrame(
        {
            "user": ["ann", "bo", "ann", "cy"],
            "item": [1, 2, 3, 9],
            "time": [0, 2 * DAY + 3600, None, 5 * DAY],
            "site": ["web", "app", None, "tv"],
            "click": [1, 0, 1, 0],
        }
    )
    items = pl.DataFrame(
        {"item": [1, 2, 3], "genres": [["War", "Drama"], ["Drama"], []], "price": [1.0, 5.0, None], "site": ["x"] * 3}
    )
    return Dataset.from_tables(
        log,
        items=items,
        time="time",
        label="click",
        categorical=["interactions.site", "items.site"],
        lists={"genres": None},
        numeric=["price"],
    )


def test_what_a_column_says(data):
    context = ContextColumns.fit(data, np.arange(3), ["interactions.site", "genres", "weekday", "hour", "is_weekend"])
    assert context.names == ("interactions.site", "genres", "weekday", "hour", "is_weekend")
    assert context.of_dataset(data).tolist() == [
        ["web", "War", "Thursday", "0", "weekday"],
        ["app", "Drama", "Saturday", "1", "weekend"],
        [None, None, None, None, None],  # nothing is known of this row
        [None, None, None, "0", "weekday"],  # "tv", item 9 and Tuesdays do not occur in the first three rows
    ]
    assert context.of_dataset(data, np.array([1])).tolist() == context.of_dataset(data).tolist()[1:2]


def test_the_first_known_entry_of_a_list_counts(data):
    context = ContextColumns.fit(data, np.array([1]), ["genres"])  # the training rows know Drama only
    assert context.of_dataset(data).ravel().tolist() == ["Drama", "Drama", None, None]
    described = pl.DataFrame({"item": [1, 7], "items.genres": [None, ["Noir", "Drama"]]})
    assert context.of(described).ravel().tolist() == ["Drama", "Drama"]


def test_numbers_are_cut_at_quantiles_of_the_training_rows(data):
    context = ContextColumns.fit(data, np.arange(2), ["price"])
    assert context.of_dataset(data).ravel().tolist() == ["to 1", "above 1", None, None]


def test_rows_without_a_column_have_no_value(data):
    context = ContextColumns.fit(data, None, ["interactions.site", "genres", "weekday"])
    assert context.of(pl.DataFrame({"user": ["ann"]})).tolist() == [[None, None, None]]
    assert context.of(pl.DataFrame({"item": [2], "time": [0]})).tolist() == [[None, "Drama", "Thursday"]]


def test_saved_and_loaded_reads_the_same(data):
    context = ContextColumns.fit(data, np.arange(3), ["genres", "weekday", "price"])
    again = ContextColumns.from_saved(*context.to_saved())
    assert again.names == context.names
    assert again.of_dataset(data).tolist() == context.of_dataset(data).tolist()
    with pytest.raises(SavedFolderError):
        ContextColumns.from_saved({}, {})


def test_a_column_of_the_log_goes_before_a_part_of_its_time():
    log = pl.DataFrame({"user": ["a"], "item": [1], "time": [0], "weekday": ["market day"]})
    data = Dataset.from_tables(log, time="time", categorical=["weekday"])
    assert ContextColumns.fit(data, None, ["weekday"]).of_dataset(data).tolist() == [["market day"]]


def test_names_that_mean_nothing_are_refused(data):
    assert column_names(data.schema) == ("user", "item", "site", "genres", "price", "hour", "weekday", "is_weekend")
    with pytest.raises(UnknownNameError, match='"genres"'):
        ContextColumns.fit(data, None, ["genre"])
    with pytest.raises(UnknownNameError):
        ContextColumns.fit(data, None, ["click"])  # the label is never a context
    with pytest.raises(ConfigError, match=r"interactions\.site and items\.site"):
        ContextColumns.fit(data, None, ["site"])
    with pytest.raises(ConfigError, match="No context column"):
        ContextColumns.fit(data, None, [])
    with pytest.raises(ConfigError, match="genres"):
        ContextColumns.fit(data, None, ["genres", "genres"])
    timeless = Dataset.from_tables(pl.DataFrame({"user": ["a"], "item": [1]}))
    with pytest.raises(UnknownNameError):
        ContextColumns.fit(timeless, None, ["weekday"])
