"""The factorisation machine by hand."""

import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.fm import FM, FMConfig


def test_logits_by_hand():
    model = FM(FeatureSpec.from_sizes(a=2, b=2, c=2), FMConfig(embedding_size=2))
    with torch.no_grad():
        model.linear.weights.table.weight.copy_(torch.tensor([[0.0], [1.0], [0.0], [2.0], [0.0], [-4.0]]))
        model.linear.bias.fill_(0.5)
        rows = [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, -1.0], [0.0, 0.0], [0.5, 4.0]]
        model.embedding.table.weight.copy_(torch.tensor(rows))
    # Linear: 1 + 2 - 4 + 0.5 = -0.5. Pairs: (1,2).(3,-1) = 1, (1,2).(0.5,4) = 8.5, (3,-1).(0.5,4) = -2.5.
    assert model(RankBatch(ids=torch.tensor([[1, 3, 5]]))).item() == pytest.approx(-0.5 + 1 + 8.5 - 2.5)
    # Without c (its padding): 1 + 2 + 0.5 + 1.
    assert model(RankBatch(ids=torch.tensor([[1, 3, 4]]))).item() == pytest.approx(4.5)


def test_parameters_are_one_weight_and_one_vector_per_id():
    model = FM(FeatureSpec.from_sizes(user=10, item=20), FMConfig(embedding_size=7))
    assert sum(p.numel() for p in model.parameters()) == 30 * (1 + 7) + 1


def test_bad_width_is_refused():
    with pytest.raises(ConfigError, match="embedding_size = 0"):
        FMConfig(embedding_size=0)
