"""The product-based network against its equation."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.pnn import PNN, PNNConfig
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


@pytest.mark.parametrize("product", ["inner", "outer", "both"])
def test_logits_by_hand(product):
    config = PNNConfig(embedding_size=2, product=product, hidden=(3,), dropout=0)
    model = PNN(FeatureSpec.from_sizes(a=3, b=4, c=3), config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    e = w["embedding.table.weight"][IDS.numpy()]
    parts = [e.reshape(2, 6)]
    if product in ("inner", "both"):
        parts.append(np.stack([(e[:, f] * e[:, g]).sum(1) for f, g in [(0, 1), (0, 2), (1, 2)]], axis=1))
    if product in ("outer", "both"):
        # The sum over all pairs, each field with itself included, of the outer products.
        parts.append(sum(np.einsum("bd,be->bde", e[:, f], e[:, g]) for f in range(3) for g in range(3)).reshape(2, 4))
    x = np.concatenate(parts, axis=1)
    hidden = np.maximum(x @ w["tower.layers.0.weight"].T + w["tower.layers.0.bias"], 0)
    expected = (hidden @ w["head.weight"].T + w["head.bias"])[:, 0]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=1e-5)


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    with torch.device("meta"):
        model = PNN(frappe, PNNConfig(embedding_size=10, hidden=(400, 400, 400)))
    assert sum(p.numel() for p in model.parameters()) == 433_491  # BARS, IPNN on Frappe_x1


def test_inner_products_of_one_field_are_refused():
    one = FeatureSpec.from_sizes(only=5)
    with pytest.raises(ConfigError, match="at least two fields"):
        PNN(one, PNNConfig())
    assert PNN(one, PNNConfig.sized("tiny", product="outer"))(RankBatch(ids=torch.tensor([[1]]))).shape == (1,)


@pytest.mark.parametrize("product", ["outer", "both"])
def test_variants_keep_the_laws(product):
    check_ranker("pnn", product=product)
