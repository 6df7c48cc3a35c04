"""Sparse item matrices: spreading rows and keeping the largest entries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from palate.data.sequences import SequenceLog
from palate.sequence.sparse import ItemMatrix, keep_largest, user_item_matrix


def log_of(*sequences: list[int], num_items: int) -> SequenceLog:
    offsets = np.cumsum([0, *map(len, sequences)])
    return SequenceLog(np.array([item for row in sequences for item in row], dtype=np.int64), offsets, num_items)


def test_item_matrix_spreads_rows() -> None:
    matrix = ItemMatrix(2)
    matrix.fill(csr_matrix([[0, 0, 0], [0, 1.0, 2.0], [0, 4.0, 0]]))
    out = matrix.spread(torch.tensor([[1, 2], [2, 0]]), torch.tensor([[1.0, 10.0], [0.5, 9.0]]))
    assert out.tolist() == [[0, 41, 2], [0, 2, 0]]


@pytest.mark.parametrize("cells", [1, 30, 4_000_000])
def test_keep_largest_agrees_with_sorting(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palate.sequence.sparse._CELLS", cells)
    generator = np.random.default_rng(1)
    dense = generator.random((40, 25)) * (generator.random((40, 25)) < generator.random((40, 1)))
    kept = keep_largest(csr_matrix(dense), 4).toarray()
    for row, full in zip(kept, dense, strict=True):
        best = np.sort(full)[::-1][:4]
        np.testing.assert_array_equal(np.sort(row)[::-1][:4], best)
        assert ((row == full) | (row == 0)).all()


def test_user_item_matrix_has_ones() -> None:
    matrix = user_item_matrix(log_of([1, 1, 2], [], [2], num_items=2))
    assert matrix.toarray().tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 1]]
