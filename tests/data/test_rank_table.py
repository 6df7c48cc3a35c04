"""Encoded rows: batches equal the rows, on disk and in memory; damaged folders are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.data.features import RankBatch
from palate.data.rank_table import RankTable, iterate
from palate.errors import ConfigError, DataError, SavedFolderError


def make(rows: int = 10) -> RankTable:
    places = np.arange(rows)
    return RankTable(
        ids=np.stack([places, 100 + places], axis=1).astype(np.int32),
        numeric=(places[:, None] / 4).astype(np.float32),
        sequences=(np.tile(places, (3, 1)).T.astype(np.int32), (places[:, None] + 7).astype(np.int32)),
        vectors=(places[:, None] % 3).astype(np.int32),
        labels=(places % 2).astype(np.float32),
        weights=np.full(rows, 0.5, np.float32),
        users=places.astype(np.int64) // 2,
    )


def check(batch: RankBatch, rows: list[int]) -> None:
    expected = torch.tensor(rows)
    assert batch.ids.dtype == torch.int64
    assert batch.ids.tolist() == [[row, 100 + row] for row in rows]
    assert batch.numeric is not None
    assert batch.numeric.dtype == torch.float32
    assert torch.equal(batch.numeric[:, 0], expected / 4)
    assert [sequence.tolist() for sequence in batch.sequences] == [[[row] * 3 for row in rows], [[r + 7] for r in rows]]
    assert all(sequence.dtype == torch.int64 for sequence in batch.sequences)
    assert batch.vectors is not None
    assert torch.equal(batch.vectors[:, 0], expected % 3)
    assert batch.labels is not None
    assert torch.equal(batch.labels, (expected % 2).float())
    assert batch.weights is not None
    assert batch.weights.tolist() == [0.5] * len(rows)
    assert batch.users is not None
    assert torch.equal(batch.users, expected // 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_batch_is_its_rows(rows: list[int]) -> None:
    check(make().batch(np.array(rows, dtype=np.int64)), rows)
    check(make().take(np.array(rows, dtype=np.int64)).batch(slice(None)), rows)


def test_a_slice_is_its_rows() -> None:
    check(make().batch(slice(3, 6)), [3, 4, 5])


def test_writing_into_a_batch_leaves_the_table_alone() -> None:
    table = make()
    batch = table.batch(slice(0, 4))
    assert batch.numeric is not None
    assert batch.labels is not None
    assert batch.users is not None
    for tensor in (batch.ids, batch.numeric, batch.labels, batch.users):
        tensor += 1
    check(table.batch(slice(0, 4)), [0, 1, 2, 3])


def test_iterating_gives_every_row_in_order() -> None:
    batches = list(iterate(make(), batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    check(batches[2], [8, 9])
    with pytest.raises(ConfigError, match="batch_size is 0"):
        next(iterate(make(), batch_size=0))


def test_saved_and_mapped_is_equal(tmp_path: Path) -> None:
    make().save(tmp_path / "rows")
    table = RankTable.open(tmp_path / "rows", verify=True)
    assert all(isinstance(column, np.memmap) for column in table.columns().values())
    check(table.batch(np.array([9, 0, 3])), [9, 0, 3])
    check(table.batch(slice(2, 4)), [2, 3])
    table.ids[0] = 99  # a private copy of the page: the file must not change
    check(RankTable.open(tmp_path / "rows").batch(slice(0, 1)), [0])


def test_columns_that_are_not_there_stay_absent(tmp_path: Path) -> None:
    RankTable(ids=np.zeros((3, 1), np.int32)).save(tmp_path / "rows")
    table = RankTable.open(tmp_path / "rows")
    assert list(table.columns()) == ["ids"]
    assert table.batch(slice(0, 2)).labels is None


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match='"labels" of the table is float64'):
        make().replace(labels=np.zeros(10))
    with pytest.raises(DataError, match='"labels" of the table is float32 with 9 rows'):
        make().replace(labels=np.zeros(9, np.float32))
    with pytest.raises(ConfigError, match='no column "label"'):
        make().replace(label=None)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    path = make().save(tmp_path / "rows")
    with pytest.raises(SavedFolderError, match="does not exist"):
        RankTable.open(tmp_path / "nothing")
    np.save(path / "labels.npy", np.zeros(4, np.float32))
    with pytest.raises(SavedFolderError, match="altered or cut short"):
        RankTable.open(path, verify=True)
    with pytest.raises(SavedFolderError, match="does not hold a table"):
        RankTable.open(path)
    (path / "labels.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(SavedFolderError, match="does not hold a table"):
        RankTable.open(path)
    (path / "labels.npy").write_bytes(b"")
    with pytest.raises(SavedFolderError, match="does not hold a table"):
        RankTable.open(path)
    (path / "labels.npy").unlink()
    with pytest.raises(SavedFolderError, match="lost its part"):
        RankTable.open(path)


def test_a_pickle_in_disguise_is_refused(tmp_path: Path) -> None:
    path = make().save(tmp_path / "rows")
    np.save(path / "labels.npy", np.array([{"a": 1}] * 10, dtype=object), allow_pickle=True)
    with pytest.raises(SavedFolderError, match="does not hold a table"):
        RankTable.open(path)


def test_a_manifest_with_other_facts_is_refused(tmp_path: Path) -> None:
    path = make().save(tmp_path / "rows")
    manifest = json.loads((path / "palate.json").read_text())
    for facts in ({}, {**manifest["facts"], "columns": ["ids", "surprise"]}, {**manifest["facts"], "rows": 11}):
        (path / "palate.json").write_text(json.dumps({**manifest, "facts": facts}))
        with pytest.raises(SavedFolderError):
            RankTable.open(path)


def test_a_sequence_shared_by_all_rows_stays_a_view_of_one() -> None:
    shared = np.broadcast_to(np.array([[0, 4, 5]], np.int32), (6, 3))
    own = np.arange(18, dtype=np.int32).reshape(6, 3)
    table = RankTable(ids=np.zeros((6, 1), np.int32), sequences=(shared, own))
    one, other = table.batch(slice(1, 5)).sequences
    assert (one.stride(0), other.stride(0)) == (0, 3)
    assert one.tolist() == [[0, 4, 5]] * 4
    # Rows picked one by one, as in training, are rows of their own.
    assert table.batch(np.array([2, 0])).sequences[0].stride(0) == 3
    assert table.batch(slice(0, 0)).sequences[0].shape == (0, 3)
