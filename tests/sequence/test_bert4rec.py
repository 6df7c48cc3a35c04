"""BERT4Rec: what it trains on, what it masks, and what it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from palate.data.sequence_source import SequenceSource
from palate.data.sequences import SequenceLog
from palate.sequence.bert4rec import BERT4Rec, BERT4RecConfig


def bert(**settings: Any) -> BERT4Rec:
    torch.manual_seed(0)
    return BERT4Rec(20, BERT4RecConfig.sized("tiny", **settings))


def a_batch(rows: int = 400) -> tuple[BERT4Rec, Any]:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 12, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    log = SequenceLog(generator.integers(1, 21, int(offsets[-1])), offsets, 20)
    return bert(mask_share=0.3, last_share=0.0), SequenceSource(log, batch_size=rows).batch(0, 0)


def test_bert4rec_trains_on_whole_sequences() -> None:
    made, batch = a_batch()
    items, lengths = made._with_last_target(batch)
    assert torch.equal(lengths, batch.lengths + 1)
    assert torch.equal(items[:, 1:][batch.targets > 0], batch.targets[batch.targets > 0])


def test_bert4rec_masks_the_share_it_was_told_and_something_in_every_row() -> None:
    made, batch = a_batch()
    items, lengths = made._with_last_target(batch)
    masked = made._draw_masks(items > 0, lengths)
    assert masked.any(1).all()
    assert not masked[items == 0].any()
    long = lengths >= 8
    share = masked[long].sum() / (items[long] > 0).sum()
    assert 0.26 < share < 0.34
    only_last = bert(last_share=1.0)._draw_masks(items > 0, lengths)
    assert torch.equal(only_last.int().argmax(1), lengths - 1)
    assert torch.equal(only_last.sum(1), torch.ones_like(lengths))


def test_bert4rec_does_not_see_what_is_masked_and_sees_both_sides() -> None:
    made = bert().eval()
    items = torch.tensor([[3, 4, 5, 6]])
    masked, real = torch.tensor([[False, True, False, False]]), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        state = made.fill(items, masked, real)[0, 1]
        hidden = torch.tensor([[3, 9, 5, 6]])
        assert torch.equal(made.fill(hidden, masked, real)[0, 1], state)
        for changed in (0, 3):
            other = items.clone()
            other[0, changed] = 11
            assert not torch.allclose(made.fill(other, masked, real)[0, 1], state)
