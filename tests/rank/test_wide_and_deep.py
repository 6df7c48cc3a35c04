"""Wide & Deep: the sum of its two parts."""

import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.wide_and_deep import WideAndDeep, WideAndDeepConfig


def test_logits_by_hand():
    config = WideAndDeepConfig(embedding_size=1, hidden=(2,), dropout=0)
    model = WideAndDeep(FeatureSpec.from_sizes(a=2, b=2), config)
    with torch.no_grad():
        model.wide.weights.table.weight.copy_(torch.tensor([[0.0], [10.0], [0.0], [-3.0]]))
        model.wide.bias.fill_(0.5)
        model.embedding.table.weight.copy_(torch.tensor([[0.0], [2.0], [0.0], [-1.0]]))
        first, last = model.deep.layers[0], model.head
        first.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 3.0]]))
        first.bias.copy_(torch.tensor([0.5, 0.5]))
        last.weight.copy_(torch.tensor([[2.0, 5.0]]))
        last.bias.fill_(-1.0)
    # Wide: 10 - 3 + 0.5. Deep: 2 * relu(1.5) + 5 * relu(-0.5) - 1.
    assert model(RankBatch(ids=torch.tensor([[1, 3]]))).item() == pytest.approx(7.5 + 2)


def test_parameter_formula():
    spec = FeatureSpec.from_sizes(a=11, b=13, c=6)
    model = WideAndDeep(spec, WideAndDeepConfig(embedding_size=5, hidden=(7,)))
    assert sum(p.numel() for p in model.parameters()) == 30 * (1 + 5) + 1 + (15 * 7 + 7) + (7 + 1)


def test_a_width_of_zero_is_refused():
    with pytest.raises(ConfigError, match="hidden"):
        WideAndDeepConfig(hidden=(64, 0))
