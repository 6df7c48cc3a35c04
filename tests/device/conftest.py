"""One model and its exports for all tests of the device: exporting takes seconds, playing milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from palate.card import Card, CostFacts, DataFacts
from palate.catalogue import Catalogue
from palate.data.item_index import ItemIndex
from palate.data.sequences import SequenceLog
from palate.data.tokens import TokenIndex
from palate.device.correction import Correction
from palate.device.export import export_device
from palate.next_item_recommender import NextItemRecommender
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.users_log import UsersLog

ITEMS = 300


def make_model(seed: int = 0, **settings: object) -> CoCorrRec:
    """Return an untrained model far from its small initial weights, so that every part shows."""
    torch.manual_seed(seed)
    config = {"embedding_size": 16, "num_heads": 2, "mini_batch_size": 5, "sync_every": 5, **settings}
    model = CoCorrRec(ITEMS, CoCorrRecConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("gcn"):
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.item_embedding.weight[0] = 0
        if model.config.mode == "causal":
            model.attention_weight.fill_(0.3)
    return model


def make_recommender(model: CoCorrRec) -> NextItemRecommender:
    """Return a recommender around ``model`` whose items are 1001.. with titles, one of them without."""
    ids = pl.Series([str(1000 + number) for number in range(1, ITEMS + 1)])
    titles = pl.Series([None if number == 7 else f"Film {number}" for number in range(1, ITEMS + 1)])
    log = SequenceLog(np.array([1, 2, 3, 4, 2, 9], np.int64), np.array([0, 6], np.int64), ITEMS)
    data = DataFacts(
        name="made", fingerprint="0", rows=6, users=1, items=ITEMS, split="none", split_fingerprint="0",
        train=6, validation=0, test=0,
    )  # fmt: skip
    cost = CostFacts(training_seconds=0.0, epochs=0, parameters=1, megabytes=0.0)
    card = Card(
        model="cocorrrec", task="next-item", palate="0", seed=0, settings=model.config.model_dump(), training={},
        data=data, protocol="none", cost=cost,
    )  # fmt: skip
    users = UsersLog(TokenIndex(["u"]), log)
    return NextItemRecommender(model, Catalogue(ItemIndex(TokenIndex(ids), titles)), users, card)


@dataclass
class ExactCloud:
    """The cloud of ``model`` without a wire between: float32 answers, always."""

    model: CoCorrRec
    ttl_steps: int = 5
    asked: int = 0

    @torch.inference_mode()
    def request(self, hidden: np.ndarray, seq_no: int) -> Correction:
        """Return the model's own answer."""
        self.asked += 1
        answer = self.model.correct(torch.tensor(hidden)[None], torch.tensor([len(hidden)]))
        p, q = float(answer.attention_weight), float(answer.bias_weight)
        return Correction(answer.attention[0].numpy(), answer.bias[0].numpy(), p, q, seq_no, self.ttl_steps)


class Maker:
    """What tests build things with."""

    items = ITEMS
    model = staticmethod(make_model)
    recommender = staticmethod(make_recommender)
    cloud = ExactCloud


@pytest.fixture(scope="session")
def make() -> type[Maker]:
    return Maker


@pytest.fixture(scope="session")
def model() -> CoCorrRec:
    return make_model()


@pytest.fixture(scope="session")
def recommender(model: CoCorrRec) -> NextItemRecommender:
    return make_recommender(model)


@pytest.fixture(scope="session")
def exported(recommender: NextItemRecommender, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that exports the recommender, once for each choice of options."""
    folder, done = tmp_path_factory.mktemp("exports"), {}

    def export(**options: object) -> Path:
        key = str(sorted(options.items()))
        if key not in done:
            done[key] = export_device(recommender, folder / str(len(done)), **options)
        return done[key]

    return export


@pytest.fixture(scope="session")
def export(exported: Callable[..., Path]) -> Path:
    """Return the export that most tests play: ONNX, float32, corrected."""
    return exported()
