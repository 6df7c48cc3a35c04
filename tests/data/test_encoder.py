"""The encoder: ids by hand, nothing learned beyond the training rows, an answer to everything unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data import feature_counts
from palate.data.dataset import Dataset
from palate.data.encoder import FeatureEncoder, FeaturePlan, FieldPlan
from palate.data.item_vectors import ItemVectors
from palate.data.rank_table import RankTable
from palate.errors import ConfigError, DataError, SavedFolderError, SchemaError
from palate.saving import load_folder, save_folder

LOG = {
    "user": ["ann", "ann", "bo", "ann", "bo", "cy"],
    "item": [10, 20, 10, 30, 30, 20],
    "time": [100, 200, 250, 300, 400, 500],
    "click": [1, 0, 1, 1, 1, 1],
    "device": ["tv", "tv", None, "phone", "radio", "tv"],
    "price": [1.0, 3.0, None, 5.0, 7.0, 9.0],
    "weight": [1.0, 2.0, 1.0, 1.0, 1.0, 0.5],
}
ITEMS = {
    "item": [10, 20, 30, 40],
    "genres": ["x|y", "y", None, "z"],
    "year": [2000, 2010, 2020, 2030],
    "brand": ["acme", None, "bolt", "cog"],
}
USERS = {"user": ["ann", "bo"], "city": ["Delft", "Gouda"]}
TRAIN = np.array([0, 1, 2])


def make(**changes: Any) -> Dataset:
    roles: dict[str, Any] = {
        "items": pl.DataFrame(ITEMS),
        "users": pl.DataFrame(USERS),
        "time": "time",
        "label": "click",
        "weight": "weight",
        "categorical": ["device", "brand", "city"],
        "numeric": ["price", "year"],
        "lists": {"genres": "|"},
    }
    return Dataset.from_tables(pl.DataFrame(LOG), **{**roles, **changes})


def fields(**kinds: dict[str, Any]) -> FeaturePlan:
    return FeaturePlan(fields=[FieldPlan(name=name, **settings) for name, settings in kinds.items()])


def same(one: RankTable, other: RankTable) -> None:
    assert one.columns().keys() == other.columns().keys()
    for name, column in one.columns().items():
        np.testing.assert_array_equal(column, other.columns()[name], err_msg=name)


def test_every_id_by_hand() -> None:
    encoder = FeatureEncoder.fit(make(), TRAIN, FeaturePlan.default_for(make().schema, history_length=3))
    # user: ann 2, bo 1 -> 1, 2, OOV 3; item: 10 twice, 20 once -> 1, 2, OOV 3; device: tv -> 1, OOV 2;
    # city: Delft (ann, twice) 1, Gouda 2, OOV 3; brand: acme 1, OOV 2; genres: y 3 times, x twice -> 1, 2, OOV 3.
    spec = encoder.spec
    assert [(f.name, f.size, f.offset) for f in spec.fields if f.size] == [
        ("user", 4, 0),
        ("item", 4, 4),
        ("device", 3, 8),
        ("city", 4, 11),
        ("genres", 4, 15),
        ("brand", 3, 19),
        ("history", 4, 4),
    ]
    assert spec.num_ids == 22
    table = encoder.encode_dataset(make())
    categorical = [f.name for f in spec.of_kind("categorical")]
    assert categorical == ["user", "item", "device", "city", "brand"]
    assert table.ids.tolist() == [
        [1, 5, 9, 12, 20],
        [1, 6, 9, 12, 21],
        [2, 5, 10, 13, 20],
        [1, 7, 10, 12, 21],
        [2, 7, 10, 13, 21],
        [3, 6, 9, 14, 21],
    ]
    genres, history = table.sequences
    assert genres[:, -2:].tolist() == [[17, 16], [15, 16], [17, 16], [15, 15], [15, 15], [15, 16]]
    assert (genres[:, :-2] == 15).all()
    # ann took 10 at 100 (row 1 was no click); bo took 10 at 250.
    assert history.tolist() == [[4, 4, 4], [4, 4, 5], [4, 4, 4], [4, 4, 5], [4, 4, 5], [4, 4, 4]]
    assert [f.name for f in spec.of_kind("numeric")] == ["price", "year"]
    # price in train: 1, 3 -> mean 2, deviation 1; year in train: 2000, 2010, 2000.
    assert table.numeric is not None
    assert table.numeric[:, 0].tolist() == [-1.0, 1.0, 0.0, 3.0, 5.0, 7.0]
    mean, deviation = 6010 / 3, float(np.std([2000, 2010, 2000]))
    np.testing.assert_allclose(
        table.numeric[:, 1], (np.array([2000, 2010, 2000, 2020, 2020, 2010]) - mean) / deviation, rtol=1e-6
    )
    assert table.labels is not None
    assert table.labels.tolist() == [1, 0, 1, 1, 1, 1]
    assert table.weights is not None
    assert table.weights.tolist() == [1, 2, 1, 1, 1, 0.5]
    assert table.users is not None
    assert table.users.tolist() == [0, 0, 1, 0, 1, 2]
    assert encoder.user_groups(make()).tokens.to_list() == ["ann", "bo", "cy"]


def test_held_out_rows_teach_nothing() -> None:
    """Change everything outside the training rows: the encoder must not notice."""
    changed = pl.DataFrame(LOG).with_columns(
        device=pl.Series(["tv", "tv", None, "fridge", "fridge", "fridge"]),
        price=pl.Series([1.0, 3.0, None, -99.0, 1e6, 4.0]),
        item=pl.Series([10, 20, 10, 40, 40, 40]),
        user=pl.Series(["ann", "ann", "bo", "dee", "dee", "dee"]),
    )
    honest = FeatureEncoder.fit(make(), TRAIN).to_saved()
    other = FeatureEncoder.fit(
        Dataset.from_tables(
            changed,
            items=pl.DataFrame(ITEMS),
            users=pl.DataFrame(USERS),
            time="time",
            label="click",
            weight="weight",
            categorical=["device", "brand", "city"],
            numeric=["price", "year"],
            lists={"genres": "|"},
        ),
        TRAIN,
    ).to_saved()
    assert honest[0] == other[0]
    assert honest[1]["features"].keys() == other[1]["features"].keys()
    for name, array in honest[1]["features"].items():
        np.testing.assert_array_equal(array, other[1]["features"][name], err_msg=name)


def test_the_order_of_training_rows_does_not_matter() -> None:
    first, second = FeatureEncoder.fit(make(), TRAIN), FeatureEncoder.fit(make(), TRAIN[::-1].copy())
    assert first.fitted_on == second.fitted_on
    same(first.encode_dataset(make()), second.encode_dataset(make()))


def test_rows_in_any_order_give_the_same_rows() -> None:
    encoder = FeatureEncoder.fit(make(), TRAIN)
    rows = np.array([5, 0, 3])
    same(encoder.encode_dataset(make(), rows), encoder.encode_dataset(make()).take(rows))


def test_unknown_user_item_and_missing_values_have_an_answer() -> None:
    encoder = FeatureEncoder.fit(make(), TRAIN)
    frame = pl.DataFrame(
        {"user": ["zoe", None], "item": [99, None], "time": [None, None], "device": [None, "?"], "price": [None, None]}
    )
    table = encoder.encode(frame.cast({"price": pl.Float64, "item": pl.Int64}), history=encoder.history(make()))
    oov = [f.offset + f.size - 1 for f in encoder.spec.of_kind("categorical")]
    assert table.ids.tolist() == [oov, oov]
    for column, f in zip(table.sequences, encoder.spec.of_kind("sequence"), strict=True):
        assert (column == f.offset).all()
    assert table.numeric is not None
    assert (table.numeric == 0).all()
    assert table.labels is None
    assert table.users is None


def test_a_known_user_at_a_later_time_has_a_history() -> None:
    encoder = FeatureEncoder.fit(make(), TRAIN, FeaturePlan.default_for(make().schema, history_length=2))
    frame = pl.DataFrame({"user": ["ann"], "item": [10], "time": [10**9], "device": ["tv"], "price": [1.0]})
    assert encoder.encode(frame, history=encoder.history(make())).sequences[1].tolist() == [[5, 7]]
    assert encoder.encode(frame, history=encoder.history(make(), TRAIN)).sequences[1].tolist() == [[4, 5]]
    assert encoder.encode(frame).sequences[1].tolist() == [[4, 4]]
    given = frame.with_columns(history=pl.Series([[20, 77]]))
    assert encoder.encode(given).sequences[1].tolist() == [[6, 7]]


def test_an_item_that_the_catalogue_does_not_know_can_be_described() -> None:
    encoder = FeatureEncoder.fit(make(), TRAIN)
    frame = pl.DataFrame(
        {
            "user": ["ann", "ann"],
            "item": [99, 10],
            "time": [1, 1],
            "device": ["tv", "tv"],
            "price": [1.0, 1.0],
            "items.brand": ["acme", None],
            "items.genres": [["y", "x"], None],
        }
    )
    table = encoder.encode(frame)
    assert table.ids[:, -1].tolist() == [20, 20]  # described as acme; looked up as acme
    assert table.sequences[0][:, -2:].tolist() == [[16, 17], [17, 16]]


def test_missing_columns_are_named_all_at_once_or_read_as_missing() -> None:
    encoder = FeatureEncoder.fit(make(), TRAIN)
    frame = pl.DataFrame({"usr": ["ann"], "item": [10]})
    with pytest.raises(SchemaError, match='no column "user", "device", "price".*Did you mean "usr"'):
        encoder.encode(frame)
    table = encoder.encode(frame.rename({"usr": "user"}), missing="oov")
    assert table.ids.tolist() == [[1, 5, 10, 12, 20]]


def test_a_plan_that_does_not_fit_is_refused_with_all_its_problems() -> None:
    plan = fields(colour={}, horsepower={"table": "items", "kind": "numeric"}, hour={"derive": "hour"})
    with pytest.raises(SchemaError) as caught:
        FeatureEncoder.fit(make(time=None), TRAIN, plan)
    assert len(caught.value.problems) == 3
    with pytest.raises(SchemaError, match="comes from users, which rows of this data set cannot look up"):
        FeatureEncoder.fit(make(users=None, categorical="device"), TRAIN, fields(city={"table": "users"}))


def test_an_item_listed_twice_is_refused() -> None:
    twice = pl.DataFrame({**ITEMS, "item": [10, 20, 10, 40]})
    with pytest.raises(DataError, match='1 ids of items stand more than once, for example "10"'):
        FeatureEncoder.fit(make(items=twice), TRAIN)


def test_buckets_hashing_and_parts_of_the_time() -> None:
    plan = fields(
        price={"bucket": "criteo"},
        cheap={"column": "price", "bucket": "quantile", "num_buckets": 2},
        item={"hash_bits": 4},
        hour={"derive": "hour"},
        weekday={"derive": "weekday"},
        is_weekend={"derive": "is_weekend"},
    )
    encoder = FeatureEncoder.fit(make(), np.arange(6), plan)
    table = encoder.encode_dataset(make())
    price, cheap, item, *_ = encoder.spec.fields
    # 1, 3, 5, 7, 9 -> 1, 1, 2, 3, 4; the missing price reads OOV
    assert table.ids[:, 0].tolist() == [1, 1, 5, 2, 3, 4]
    assert (table.ids[:, 1] - cheap.offset).tolist() == [1, 1, 3, 1, 2, 2]
    assert (price.size, cheap.size, item.size) == (6, 4, 18)
    assert (table.ids[:, 3:] - [f.offset for f in encoder.spec.fields[3:]] == 1).all()


def test_bucket_zero_reads_oov_like_missing_in_the_criteo_rule() -> None:
    data = Dataset.from_tables(pl.DataFrame({"n": [0, 0, None, 5]}), user=None, item=None, numeric="n")
    encoder = FeatureEncoder.fit(data, plan=fields(n={"bucket": "criteo"}))
    assert encoder.encode_dataset(data).ids[:, 0].tolist() == [2, 2, 2, 1]


def test_min_count_of_plan_and_field() -> None:
    plan = FeaturePlan(fields=[FieldPlan(name="user"), FieldPlan(name="item", min_count=1)], min_count=2)
    encoder = FeatureEncoder.fit(make(), TRAIN, plan)
    assert encoder.encode_dataset(make(), TRAIN).ids.tolist() == [[1, 4], [1, 5], [2, 4]]


def test_vectors_are_looked_up_by_item() -> None:
    vectors = {"text": ItemVectors.of([30, 10], [[1.0, 2.0], [3.0, 4.0]])}
    encoder = FeatureEncoder.fit(make(), TRAIN, vectors=vectors)
    spec = encoder.spec["text"]
    assert (spec.kind, spec.size, spec.dimensions) == ("vector", 3, 2)
    table = encoder.encode_dataset(make())
    assert table.vectors is not None
    assert table.vectors[:, 0].tolist() == [2, 0, 2, 1, 1, 0]
    assert encoder.vectors["text"].tolist() == [[0, 0], [1, 2], [3, 4]]
    assert encoder.spec.num_ids == FeatureEncoder.fit(make(), TRAIN).spec.num_ids
    with pytest.raises(ConfigError, match='the plan asks for the vectors "text"'):
        FeatureEncoder.fit(make(), TRAIN, encoder.plan)
    with pytest.raises(ConfigError, match='no field uses the vectors "text"'):
        FeatureEncoder.fit(make(), TRAIN, fields(user={}), vectors=vectors)


def test_saved_and_loaded_encodes_the_same(tmp_path: Path) -> None:
    vectors = {"text": ItemVectors.of([30, 10], [[1.0, 2.0], [3.0, 4.0]])}
    plan = FeaturePlan.default_for(make().schema, vectors=vectors)
    extra = (
        FieldPlan(name="cheap", column="price", bucket="quantile", num_buckets=2),
        FieldPlan(name="hashed", column="item", hash_bits=5),
        FieldPlan(name="hour", derive="hour"),
    )
    plan = plan.replace(fields=(*plan.fields, *extra))
    encoder = FeatureEncoder.fit(make(), TRAIN, plan, vectors=vectors)
    documents, arrays = encoder.to_saved()
    save_folder(tmp_path / "features", kind="encoder", name="features", documents=documents, arrays=arrays)
    folder = load_folder(tmp_path / "features")
    loaded = FeatureEncoder.from_saved(
        {"features": folder.document("features")}, {"features": folder.arrays("features")}
    )
    assert loaded.spec == encoder.spec
    assert loaded.fitted_on == encoder.fitted_on
    same(loaded.encode_dataset(make()), encoder.encode_dataset(make()))
    again = loaded.to_saved()
    assert again[0] == documents
    with pytest.raises(SavedFolderError, match="not whole"):
        FeatureEncoder.from_saved(documents, {"features": {}})


def test_a_log_without_user_item_and_label() -> None:
    data = Dataset.from_tables(pl.DataFrame({"c": ["a", "b", "a"]}), user=None, item=None, categorical="c")
    table = FeatureEncoder.fit(data).encode_dataset(data)
    assert table.ids.tolist() == [[1], [2], [1]]
    assert table.users is None
    assert table.labels is not None
    assert table.labels.tolist() == [1, 1, 1]


def test_a_bad_weight_is_refused() -> None:
    log = pl.DataFrame({**LOG, "weight": [1.0, None, 1.0, 1.0, 1.0, -1.0]})
    data = make().replace(interactions=log)
    with pytest.raises(SchemaError, match='"weight" has values that are missing or below 0'):
        FeatureEncoder.fit(data, TRAIN).encode_dataset(data)


def test_counting_in_a_stream_learns_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = Dataset.open(make().save(tmp_path / "data"))
    expected = FeatureEncoder.fit(make(), TRAIN).encode_dataset(make())
    monkeypatch.setattr(feature_counts, "STREAM_ROWS", 0)
    same(FeatureEncoder.fit(data, TRAIN).encode_dataset(data), expected)
    whole = FeatureEncoder.fit(data).encode_dataset(data)
    monkeypatch.undo()
    same(FeatureEncoder.fit(make()).encode_dataset(make()), whole)


@pytest.mark.parametrize("dtype", [pl.List(pl.Int64), pl.Array(pl.Int64, 2)])
def test_lists_in_the_log_with_a_vocabulary_of_their_own_and_a_shared_one(dtype: Any) -> None:
    seen = pl.Series("seen", [[30, 20], [20, 10], None], dtype=dtype)
    log = pl.DataFrame({"item": [10, 20, 30], "seen": seen})
    data = Dataset.from_tables(log, user=None, lists="seen")
    plan = fields(item={}, seen={"kind": "sequence"}, near={"kind": "sequence", "column": "seen", "shares": "item"})
    encoder = FeatureEncoder.fit(data, plan=plan.replace(max_length=3))
    item, seen_spec, near = encoder.spec.fields
    # items once each: 10, 20, 30 -> 1, 2, 3; seen: 20 twice, then 10, 30 -> 1, 2, 3
    assert (item.offset, seen_spec.offset, near.offset, encoder.spec.num_ids) == (0, 5, 0, 10)
    own, shared = encoder.encode_dataset(data).sequences
    assert own.tolist() == [[5, 8, 6], [5, 6, 7], [5, 5, 5]]
    assert shared.tolist() == [[0, 3, 2], [0, 2, 1], [0, 0, 0]]


values = st.none() | st.integers(0, 6)
rows_of_logs = st.lists(
    st.tuples(values, values, values, st.lists(values, max_size=4) | st.none()), min_size=2, max_size=30
)


@settings(max_examples=50, deadline=None)
@given(rows_of_logs, st.integers(1, 3), st.none() | st.integers(1, 3))
def test_every_id_stays_inside_its_field(rows: list[Any], min_count: int, hash_bits: int | None) -> None:
    schema = {"user": pl.Int64, "item": pl.Int64, "c": pl.Int64, "tags": pl.List(pl.Int64)}
    data = Dataset.from_tables(pl.DataFrame(rows, schema=schema, orient="row"), categorical="c", lists="tags")
    plan = FeaturePlan.default_for(data.schema, min_count=min_count, hash_bits=hash_bits).replace(max_length=2)
    encoder = FeatureEncoder.fit(data, np.arange(len(rows) // 2), plan)
    table = encoder.encode_dataset(data)
    for column, f in zip(table.ids.T, encoder.spec.of_kind("categorical"), strict=True):
        assert f.offset + 1 <= column.min()
        assert column.max() < f.offset + f.size
    (tags,), (f,) = table.sequences, encoder.spec.of_kind("sequence")
    assert f.offset <= tags.min()
    assert tags.max() < f.offset + f.size
    kept = [len((row[3] or [])[-2:]) for row in rows]
    assert (tags != f.offset).sum(axis=1).tolist() == kept
    assert all((np.diff((row != f.offset).astype(int)) >= 0).all() for row in tags)  # padding stands in front
