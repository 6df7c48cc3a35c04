"""The table that a device ranks with: small numbers stay near, and scores are the product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.device.item_rows import ItemRows, encode_rows
from palate.errors import SavedFolderError


def table(rows: int = 9001, width: int = 8, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    made[0] = 0
    return made


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("float16", 5e-3), ("int8", 0.2)])
def test_scores_are_products_over_several_chunks(precision: str, error: float) -> None:
    made, user = table(), np.arange(8, dtype=np.float32) / 8
    scores = ItemRows(*encode_rows(made, precision)).scores(user)
    assert scores[0] == -np.inf
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[1:], made[1:] @ user, atol=error)


def test_bytes_by_hand() -> None:
    rows, scales = encode_rows(np.array([[0, 0], [2, -1], [0.1, 0.3]], np.float32), "int8")
    np.testing.assert_array_equal(rows, [[0, 0], [127, -64], [42, 127]])
    assert scales is not None
    np.testing.assert_allclose(scales, [1, 2 / 127, 0.3 / 127], rtol=1e-6)


@given(st.integers(0, 1000), st.floats(1e-20, 1e20))
def test_a_byte_is_off_by_half_a_scale_at_most(seed: int, size: float) -> None:
    made = table(20, 5, seed) * np.float32(size)
    rows, scales = encode_rows(made, "int8")
    assert scales is not None
    assert (np.abs(rows * scales[:, None].astype(np.float64) - made) <= 0.501 * scales[:, None]).all()


def test_arrays_come_back_and_others_are_refused() -> None:
    rows = ItemRows(*encode_rows(table(30), "int8"))
    again = ItemRows.from_arrays(rows.to_arrays())
    user = np.ones(8, np.float32)
    np.testing.assert_array_equal(again.scores(user), rows.scores(user))
    assert again.num_items == 29
    arrays = rows.to_arrays()
    for broken in ({}, {"rows": arrays["rows"]}, {**arrays, "scales": arrays["scales"][:-1]}, {"rows": np.zeros(3)}):
        with pytest.raises(SavedFolderError, match="Export again"):
            ItemRows.from_arrays(broken)
