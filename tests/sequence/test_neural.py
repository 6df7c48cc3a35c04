"""What every neural next-item model must do: never look ahead, ignore padding, and learn a world that is certain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palate.data.sequence_source import SequenceSource
from palate.data.sequences import SequenceLog
from palate.sequence.bert4rec import BERT4Rec
from palate.sequence.caser import Caser
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.fpmc import FPMC
from palate.sequence.gru4rec import GRU4Rec
from palate.sequence.hstu import HSTU
from palate.sequence.linrec import LinRec
from palate.sequence.lrurec import LRURec
from palate.sequence.mamba4rec import Mamba4Rec
from palate.sequence.neural import NeuralModel
from palate.sequence.sasrec import SASRec
from palate.sequence.ttt4rec import TTT4Rec

MODELS: list[type[NeuralModel]] = [
    BERT4Rec,
    Caser,
    CoCorrRec,
    FPMC,
    GRU4Rec,
    HSTU,
    LinRec,
    LRURec,
    Mamba4Rec,
    SASRec,
    TTT4Rec,
]
EVERY = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def tiny(model: type[NeuralModel], num_items: int = 20, **settings: Any) -> NeuralModel:
    torch.manual_seed(0)
    made = model(num_items, model.Config.sized("tiny", **settings))
    with torch.no_grad():  # far from the small initial weights, so that an influence would show
        for name, parameter in made.named_parameters():
            if "theta" not in name and "nu" not in name and "log" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@EVERY
def test_a_later_item_never_changes_an_earlier_position(model: type[NeuralModel]) -> None:
    made = tiny(model)
    items = torch.randint(1, 21, (2, 12), generator=torch.Generator().manual_seed(1))
    lengths = torch.full((2,), 12)
    with torch.no_grad():
        before = made.encode(items, lengths)
        for changed in (1, 5, 11):
            other = items.clone()
            other[:, changed] = other[:, changed] % 20 + 1
            after = made.encode(other, lengths)
            torch.testing.assert_close(after[:, :changed], before[:, :changed], atol=1e-5, rtol=1e-5)
            assert (after[:, changed] - before[:, changed]).abs().max() > 1e-3


@EVERY
def test_padding_and_other_rows_have_no_influence(model: type[NeuralModel]) -> None:
    made = tiny(model)
    items = torch.randint(1, 21, (3, 9), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9, 4, 1])
    items[torch.arange(9) >= lengths[:, None]] = 0
    with torch.no_grad():
        together = made.encode(items, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = made.encode(items[row : row + 1, :length], lengths[row : row + 1])
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


@EVERY
def test_an_empty_history_alone_or_beside_others(model: type[NeuralModel]) -> None:
    made = tiny(model)
    with torch.no_grad():
        empty = made.score(torch.zeros(1, 3, dtype=torch.long), torch.tensor([0]))
        mixed = made.score(torch.tensor([[4, 5, 6], [0, 0, 0]]), torch.tensor([3, 0]))
    torch.testing.assert_close(mixed[1], empty[0])
    assert torch.isfinite(empty[0, 1:]).all()


@EVERY
def test_a_world_that_goes_round_is_learned(model: type[NeuralModel]) -> None:
    """Everyone goes 1 2 .. 6 1 2 .., starting anywhere: the next item is certain, and must be ranked first."""
    starts = np.arange(24) % 6
    items = (starts[:, None] + np.arange(8)) % 6 + 1
    log = SequenceLog(items.ravel().astype(np.int64), np.arange(0, 24 * 8 + 1, 8), 6)
    torch.manual_seed(0)
    made = model(6, model.Config.sized("tiny", dropout=0.0))
    source = SequenceSource(log, batch_size=24)
    steps, learning_rate = (200, 0.005) if model is BERT4Rec else (70, 0.02)  # masks teach more slowly
    optimiser = torch.optim.Adam(made.parameters(), lr=learning_rate)
    made.train()
    for epoch in range(steps):
        optimiser.zero_grad()
        made.loss(source.batch(epoch, 0)).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 5.0)
        optimiser.step()
    histories = torch.tensor([[(start + step) % 6 + 1 for step in range(5)] for start in range(6)])
    best = made.eval().rank(histories, torch.full((6,), 5), k=1).items[:, 0]
    assert best.tolist() == [(start + 5) % 6 + 1 for start in range(6)]


@pytest.mark.parametrize(
    ("loss", "settings"),
    [("sampled-softmax", {}), ("bce", {}), ("bpr", {}), ("bpr-max", {})],
)
def test_every_loss_trains_every_model_that_offers_it(loss: str, settings: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    log = SequenceLog(generator.integers(1, 31, 200), np.arange(0, 201, 10), 30)
    for model in MODELS:
        if model is BERT4Rec:
            continue
        made = model(30, model.Config.sized("tiny", loss=loss, num_negatives=3, **settings))
        source = SequenceSource(log, batch_size=20, num_negatives=3)
        made.train().loss(source.batch(0, 0)).backward()
        gradient = made.item_embedding.weight.grad
        assert gradient is not None, (model, loss)
        assert torch.isfinite(gradient).all(), (model, loss)
        assert gradient.abs().max() > 0, (model, loss)
