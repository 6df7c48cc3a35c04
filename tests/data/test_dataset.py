"""The data set: what goes in comes out, on disk and in memory; every mistake of a declaration is named."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from palate.data.dataset import Dataset
from palate.data.schema import Role
from palate.errors import ConfigError, DataError, SavedFolderError, SchemaError

LOG = {
    "userId": [1, 1, 2, 3],
    "movieId": [10, 20, 10, 30],
    "rating": [5.0, 3.5, 4.0, 1.0],
    "when": [100, 200, 200, 300],
    "device": ["tv", None, "phone", "tv"],
}
ITEMS = {"movieId": [10, 20, 30, 40], "name": ["A", "B", "C", "D"], "genres": ["x|y", "x", "", None]}
USERS = {"userId": [1, 2, 3], "age": [20.0, 30.0, None]}


def make(**changes: Any) -> Dataset:
    roles: dict[str, Any] = {
        "items": pl.DataFrame(ITEMS),
        "users": pl.DataFrame(USERS),
        "user": "userId",
        "item": "movieId",
        "time": "when",
        "label": "rating >= 4",
        "title": "name",
        "categorical": "device",
        "numeric": ["age"],
        "lists": {"genres": "|"},
        "name": "films",
        "facts": {"licence": "CC0", "source": "made here\n\x7f", "years": [1995, 2018], "more": {"a": 1.5, "b": True}},
    }
    return Dataset.from_tables(pl.DataFrame(LOG), **{**roles, **changes})


def test_roles_become_a_schema_and_lists_become_lists() -> None:
    data = make()
    schema = data.schema
    assert schema.name_of("interactions", Role.USER) == "userId"
    assert schema.name_of("items", Role.ITEM) == "movieId"
    assert schema.name_of("users", Role.USER) == "userId"
    assert schema.name_of("items", Role.TITLE) == "name"
    assert schema.name_of("users", Role.NUMERIC) == "age"
    assert data.items is not None
    assert data.items["genres"].to_list() == [["x", "y"], ["x"], None, None]
    assert data.labels().tolist() == [1.0, 0.0, 1.0, 0.0]
    assert data.labels().dtype == np.float32
    assert data.times().tolist() == [100, 200, 200, 300]
    assert len(data) == 4


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "batch"])
def test_every_kind_of_table_gives_the_same_data_set(kind: str) -> None:
    frame = pl.DataFrame(LOG)
    table = {
        "pandas": lambda: pd.DataFrame(LOG),
        "polars": lambda: frame,
        "lazy": frame.lazy,
        "arrow": frame.to_arrow,
        "batch": lambda: pa.RecordBatch.from_pydict(LOG),
    }[kind]()
    data = Dataset.from_tables(table, user="userId", item="movieId", label="rating >= 4")
    expected = Dataset.from_tables(frame, user="userId", item="movieId", label="rating >= 4")
    assert data.interactions.equals(expected.interactions)
    assert data.fingerprint == expected.fingerprint


def test_all_misspelt_columns_are_listed_with_suggestions() -> None:
    with pytest.raises(SchemaError) as caught:
        make(user="userid", time="wen", categorical=["device", "devise"], title="nam")
    text = str(caught.value)
    assert len(caught.value.problems) == 5  # the key is missing from the log and from the table of users
    for nearest in ('"userId"', '"when"', '"device"', '"name"'):
        assert f"Did you mean {nearest}" in text


def test_a_misspelt_argument_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match='Did you mean "categorical"'):
        make(categoricals=["device"])


def test_two_roles_for_one_column_and_a_name_in_two_tables_are_refused() -> None:
    with pytest.raises(SchemaError, match="two roles: label and numeric"):
        make(numeric="rating")
    items = pl.DataFrame({**ITEMS, "device": ["a", "b", "c", "d"]})
    with pytest.raises(SchemaError, match=r'Write "interactions.device" or "items.device"'):
        make(items=items)
    data = make(items=items, categorical="items.device")
    assert data.schema.name_of("items", Role.CATEGORICAL) == "device"
    assert not data.schema.has("interactions", Role.CATEGORICAL)


def test_a_catalogue_may_call_its_key_otherwise() -> None:
    items = pl.DataFrame(ITEMS).rename({"movieId": "id"})
    with pytest.raises(SchemaError, match="item_key"):
        make(items=items)
    assert make(items=items, item_key="id").schema.name_of("items", Role.ITEM) == "id"


def test_rows_without_user_and_item_are_a_data_set() -> None:
    data = Dataset.from_tables(
        pl.DataFrame({"y": [0, 1], "c": ["a", "b"]}), user=None, item=None, label="y", categorical="c"
    )
    assert data.labels().tolist() == [0.0, 1.0]
    assert data.summary().users is None


def test_a_log_without_label_is_a_log_of_positives() -> None:
    data = make(label=None)
    assert not data.has_labels
    assert data.labels().tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("ratings", "label", "message"),
    [
        ([5.0, None, 4.0, 1.0], "rating >= 4", "the label is missing"),
        ([5.0, float("nan"), 4.0, 1.0], "rating >= 4", "the label is missing"),
        ([5.0, 1.0, 0.0, 1.0], "rating", "neither 0 nor 1"),
    ],
)
def test_labels_that_cannot_be_read_are_named(ratings: list[float | None], label: str, message: str) -> None:
    data = Dataset.from_tables(pl.DataFrame({**LOG, "rating": ratings}), user="userId", item="movieId", label=label)
    with pytest.raises(DataError, match=message):
        data.labels()


def test_text_is_no_label() -> None:
    with pytest.raises(SchemaError, match="numbers or booleans"):
        make(label="device", categorical=()).labels()


def test_times_of_every_type() -> None:
    moment = datetime(2020, 1, 1, 0, 0, 1, 500_000)
    frame = pl.DataFrame({"user": [1], "item": [1], "t": [moment]})
    expected = 1577836801
    assert Dataset.from_tables(frame, time="t").times().tolist() == [expected]
    zoned = frame.with_columns(pl.col("t").dt.replace_time_zone("Europe/Vienna"))
    assert Dataset.from_tables(zoned, time="t").times().tolist() == [expected - 3600]
    assert Dataset.from_tables(frame.with_columns(pl.col("t").dt.date()), time="t").times().tolist() == [1577836800]
    thousandths = frame.with_columns(pl.col("t").dt.epoch("ms"))
    assert Dataset.from_tables(thousandths, time="t", time_unit="ms").times().tolist() == [expected]
    with pytest.raises(SchemaError, match="type String"):
        Dataset.from_tables(frame.with_columns(pl.col("t").cast(pl.String)), time="t").times()
    with pytest.raises(SchemaError, match="whole numbers"):
        Dataset.from_tables(frame, time="t", time_unit="ms")


def test_saved_and_opened_it_is_the_same(tmp_path: Path) -> None:
    data = make()
    opened = Dataset.open(data.save(tmp_path / "films"))
    assert opened.schema == data.schema
    assert opened.name == "films"
    assert dict(opened.facts) == dict(data.facts)
    assert isinstance(opened.scan(), pl.LazyFrame)
    assert opened.fingerprint == data.fingerprint == opened.recorded_fingerprint  # streamed, before the rows are loaded
    assert len(opened) == 4
    for table in ("interactions", "items", "users"):
        ours, theirs = data.table(table), opened.table(table)
        assert ours is not None
        assert theirs is not None
        assert ours.equals(theirs)
    assert opened.fingerprint == data.fingerprint
    assert Dataset.open(opened.save(tmp_path / "again")).fingerprint == data.fingerprint


def test_saving_over_the_folder_it_reads_from_keeps_it_whole(tmp_path: Path) -> None:
    opened = Dataset.open(make().save(tmp_path / "films"))
    opened.replace(name="renamed").save(tmp_path / "films")
    again = Dataset.open(tmp_path / "films")
    assert again.name == "renamed"
    assert again.interactions.equals(make().interactions)


def test_a_folder_cut_between_its_two_renames_comes_back(tmp_path: Path) -> None:
    target = make().save(tmp_path / "films")
    target.rename(tmp_path / ".films.previous")
    assert Dataset.open(target).fingerprint == make().fingerprint


def test_damaged_folders_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SavedFolderError, match="does not exist"):
        Dataset.open(tmp_path / "none")
    with pytest.raises(SavedFolderError, match=r"dataset.toml is missing"):
        Dataset.open(tmp_path)
    folder = make().save(tmp_path / "films")
    description = folder / "dataset.toml"
    text = description.read_text()
    for wrong, message in [
        (text.replace("format = 1", "format = 99"), "Update Palate"),
        (text[:200], "cannot be"),
        (text.replace('"role" = "user"', '"role" = "usr"'), "not valid"),
        (text.replace("interactions = 4", "interactions = 5"), "4 rows; 5 were saved"),
        ("\x00", "cannot be read"),
    ]:
        description.write_text(wrong)
        with pytest.raises(SavedFolderError, match=message):
            Dataset.open(folder)
    description.write_text(text)
    whole = (folder / "interactions.parquet").read_bytes()
    (folder / "interactions.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SavedFolderError, match="cannot be read"):
        Dataset.open(folder)
    (folder / "interactions.parquet").unlink()
    with pytest.raises(SavedFolderError, match=r'lost its part "interactions.parquet"'):
        Dataset.open(folder)


def test_the_fingerprint_sees_content_and_nothing_else() -> None:
    frame = pl.DataFrame(LOG)
    data = make()
    chunked = make(items=pl.DataFrame(ITEMS)).replace(interactions=pl.concat([frame[:1], frame[1:]], rechunk=False))
    assert chunked.interactions.n_chunks() == 2
    assert chunked.fingerprint == data.fingerprint
    dictionary = data.replace(interactions=frame.with_columns(pl.col("device").cast(pl.Categorical)))
    assert dictionary.fingerprint == data.fingerprint
    assert data.replace(name="other").fingerprint == data.fingerprint
    changed = {
        "a value": frame.with_columns(rating=pl.lit(1.0)),
        "order": frame.reverse(),
        "a missing value": frame.with_columns(device=pl.lit(None, pl.String)),
        "a boundary": frame.with_columns(device=pl.Series(["t", "vphone", None, "tv"])),
        "a type": frame.with_columns(pl.col("userId").cast(pl.Int32)),
    }
    digests = {data.replace(interactions=other).fingerprint for other in changed.values()}
    assert len(digests | {data.fingerprint}) == len(changed) + 1


def test_summary_counts_by_hand() -> None:
    figures = make().summary()
    assert (figures.rows, figures.users, figures.items, figures.catalogue_items) == (4, 3, 3, 4)
    assert figures.positive_share == 0.5
    assert figures.density == pytest.approx(4 / 9)
    assert figures.head_share == 0.5  # one item of three is the top tenth, rounded up: item 10, twice
    assert figures.rare_items == 3
    assert figures.median_history == 1
    assert figures.first_time == "1970-01-01T00:01:40Z"
    assert figures.last_time == "1970-01-01T00:05:00Z"
    assert figures.to_dict()["licence"] == "CC0"
    assert "<table>" in make()._repr_html_()
    from rich.console import Console

    console = Console(record=True, width=80)
    console.print(figures)
    assert "median history" in console.export_text()


def test_names_in_html_are_escaped() -> None:
    assert "<script>" not in make(name="<script>")._repr_html_()


def test_take_and_replace_leave_the_original_alone() -> None:
    data = make()
    assert data.take(np.array([2, 0])).interactions["userId"].to_list() == [2, 1]
    assert data.take(np.array([True, False, False, True])).interactions["userId"].to_list() == [1, 3]
    assert len(data) == 4
    with pytest.raises(SchemaError, match='Did you mean "interactions"'):
        data.replace(interaction=1)
    with pytest.raises(AttributeError):
        data.name = "x"  # type: ignore[misc]


def test_a_frame_of_mixed_objects_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be read as columns"):
        Dataset.from_tables(pd.DataFrame({"user": [1, "a"], "item": [1, 2]}))
    with pytest.raises(SchemaError, match="type list"):
        Dataset.from_tables([1, 2])
    repeated = pd.DataFrame([[1, 2, 3]], columns=["user", "item", "user"])
    with pytest.raises(SchemaError, match="more than one column called 'user'"):
        Dataset.from_tables(repeated)
