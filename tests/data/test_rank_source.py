"""Batches: pure in (seed, epoch, step), every row once per epoch, shards that make up the joint batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.rank_source import RankSource, ShuffledRows
from palate.data.rank_table import RankTable
from palate.errors import ConfigError, DataError


def table(rows: int) -> RankTable:
    return RankTable(ids=np.arange(rows, dtype=np.int32)[:, None], labels=np.zeros(rows, np.float32))


def epoch_rows(source: RankSource, epoch: int) -> list[int]:
    return [row for step in range(source.steps(epoch)) for row in source.batch(epoch, step).ids[:, 0].tolist()]


sizes = st.tuples(st.integers(1, 90), st.integers(1, 40), st.integers(1, 100), st.booleans())


@settings(max_examples=50, deadline=None)
@given(sizes, st.integers(0, 3), st.integers(0, 5))
def test_every_row_comes_once_per_epoch(size: tuple[int, int, int, bool], epoch: int, seed: int) -> None:
    rows, batch_size, pool_rows, shuffle = size
    source = RankSource(table(rows), batch_size, seed, shuffle=shuffle, pool_rows=pool_rows)
    assert sorted(epoch_rows(source, epoch)) == list(range(rows))
    if not shuffle:
        assert epoch_rows(source, epoch) == list(range(rows))


@settings(max_examples=50, deadline=None)
@given(sizes, st.integers(0, 2), st.data())
def test_a_batch_depends_on_seed_epoch_and_step_alone(
    size: tuple[int, int, int, bool], seed: int, data: st.DataObject
) -> None:
    rows, batch_size, pool_rows, shuffle = size

    def make() -> RankSource:
        return RankSource(table(rows), batch_size, seed, shuffle=shuffle, pool_rows=pool_rows)

    source = make()
    visits = st.tuples(st.integers(0, 3), st.integers(0, source.steps(0) - 1))
    for epoch, step in data.draw(st.lists(visits, max_size=8)):
        assert torch.equal(source.batch(epoch, step).ids, make().batch(epoch, step).ids)
        assert source.rows(epoch, step).tolist() == source.batch(epoch, step).ids[:, 0].tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(8, 40), st.integers(1, 4), st.integers(1, 100))
def test_shards_make_up_the_joint_batch(rows: int, batch_size: int, world: int, pool_rows: int) -> None:
    source = RankSource(table(rows + 8), batch_size, seed=1, pool_rows=pool_rows)
    try:
        shards = [source.shard(rank, world) for rank in range(world)]
    except ConfigError:
        assert min(len(source.batch(0, step)) for step in range(source.steps(0))) < world
        return
    for step in range(source.steps(0)):
        parts = [shard.batch(2, step).ids for shard in shards]
        assert torch.equal(torch.cat(parts), source.batch(2, step).ids)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert {shard.steps(0) for shard in shards} == {source.steps(0)}


def test_epochs_and_seeds_differ_and_the_same_seed_does_not() -> None:
    source = RankSource(table(200), 32, seed=3)
    assert epoch_rows(source, 0) != epoch_rows(source, 1)
    assert epoch_rows(source, 0) != epoch_rows(RankSource(table(200), 32, seed=4), 0)
    assert epoch_rows(source, 0) == epoch_rows(RankSource(table(200), 32, seed=3), 0)


def test_the_first_rows_are_the_same_in_every_release() -> None:
    expected = [7, 11, 4, 10, 5, 9, 2, 1, 0, 3, 8, 6]
    assert ShuffledRows(12, seed=7, pool_rows=100).rows(2, 0, 12).tolist() == expected


def test_a_pool_is_a_sample_of_the_whole_table() -> None:
    """A log in time order of 64,000 rows, pools of 6,400: the first pool must not be one moment of it."""
    first = ShuffledRows(64_000, seed=0, pool_rows=6_400).rows(0, 0, 6_400)
    thirds = np.bincount(first * 3 // 64_000, minlength=3) / 6_400
    assert thirds.min() > 0.15
    neighbours = np.abs(np.diff(first))
    assert np.median(neighbours) > 5_000


@pytest.mark.parametrize(
    ("rows", "batch_size", "last", "sizes"),
    [
        (33, 32, "merge", [33]),
        (33, 32, "drop", [32]),
        (34, 32, "merge", [32, 2]),
        (34, 32, "drop", [32, 2]),
        (64, 32, "merge", [32, 32]),
        (100, 48, "merge", [48, 48, 4]),
        (100, 48, "drop", [48, 48, 4]),
        (5, 32, "drop", [5]),
        (1, 32, "merge", [1]),
        (3, 1, "merge", [1, 1, 1]),
    ],
)
def test_a_tiny_last_batch_is_merged_or_dropped(rows: int, batch_size: int, last: Any, sizes: list[int]) -> None:
    source = RankSource(table(rows), batch_size, last=last)
    assert [len(source.batch(0, step)) for step in range(source.steps(0))] == sizes


def test_bad_settings_are_refused() -> None:
    for wrong, message in (
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"pool_rows": 0}, "pool_rows is 0"),
        ({"last": "keep"}, 'last is "keep"'),
    ):
        with pytest.raises(ConfigError, match=message):
            RankSource(table(9), **{"batch_size": 4, **wrong})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no labels"):
        RankSource(RankTable(ids=np.zeros((3, 1), np.int32)), 2)
    with pytest.raises(DataError, match="no rows"):
        RankSource(table(0), 2)
    source = RankSource(table(9), 4)
    for epoch, step in ((0, 3), (0, -1), (-1, 0)):
        with pytest.raises(ConfigError, match="There is no step"):
            source.batch(epoch, step)
    with pytest.raises(ConfigError, match="rank is 2 of 2"):
        source.shard(2, 2)
    with pytest.raises(ConfigError, match="smallest batch has 5 rows for 6"):
        RankSource(table(5), 4).shard(0, 6)
