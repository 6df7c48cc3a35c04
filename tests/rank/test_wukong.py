"""Wukong layers against their equation."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.wukong import Wukong, WukongConfig, WukongLayer
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def layer(w, prefix, x):
    return x @ w[f"{prefix}.weight"].T + w[f"{prefix}.bias"]


def layer_norm(w, prefix, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * w[f"{prefix}.weight"] + w[f"{prefix}.bias"]


def layer_by_hand(w, prefix, x):
    gram = np.einsum("bid,bjd->bij", x, x)  # all pairs of vectors, then compressed by Y
    products = (gram @ w[f"{prefix}.compress.weight"].T).reshape(len(x), -1)
    hidden = np.maximum(layer(w, f"{prefix}.mlp.layers.0", layer_norm(w, f"{prefix}.product_norm", products)), 0)
    machine = layer(w, f"{prefix}.mlp.layers.2", hidden).reshape(len(x), 2, -1)
    linear = np.einsum("on,bnd->bod", w[f"{prefix}.linear.weight"], x)
    residual = f"{prefix}.residual.weight"
    kept = np.einsum("on,bnd->bod", w[residual], x) if residual in w else x
    return layer_norm(w, f"{prefix}.norm", np.concatenate([machine, linear], axis=1) + kept)


def test_logits_by_hand():
    config = WukongConfig(
        embedding_size=4,
        num_layers=2,
        fm_vectors=2,
        linear_vectors=3,
        rank=2,
        fm_hidden=(4,),
        hidden=(3,),
        dropout=0,
    )
    model = Wukong(FeatureSpec.from_sizes(a=3, b=4, c=3), config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x = w["embedding.table.weight"][IDS.numpy()]
    assert "layers.0.residual.weight" in w, "3 fields become 5 vectors through a matrix"
    assert "layers.1.residual.weight" not in w, "5 vectors stay 5 vectors as they are"
    for place in range(2):
        x = layer_by_hand(w, f"layers.{place}", x)
    hidden = np.maximum(layer(w, "tower.layers.0", x.reshape(2, -1)), 0)
    expected = layer(w, "head", hidden)[:, 0]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=1e-4)


def test_parameter_formula_of_a_layer():
    n, size, machine, linear, rank = 6, 5, 2, 3, 4
    block = WukongLayer(n, size, fm_vectors=machine, linear_vectors=linear, rank=rank, hidden=(7,))
    mlp = (n * rank * 7 + 7) + (7 * machine * size + machine * size)
    expected = n * rank + 2 * n * rank + mlp + n * linear + n * (machine + linear) + 2 * size
    assert sum(p.numel() for p in block.parameters()) == expected


def test_a_rank_of_zero_is_refused():
    with pytest.raises(ConfigError, match="rank"):
        WukongConfig(rank=0)


def test_without_hidden_layers_it_keeps_the_laws():
    check_ranker("wukong", hidden=(), fm_hidden=())
