"""MaskNet, serial and parallel, against its equations."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.masknet import MaskBlock, MaskNet, MaskNetConfig
from palate.testing.rankers import check_ranker

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def layer(w, prefix, x):
    return x @ w[f"{prefix}.weight"].T + w[f"{prefix}.bias"]


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def block_by_hand(w, prefix, guide, hidden):
    mask = layer(w, f"{prefix}.mask.layers.2", np.maximum(layer(w, f"{prefix}.mask.layers.0", guide), 0))
    out = (mask * hidden) @ w[f"{prefix}.linear.weight"].T
    return np.maximum(layer_norm(out) * w[f"{prefix}.norm.weight"] + w[f"{prefix}.norm.bias"], 0)


@pytest.mark.parametrize("structure", ["serial", "parallel"])
def test_logits_by_hand(structure):
    config = MaskNetConfig(
        embedding_size=4,
        structure=structure,
        hidden=(4, 3) if structure == "serial" else (3,),
        num_blocks=2,
        block_size=3,
        reduction=0.5,
        dropout=0,
    )
    model = MaskNet(SPEC, config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    e = w["embedding.table.weight"][IDS.numpy()]
    guide, hidden = e.reshape(2, 12), (layer_norm(e) * w["norm_weight"] + w["norm_bias"]).reshape(2, 12)
    if structure == "serial":
        out = block_by_hand(w, "blocks.1", guide, block_by_hand(w, "blocks.0", guide, hidden))
        expected = layer(w, "head", out)[:, 0]
    else:
        out = np.concatenate([block_by_hand(w, f"blocks.{k}", guide, hidden) for k in range(2)], axis=1)
        expected = layer(w, "head", np.maximum(layer(w, "tower.layers.0", out), 0))[:, 0]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=2e-5)


def test_a_mask_of_ones_leaves_a_plain_layer():
    torch.manual_seed(0)
    block = MaskBlock(6, 4, 3, layer_norm=False)
    with torch.no_grad():
        block.mask.layers[-1].weight.zero_()
        block.mask.layers[-1].bias.fill_(1.0)
    guide, hidden = torch.randn(5, 6), torch.randn(5, 4)
    torch.testing.assert_close(block(guide, hidden), (hidden @ block.linear.weight.T).relu())


def test_parameters_on_criteo_are_those_of_the_public_benchmark():
    criteo = FeatureSpec.from_sizes(rest=910_747 - 76, **{f"f{i}": 2 for i in range(38)})
    with torch.device("meta"):
        model = MaskNet(criteo, MaskNetConfig.sized("base"))
    assert sum(p.numel() for p in model.parameters()) == 20_358_077  # BARS, MaskNet on Criteo_x4


def test_parameter_formula_of_the_serial_network():
    model = MaskNet(FeatureSpec.from_sizes(a=11, b=13, c=6), MaskNetConfig(embedding_size=5, hidden=(8,), reduction=2))
    d, aggregation = 15, 30
    block = (d * aggregation + aggregation) + (aggregation * d + d) + d * 8 + 2 * 8
    assert sum(p.numel() for p in model.parameters()) == 30 * 5 + 2 * d + block + (8 + 1)


def test_a_serial_network_without_blocks_is_refused():
    with pytest.raises(ConfigError, match="at least one block"):
        MaskNetConfig(hidden=())


def test_a_mask_without_width_is_refused():
    with pytest.raises(ConfigError, match="reduction"):
        MaskNetConfig(reduction=0)


@pytest.mark.parametrize("settings", [{"structure": "parallel"}, {"embedding_norm": False, "layer_norm": False}])
def test_variants_keep_the_laws(settings):
    check_ranker("masknet", **settings)
