"""Logistic regression by hand."""

import pytest
import torch

from palate.data.features import FeatureSpec, FieldSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.lr import LR, LRConfig


def test_logits_are_the_sum_of_weights_and_numbers():
    spec = FeatureSpec(
        fields=(
            FieldSpec(name="user", kind="categorical", size=3, offset=0),
            FieldSpec(name="price", kind="numeric"),
            FieldSpec(name="tags", kind="sequence", size=4, offset=3, length=2),
        )
    )
    model = LR(spec, LRConfig())
    with torch.no_grad():
        model.linear.weights.table.weight.copy_(torch.tensor([[0.0], [0.5], [-1.0], [0.0], [2.0], [4.0], [8.0]]))
        model.linear.weights.numeric_weight.fill_(3.0)
        model.linear.bias.fill_(0.25)
    batch = RankBatch(
        ids=torch.tensor([[1], [2]]),
        numeric=torch.tensor([[2.0], [-1.0]]),
        sequences=(torch.tensor([[4, 6], [3, 5]]),),  # 3 is the padding of the tags
    )
    # 0.25 + 0.5 + 3 * 2 + (2 + 8) and 0.25 - 1 + 3 * -1 + 4
    assert model(batch).tolist() == pytest.approx([16.75, 0.25])


def test_one_parameter_per_id_and_number_and_a_bias():
    model = LR(FeatureSpec.from_sizes(user=10, item=20), LRConfig())
    assert sum(p.numel() for p in model.parameters()) == 30 + 1


def test_there_are_no_settings():
    with pytest.raises(ConfigError, match='no setting "embedding_size"'):
        LRConfig(embedding_size=4)
