from __future__ import annotations

import pytest
import torch

from palate.data.features import RankBatch
from palate.data.sequences import SequenceBatch
from palate.errors import TrainingError
from palate.train.batches import move, named_tensors, num_rows, take_rows

RANK = RankBatch(ids=torch.arange(6).view(3, 2), sequences=(torch.ones(3, 4),), labels=torch.tensor([0.0, 1.0, 0.0]))
SEQUENCE = SequenceBatch(items=torch.ones(5, 2, dtype=torch.int64), lengths=torch.ones(5, dtype=torch.int64))


@pytest.mark.parametrize(
    ("batch", "rows"),
    [
        (RANK, 3),
        (SEQUENCE, 5),
        (torch.ones(4, 2), 4),
        ((torch.ones(7), torch.ones(7)), 7),
        ({"x": [torch.ones(2)], "y": None}, 2),
    ],
)
def test_rows_are_counted_whatever_the_batch_is(batch, rows):
    assert num_rows(batch) == rows


@pytest.mark.parametrize("batch", [5, {}, ("a",)])
def test_what_has_no_rows_is_refused(batch):
    with pytest.raises(TrainingError, match="cannot take rows from a batch of type"):
        num_rows(batch)


def test_names_lead_to_the_tensors():
    assert [name for name, _ in named_tensors(RANK)] == ["batch.ids", "batch.sequences.0", "batch.labels"]
    assert [name for name, _ in named_tensors({"a": (torch.ones(1), 3)})] == ["batch.a.0"]


def test_rows_are_taken_from_own_types_and_plain_ones():
    part = take_rows(RANK, 1, 3)
    assert part.ids.tolist() == [[2, 3], [4, 5]]
    assert part.sequences[0].shape == (2, 4)
    assert take_rows([torch.arange(4)], 1, 2)[0].tolist() == [1]


def test_moving_goes_through_the_batch_or_its_tensors():
    meta = torch.device("meta")
    assert move(RANK, torch.device("cpu")) is RANK
    assert move(RANK, meta).ids.device == meta
    assert move({"a": (torch.ones(1), None)}, meta)["a"][0].device == meta
