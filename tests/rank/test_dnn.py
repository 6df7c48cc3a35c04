"""The plain tower against its equation."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.dnn import DNN, DNNConfig
from palate.testing.rankers import check_ranker


def test_logits_by_hand():
    model = DNN(FeatureSpec.from_sizes(a=2, b=2), DNNConfig(embedding_size=1, hidden=(2,), dropout=0))
    with torch.no_grad():
        model.embedding.table.weight.copy_(torch.tensor([[0.0], [2.0], [0.0], [-1.0]]))
        first, last = model.tower.layers[0], model.head
        first.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 3.0]]))
        first.bias.copy_(torch.tensor([0.5, 0.5]))
        last.weight.copy_(torch.tensor([[2.0, 5.0]]))
        last.bias.fill_(-1.0)
    # Hidden: relu(2 - 1 + 0.5) = 1.5, relu(2 - 3 + 0.5) = 0.
    assert model(RankBatch(ids=torch.tensor([[1, 3]]))).item() == pytest.approx(2 * 1.5 - 1)


def test_dropout_works_in_training_only():
    torch.manual_seed(0)
    model = DNN(FeatureSpec.from_sizes(a=5, b=5), DNNConfig(embedding_size=4, hidden=(64,), dropout=0.5))
    with torch.no_grad():
        model.embedding.table.weight.normal_()
    batch = RankBatch(ids=torch.tensor([[1, 6]]))
    assert model.train()(batch).item() != model(batch).item()
    assert model.eval()(batch).item() == model(batch).item()


def test_parameter_formula():
    model = DNN(FeatureSpec.from_sizes(a=11, b=13, c=6), DNNConfig(embedding_size=5, hidden=(7, 3), batch_norm=True))
    expected = 30 * 5 + (15 * 7 + 7) + (7 * 3 + 3) + (3 + 1) + 2 * (7 + 3)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_a_tower_without_layers_is_refused():
    with pytest.raises(ConfigError, match="hidden"):
        DNNConfig(hidden=())


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan])
def test_dropout_out_of_range_is_refused(value):
    with pytest.raises(ConfigError, match="dropout"):
        DNNConfig(dropout=value)


def test_batch_norm_keeps_the_laws():
    check_ranker("dnn", batch_norm=True)
