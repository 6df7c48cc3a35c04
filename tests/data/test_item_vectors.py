"""Pretrained vectors: found by id, zero where there is none, refused where they do not fit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from palate.data.item_vectors import ItemVectors
from palate.errors import DataError


def test_vectors_are_found_by_id_of_any_type() -> None:
    vectors = ItemVectors.of(pl.Series([318, 1]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    for items in (pl.Series(["1", "7", None, "318"]), pl.Series([1.0, 7.0, None, 318.0])):
        assert vectors.matrix[vectors.rows(items)].tolist() == [[3, 4], [0, 0], [0, 0], [1, 2]]
    again = ItemVectors.from_arrays(vectors.to_arrays())
    assert again.rows(pl.Series([318])).tolist() == [1]
    assert again.matrix.dtype == np.float32


def test_vectors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="2 items came with vectors of shape"):
        ItemVectors.of([1, 2], [[1.0]])
    with pytest.raises(DataError, match='The vector of item "2" is not finite'):
        ItemVectors.of([1, 2], [[1.0], [float("nan")]])
    with pytest.raises(DataError, match="1 item ids stand more than once"):
        ItemVectors.of([1, 1], [[1.0], [2.0]])
