"""The field-weighted factorisation machine by hand."""

import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.fwfm import FwFM, FwFMConfig


def test_logits_by_hand():
    model = FwFM(FeatureSpec.from_sizes(a=2, b=2, c=2), FwFMConfig(embedding_size=2))
    with torch.no_grad():
        rows = [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, -1.0], [0.0, 0.0], [0.5, 4.0]]
        model.embedding.table.weight.copy_(torch.tensor(rows))
        model.linear.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 2.0, -1.0, 0.5]]))
        model.linear.bias.fill_(0.25)
        model.pairs.weight.copy_(torch.tensor([2.0, -1.0, 0.5]))
    # Linear: 1 - 2 + (-0.5 + 2) + 0.25 = 0.75. Pairs: 2 * 1 - 1 * 8.5 + 0.5 * -2.5.
    assert model(RankBatch(ids=torch.tensor([[1, 3, 5]]))).item() == pytest.approx(0.75 + 2 - 8.5 - 1.25)


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    with torch.device("meta"):
        model = FwFM(frappe, FwFMConfig(embedding_size=10, linear="feature"))
    assert sum(p.numel() for p in model.parameters()) == 107_826  # BARS, FwFM (FeLV) on Frappe_x1


def test_a_misspelt_setting_is_refused():
    with pytest.raises(ConfigError, match='Did you mean "interaction"'):
        FwFMConfig(interacton="scalar")
