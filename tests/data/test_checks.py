"""The checks find everything that is wrong, say where, and find nothing in good data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from palate.data.checks import check_dataset
from palate.data.dataset import Dataset
from palate.data.opening import open_dataset
from palate.data.schema import Column, Role, Schema
from palate.errors import Problem

NOW = 1_700_000_000.0
GOOD: dict[str, list[Any]] = {
    "user": [1, 1, 2],
    "item": ["a", "b", "a"],
    "time": [10, 20, 30],
    "label": [1.0, 0.0, 1.0],
    "price": [1.5, None, 2.0],
    "kind": ["x", None, "y"],
}
ITEMS = {"item": ["a", "b", "c"], "weight": [1.0, 2.0, 0.0]}


def problems(
    log: dict[str, list[Any]] | None = None, items: dict[str, list[Any]] | None = None, **roles: Any
) -> list[Problem]:
    settings: dict[str, Any] = {
        "time": "time",
        "label": "label",
        "numeric": "price",
        "categorical": "kind",
        "weight": "weight",
    }
    frame = pl.DataFrame({**GOOD, **(log or {})}, strict=False)
    data = Dataset.from_tables(frame, items=pl.DataFrame({**ITEMS, **(items or {})}), **{**settings, **roles})
    return check_dataset(data, now=NOW)


def test_good_data_has_no_problem() -> None:
    assert problems() == []


@pytest.mark.parametrize("name", ["movielens-small", "complete-journey-promotions"])
def test_shipped_data_has_no_problem(name: str) -> None:
    assert check_dataset(open_dataset(name)) == []


CASES: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, str, int | None, int]]] = [
    ("null user", {"user": [1, None, 2]}, {}, ("user id is missing", "user", 1, 1)),
    ("null item", {"item": [None, "b", None]}, {}, ("item id is missing", "item", 0, 2)),
    ("empty item", {"item": ["a", "b", ""]}, {}, ("empty text", "item", 2, 1)),
    ("blank around an id", {"item": ["a", "b", " b"]}, {}, ("white space", "item", 2, 1)),
    ("null time", {"time": [None, 20, 30]}, {}, ("time is missing", "time", 0, 1)),
    ("null label", {"label": [1.0, None, 0.0]}, {}, ("label is missing", "label", 1, 1)),
    ("label of 2", {"label": [1.0, 2.0, 0.0]}, {}, ("neither 0 nor 1", "label", 1, 1)),
    ("label NaN", {"label": [1.0, float("nan"), 0.0]}, {}, ("not a number", "label", 1, 1)),
    ("NaN", {"price": [float("nan"), 1.0, float("nan")]}, {}, ("not a number", "price", 0, 2)),
    ("infinity", {"price": [1.0, 1.0, float("-inf")]}, {}, ("infinite", "price", 2, 1)),
    ("before 1970", {"time": [10, -1, 30]}, {}, ("before 1970-01-01", "time", 1, 1)),
    ("the day after tomorrow", {"time": [10, 20, int(NOW) + 90_000]}, {}, ("a day in the future", "time", 2, 1)),
    ("milliseconds", {"time": [int(NOW) * 1000] * 3, "user": [1, 2, 3]}, {}, ("looks like milliseconds", "time", 0, 3)),
    ("microseconds", {"time": [10, 20, int(NOW) * 10**6]}, {}, ("looks like microseconds", "time", 2, 1)),
    ("nanoseconds", {"time": [10, 20, int(NOW) * 10**9]}, {}, ("looks like nanoseconds", "time", 2, 1)),
    (
        "a later date",
        {"time": [datetime(2000, 1, 1), datetime(2001, 1, 1), datetime(2999, 1, 1)]},
        {},
        ("future", "time", 2, 1),
    ),
    ("repeated", {"user": [1, 1, 1], "item": ["a", "b", "a"], "time": [10, 20, 10]}, {}, ("earlier row", "", 2, 1)),
    ("unknown item", {"item": ["a", "z", "z"]}, {}, ("not in the table items", "item", 1, 2)),
    ("repeated item id", {}, {"item": ["a", "b", "a"]}, ("stands twice", "item", 2, 1)),
    ("null key", {}, {"item": ["a", "b", None]}, ("item id is missing", "item", 2, 1)),
    ("negative weight", {}, {"weight": [1.0, -2.0, 0.0]}, ("weight is negative", "weight", 1, 1)),
    (
        "ids of two kinds",
        {"item": [1, 2, 1]},
        {},
        ("whole numbers in the log and text in the table items", "item", None, 1),
    ),
    ("text as number", {"price": ["1", "2", "3"]}, {}, ("role numeric is of type String", "price", None, 1)),
    ("fractions as ids", {"user": [1.0, 2.0, 3.0]}, {}, ("role user is of type Float64", "user", None, 1)),
    ("text as time", {"time": ["a", "b", "c"]}, {}, ("role time is of type String", "time", None, 1)),
]


@pytest.mark.parametrize(("log", "items", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_defect_is_found_and_nothing_else(
    log: dict[str, Any], items: dict[str, Any], expected: tuple[str, str, int | None, int]
) -> None:
    found = problems(log, items)
    words, column, row, count = expected
    if words in ("empty text", "white space"):
        found = [problem for problem in found if "not in the table" not in problem.problem]
    assert len(found) == 1, found
    assert words in found[0].problem
    assert (found[0].column, found[0].row, found[0].count) == (column, row, count)
    assert found[0].remedy
    assert found[0].row_kind == "row" if row is not None else True


def test_all_defects_are_listed_together() -> None:
    found = problems({"user": [None, 1, 2], "price": [float("inf"), 1.0, 2.0], "time": [-5, 1, 2], "label": [3, 0, 1]})
    assert len(found) == 4


def test_without_times_only_equal_rows_are_repeated() -> None:
    same = {"user": [1, 1], "item": ["a", "a"]}
    bought_again = pl.DataFrame({**same, "basket": [1, 2]})
    assert check_dataset(Dataset.from_tables(bought_again)) == []
    assert [p.row for p in check_dataset(Dataset.from_tables(pl.DataFrame({**same, "basket": [1, 1]})))] == [1]


def test_a_schema_of_columns_that_are_not_there_is_a_problem() -> None:
    schema = Schema(interactions=(Column(name="user", role=Role.USER), Column(name="itm", role=Role.ITEM)))
    found = check_dataset(Dataset(schema, pl.DataFrame({"user": [1], "item": [2]})))
    assert [p.problem for p in found] == ["the column is missing"]
    assert 'Did you mean "item"' in found[0].remedy


def test_an_altered_folder_is_a_problem(tmp_path: Any) -> None:
    folder = Dataset.from_tables(pl.DataFrame({"user": [1, 2], "item": [3, 4]})).save(tmp_path / "data")
    assert check_dataset(Dataset.open(folder)) == []
    pl.DataFrame({"user": [1, 2], "item": [3, 5]}).write_parquet(folder / "interactions.parquet")
    assert [p.problem for p in check_dataset(Dataset.open(folder))] == ["the contents differ from what was saved"]
