"""Items by number, id and title; sequences by time, consistent with the log."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.dataset import Dataset
from palate.data.item_index import ItemIndex, sequence_log
from palate.data.tokens import TokenIndex
from palate.errors import ConfigError, UnknownItemError, UnknownNameError

ITEMS = pl.DataFrame(
    {
        "movieId": [1, 318, 300, 7, 8, 9],
        "title": ["Toy Story (1995)", "The Shawshank Redemption (1994)", "Heat", "300", "Emma", "Emma"],
    }
)


def make(**columns: Any) -> Dataset:
    log = {"userId": ["b", "a", "b", "a", "b"], "movieId": [318, 1, 999, 318, 1], **columns}
    return Dataset.from_tables(
        pl.DataFrame(log),
        items=ITEMS,
        user="userId",
        item="movieId",
        title="title",
        time="time" if "time" in columns else None,
        label="rating >= 4" if "rating" in columns else None,
    )


def test_catalogue_first_then_what_only_the_log_has() -> None:
    index = ItemIndex.from_dataset(make())
    assert index.tokens.tokens.to_list() == ["1", "318", "300", "7", "8", "9", "999"]
    assert ItemIndex.from_dataset(make(), "log").tokens.tokens.to_list() == ["318", "1", "999"]
    assert len(ItemIndex.from_dataset(make(), "catalogue")) == 6
    assert index.num_items == 7
    assert index.encode(pl.Series([318, 999, 5, None])).tolist() == [2, 7, 0, 0]
    assert index.decode([2, 0, 7]).to_list() == ["318", None, "999"]
    assert index.title([2, 7, 0]).to_list() == ["The Shawshank Redemption (1994)", "999", None]
    with pytest.raises(UnknownNameError, match='Did you mean "catalogue"'):
        ItemIndex.from_dataset(make(), "catalog")  # type: ignore[arg-type]


def test_names_and_ids_mean_the_same_item() -> None:
    index = ItemIndex.from_dataset(make())
    assert index.resolve(["Toy Story (1995)", 318, "318", "toy story (1995)", 999, 1]).tolist() == [1, 2, 2, 1, 7, 1]
    assert index.resolve([]).tolist() == []


def test_an_id_wins_over_a_title_that_looks_like_one() -> None:
    index = ItemIndex.from_dataset(make())
    assert index.resolve(["300", 300]).tolist() == [3, 3]
    assert index.title([3]).to_list() == ["Heat"]


def test_unknown_and_ambiguous_names_are_all_named() -> None:
    index = ItemIndex.from_dataset(make())
    with pytest.raises(UnknownItemError) as caught:
        index.resolve(["Toy Storey (1995)", 1, "Emma", 12345])
    text = str(caught.value)
    assert "3 of 4 items are not known" in text
    assert 'Did you mean "Toy Story (1995)"' in text
    assert 'Name one by its id: "8", "9"' in text
    assert [problem.value for problem in caught.value.problems] == ["Toy Storey (1995)", "Emma", "12345"]


def test_a_suggestion_in_a_large_catalogue() -> None:
    titles = pl.Series([f"Film number {i}" for i in range(5000)] + ["The Quiet Lighthouse (1931)"])
    index = ItemIndex(TokenIndex(np.arange(5001).tolist()), titles)
    with pytest.raises(UnknownItemError, match=r'Did you mean "The Quiet Lighthouse \(1931\)"'):
        index.resolve(["The Quiet Lighthose (1931)"])
    with pytest.raises(UnknownItemError, match="item ids or titles"):
        index.resolve(["??"])


def test_an_index_without_titles_suggests_ids() -> None:
    index = ItemIndex(TokenIndex(["B00ABC", "B00XYZ"]))
    assert index.title([1]).to_list() == ["B00ABC"]
    with pytest.raises(UnknownItemError, match='Did you mean "B00ABC"'):
        index.resolve(["B00ABD"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.text(max_size=4), max_size=8))
def test_saved_and_rebuilt_is_equal(titles: list[str | None]) -> None:
    index = ItemIndex(TokenIndex([f"i{i}" for i in range(len(titles))]), pl.Series(titles, dtype=pl.String))
    again = ItemIndex.from_arrays(index.to_arrays())
    assert again.tokens == index.tokens
    assert again.titles is not None
    assert again.titles.to_list() == titles
    plain = ItemIndex(index.tokens)
    assert ItemIndex.from_arrays(plain.to_arrays()).titles is None


def test_titles_and_items_must_be_as_many() -> None:
    with pytest.raises(ConfigError, match="1 items came with 2 titles"):
        ItemIndex(TokenIndex(["a"]), pl.Series(["x", "y"]))


def test_sequences_by_hand() -> None:
    data = make(time=[30, 10, 20, 10, 30], rating=[5, 5, 5, 1, 2])
    index = ItemIndex.from_dataset(data)
    log, users = sequence_log(data, index)
    assert users.to_list() == ["b", "a"]
    # b: 999 at 20, then 318 and 1, both at 30, in the order of the log; a: 1 and 318, both at 10
    assert log.items.tolist() == [7, 2, 1, 1, 2]
    assert log.offsets.tolist() == [0, 3, 5]
    assert log.times is not None
    assert log.times.tolist() == [20, 30, 30, 10, 10]
    assert log.num_items == 7
    assert log.last().tolist() == [1, 2]
    liked, users = sequence_log(data, index, positives_only=True)
    assert (liked.items.tolist(), liked.offsets.tolist(), users.to_list()) == ([7, 2, 1], [0, 2, 3], ["b", "a"])
    some, users = sequence_log(data, index, rows=np.array([1, 4]))
    assert (some.items.tolist(), users.to_list()) == ([1, 1], ["a", "b"])


def test_without_times_the_order_of_the_log_counts() -> None:
    data = make()
    log, _ = sequence_log(data, ItemIndex.from_dataset(data))
    assert log.items.tolist() == [2, 7, 1, 1, 2]
    assert log.times is None


def test_items_that_the_index_lacks_and_rows_without_a_user_are_left_out() -> None:
    data = make(userId=["b", "a", "b", None, "c"])
    log, users = sequence_log(data, ItemIndex.from_dataset(data, "catalogue"))
    assert users.to_list() == ["b", "a", "c"]
    assert log.items.tolist() == [2, 1, 1]
    assert log.items.min() > 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.sampled_from([1, 318, 9])), max_size=30))
def test_sequences_agree_with_a_slow_sort(rows: list[tuple[str, int, int]]) -> None:
    users, times, items = ([row[place] for row in rows] for place in range(3))
    frame = pl.DataFrame(
        {"userId": users, "time": times, "movieId": items},
        schema={"userId": pl.String, "time": pl.Int64, "movieId": pl.Int64},
    )
    data = Dataset.from_tables(frame, items=ITEMS, user="userId", item="movieId", time="time")
    index = ItemIndex.from_dataset(data)
    log, tokens = sequence_log(data, index)
    for place, user in enumerate(tokens.to_list()):
        own = sorted((row for row in rows if row[0] == user), key=lambda row: row[1])
        found = log.items[log.offsets[place] : log.offsets[place + 1]]
        assert index.decode(found).to_list() == [str(item) for _, _, item in own]
    assert len(log.items) == len(rows)
