"""Encoding by chunks: the folder equals the table in memory, whatever the chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.dataset import Dataset
from palate.data.encoded_folder import encode_folder
from palate.data.encoder import FeatureEncoder
from palate.data.rank_table import RankTable
from palate.errors import ConfigError, DataError

ROWS = 400


def make() -> Dataset:
    rng = np.random.default_rng(0)
    log = pl.DataFrame(
        {
            "user": rng.integers(0, 30, ROWS),
            "item": rng.integers(0, 50, ROWS),
            "time": np.sort(rng.integers(0, 300, ROWS)),
            "click": rng.integers(0, 2, ROWS),
            "price": rng.normal(size=ROWS),
        }
    )
    items = pl.DataFrame({"item": range(50), "genres": [["a", "b"][: i % 3] for i in range(50)]})
    return Dataset.from_tables(log, items=items, time="time", label="click", numeric="price", lists="genres")


def same(one: RankTable, other: RankTable) -> None:
    assert one.columns().keys() == other.columns().keys()
    for name, column in one.columns().items():
        np.testing.assert_array_equal(column, other.columns()[name], err_msg=name)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 500), st.none() | st.sets(st.integers(0, ROWS - 1), min_size=1))
def test_the_folder_equals_the_table(
    tmp_path_factory: pytest.TempPathFactory, chunk_rows: int, chosen: set[int] | None
) -> None:
    data = make()
    encoder = FeatureEncoder.fit(data, np.arange(300))
    rows = None if chosen is None else np.array(sorted(chosen))
    table = encode_folder(
        encoder, data, tmp_path_factory.mktemp("table") / "rows", rows=rows, chunk_rows=max(chunk_rows, 20)
    )
    same(table, encoder.encode_dataset(data, rows))


def test_a_log_on_disk_is_streamed(tmp_path: Path) -> None:
    data = make()
    data.interactions.write_parquet(tmp_path / "log.parquet", row_group_size=37)
    lazy = data.replace(interactions=pl.scan_parquet(tmp_path / "log.parquet"))
    encoder = FeatureEncoder.fit(data)
    table = encode_folder(encoder, lazy, tmp_path / "rows", chunk_rows=50)
    same(table, encoder.encode_dataset(data))
    same(RankTable.open(tmp_path / "rows", verify=True), table)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    data = make()
    encoder = FeatureEncoder.fit(data)
    with pytest.raises(DataError, match="2 of 3 rows were found"):
        encode_folder(encoder, data, tmp_path / "rows", rows=np.array([0, 5, ROWS]))
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    data = make()
    encoder = FeatureEncoder.fit(data)
    with pytest.raises(ConfigError, match="do not rise"):
        encode_folder(encoder, data, tmp_path / "rows", rows=np.array([3, 3]))
    with pytest.raises(ConfigError, match="chunk_rows is 0"):
        encode_folder(encoder, data, tmp_path / "rows", chunk_rows=0)
