"""SASRec and what it shares with the other neural models: causality, padding, losses and empty histories."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from palate.data.sequence_source import SequenceSource
from palate.data.sequences import SequenceBatch, SequenceLog
from palate.errors import ConfigError, TrainingError
from palate.sequence.sasrec import SASRec, SASRecConfig


def sasrec(num_items: int = 30, **settings: object) -> SASRec:
    torch.manual_seed(0)
    return SASRec(num_items, SASRecConfig.sized("tiny", **settings))


def a_batch() -> SequenceBatch:
    items = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    targets = torch.tensor([[2, 3, 4, 9], [6, 7, 0, 0]])
    negatives = torch.randint(1, 31, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    return SequenceBatch(items, torch.tensor([4, 2]), targets, negatives=negatives)


def test_one_block_by_hand() -> None:
    """With values and feed-forward at zero, the state is the normed sum of item and position."""
    model = sasrec(embedding_size=4).eval()
    with torch.no_grad():
        block = model.blocks[0]
        block.attention.output.weight.zero_()
        block.feed_forward.layers[3].weight.zero_()
        items = torch.tensor([[3, 5]])
        x = model.item_embedding(items) * 2.0 + model.position.table.weight[:2]
        expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(model.encode(items, torch.tensor([2])), expected)


def test_attention_by_hand() -> None:
    """Equal queries and keys give running means of the values."""
    attention = sasrec(embedding_size=4).blocks[0].attention.eval()
    with torch.no_grad():
        attention.inputs.weight.zero_()
        attention.inputs.weight[8:] = torch.eye(4)
        attention.inputs.bias.zero_()
        attention.output.weight.copy_(torch.eye(4))
        attention.output.bias.zero_()
        x = torch.randn(2, 5, 4)
        means = x.cumsum(1) / torch.arange(1, 6)[None, :, None]
        torch.testing.assert_close(attention(x), means)


@pytest.mark.parametrize("loss", ["softmax", "sampled-softmax", "bce", "bpr"])
def test_loss_at_the_start_is_near_its_theory(loss: str) -> None:
    model = sasrec(loss=loss, num_negatives=5, initial_std=1e-4)
    expected = {
        "softmax": math.log(30),
        "sampled-softmax": math.log(31),  # the target and five negatives that stand for thirty items
        "bce": 2 * math.log(2),
        "bpr": math.log(2),
    }[loss]
    assert model.loss(a_batch()).item() == pytest.approx(expected, abs=0.05)


def test_padding_and_its_negatives_do_not_enter_the_loss() -> None:
    model = sasrec(loss="bce", num_negatives=5).eval()
    batch = a_batch()
    wide = SequenceBatch(
        torch.nn.functional.pad(batch.items, (0, 3)),
        batch.lengths,
        torch.nn.functional.pad(batch.targets, (0, 3)),
        negatives=torch.nn.functional.pad(batch.negatives, (0, 0, 0, 3), value=7),
    )
    torch.testing.assert_close(model.loss(wide), model.loss(batch))


def test_the_empty_history_learns_and_changes_nothing_else() -> None:
    model = sasrec(dropout=0.0, attention_dropout=0.0).train()
    loss = model.loss(a_batch())
    loss.backward()
    assert model.start.grad.abs().max() > 0
    states = model.encode(a_batch().items, a_batch().lengths)
    real = a_batch().targets > 0
    logits = states[real] @ model.item_embedding.weight[1:].T
    alone = torch.nn.functional.cross_entropy(logits, a_batch().targets[real] - 1)
    assert loss.item() == pytest.approx(alone.item(), abs=1e-5)
    (expected,) = torch.autograd.grad(alone, model.item_embedding.weight)
    torch.testing.assert_close(model.item_embedding.weight.grad, expected, atol=1e-6, rtol=1e-4)


def test_empty_histories_are_ranked_by_first_items() -> None:
    log = SequenceLog(np.tile([3, 1, 2], 40).astype(np.int64), np.arange(0, 121, 3), 5)
    source, model = SequenceSource(log, batch_size=40), sasrec(5)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(30):
        optimiser.zero_grad()
        model.loss(source.batch(epoch, 0)).backward()
        optimiser.step()
    ranking = model.eval().rank(torch.zeros(1, 1, dtype=torch.long), torch.tensor([0]), k=1)
    assert ranking.items.tolist() == [[3]]


def test_losses_that_need_negatives_say_so() -> None:
    with pytest.raises(ConfigError, match="num_negatives is 0"):
        SASRecConfig(loss="bce")
    batch = a_batch()
    with pytest.raises(TrainingError, match="no negatives"):
        sasrec(loss="bpr", num_negatives=1).loss(SequenceBatch(batch.items, batch.lengths, batch.targets))
    with pytest.raises(TrainingError, match="no targets"):
        sasrec().loss(SequenceBatch(batch.items, batch.lengths))
    with pytest.raises(ConfigError, match="does not divide"):
        SASRecConfig(embedding_size=10, num_heads=3)
