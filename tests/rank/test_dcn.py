"""The cross network with vectors against its equation."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.dcn import DCN, DCNConfig
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def test_logits_by_hand():
    model = DCN(
        FeatureSpec.from_sizes(a=3, b=4, c=3), DCNConfig(embedding_size=2, num_layers=2, hidden=(3,), dropout=0)
    )
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x_0 = w["embedding.table.weight"][IDS.numpy()].reshape(2, 6)
    x = x_0
    for layer in range(2):
        x = x_0 * (x @ w[f"cross.weights.{layer}.weight"].T) + w[f"cross.biases.{layer}"] + x
    hidden = np.maximum(x_0 @ w["tower.layers.0.weight"].T + w["tower.layers.0.bias"], 0)
    expected = np.concatenate([x, hidden], axis=1) @ w["head.weight"][0] + w["head.bias"]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=1e-5)


def test_the_cross_network_moves_along_x_0_alone():
    """With zero biases every layer's output is the input times a number."""
    model = DCN(FeatureSpec.from_sizes(a=9), DCNConfig(embedding_size=6, hidden=()))
    x_0 = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    ratio = model.cross(x_0) / x_0
    torch.testing.assert_close(ratio, ratio[:, :1].expand(-1, 6), rtol=1e-4, atol=1e-5)


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    with torch.device("meta"):
        model = DCN(frappe, DCNConfig(embedding_size=10, num_layers=3, hidden=(400, 400, 400), batch_norm=True))
    assert sum(p.numel() for p in model.parameters()) == 418_591  # BARS, DCN on Frappe_x1


def test_no_layers_are_refused():
    with pytest.raises(ConfigError, match="num_layers"):
        DCNConfig(num_layers=0)


def test_the_cross_network_alone_keeps_the_laws():
    check_ranker("dcn", hidden=())
