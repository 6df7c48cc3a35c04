"""xDeepFM against the sum over all products of fields."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.xdeepfm import XDeepFM, XDeepFMConfig
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def cin_by_hand(w, x_0):
    """Every map is a sum over pairs (i, j) of W[h, (i, j)] * X_i * X_0j; i is the slow index."""
    x, pooled = x_0, []
    for layer in range(2):
        weight, bias = w[f"cin.compress.{layer}.weight"], w[f"cin.compress.{layer}.bias"]
        maps = []
        for h in range(len(weight)):
            table = weight[h].reshape(x.shape[1], x_0.shape[1])
            maps.append(bias[h] + np.einsum("ij,bid,bjd->bd", table, x, x_0))
        x = np.stack(maps, axis=1)
        pooled.append(x.sum(2))
    return np.concatenate(pooled, axis=1)


def test_logits_by_hand():
    config = XDeepFMConfig(embedding_size=2, maps=(4, 2), hidden=(3,), dropout=0)
    model = XDeepFM(FeatureSpec.from_sizes(a=3, b=4, c=3), config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    e = w["embedding.table.weight"][IDS.numpy()]
    linear = w["linear.weights.table.weight"][IDS.numpy()].sum((1, 2)) + w["linear.bias"]
    cin = cin_by_hand(w, e) @ w["cin_head.weight"][0] + w["cin_head.bias"]
    hidden = np.maximum(e.reshape(2, 6) @ w["tower.0.layers.0.weight"].T + w["tower.0.layers.0.bias"], 0)
    deep = (hidden @ w["tower.1.weight"].T + w["tower.1.bias"])[:, 0]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), linear + cin + deep, rtol=1e-5)


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    config = XDeepFMConfig(embedding_size=10, maps=(64,), hidden=(400, 400, 400), batch_norm=True)
    with torch.device("meta"):
        model = XDeepFM(frappe, config)
    # BARS, xDeepFM on Frappe_x1: 429,809, where the linear term has no bias of its own.
    assert sum(p.numel() for p in model.parameters()) == 429_809 + 1


def test_no_maps_are_refused():
    with pytest.raises(ConfigError, match="maps"):
        XDeepFMConfig(maps=())


def test_without_a_tower_it_keeps_the_laws():
    check_ranker("xdeepfm", hidden=())
