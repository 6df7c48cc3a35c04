from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from palate.data.sequences import SequenceLog, pad_histories
from palate.errors import DataError
from palate.evaluate.histories import check_histories, last_items, seen_pairs, wide_pairs

LOG = SequenceLog(np.array([3, 1, 2, 5, 4, 4]), np.array([0, 3, 3, 6]), num_items=5)


def test_padded_batches_by_hand() -> None:
    items, lengths = last_items(LOG, np.array([2, 1, 0]), 2)
    assert items.tolist() == [[4, 4], [0, 0], [1, 2]]
    assert lengths.tolist() == [2, 0, 2]
    items, lengths = last_items(LOG, np.array([1]), 9)
    assert (items.tolist(), lengths.tolist()) == ([[0]], [0])


@pytest.mark.parametrize("max_length", [1, 2, 50])
def test_the_model_sees_what_training_shows(max_length: int) -> None:
    users = np.array([0, 1, 2, 0])
    items, lengths = last_items(LOG, users, max_length)
    expected = pad_histories(LOG, users, max_length)
    assert items.tolist() == expected[0].tolist()
    assert lengths.tolist() == expected[1].tolist()


def test_pairs_hold_the_whole_history() -> None:
    rows, items = seen_pairs(LOG, np.array([2, 1, 0]))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [(0, 5), (0, 4), (0, 4), (2, 3), (2, 1), (2, 2)]
    assert wide_pairs(rows, items, 3).tolist() == [[5, 4, 4], [0, 0, 0], [3, 1, 2]]
    assert [len(part) for part in seen_pairs(None, np.array([0]))] == [0, 0]
    assert wide_pairs(*seen_pairs(None, np.array([0, 1])), 2).tolist() == [[0], [0]]


def test_histories_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="seen has 3 users; 4 are expected"):
        check_histories(LOG, "seen", num_users=4, num_items=5)
    with pytest.raises(DataError, match="items from 1 to 5; the catalogue has 1 to 4"):
        check_histories(LOG, "seen", num_users=3, num_items=4)
    padded = SimpleNamespace(items=np.array([0, 1]), offsets=np.array([0, 2]), num_items=5)
    with pytest.raises(DataError, match="items from 0"):
        check_histories(padded, "histories", num_users=1, num_items=5)
