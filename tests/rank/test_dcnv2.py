"""DCN-V2: full, low-rank and mixed cross layers in four structures, against their equations."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.dcnv2 import DCNv2, DCNv2Config, MixtureCrossNet
from palate.testing.rankers import check_ranker

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def wave(model):
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_by_hand(w, x_0, kind):
    x = x_0
    for layer in range(2):
        if kind == "full":
            inner = x @ w[f"cross.factors.{layer}.0.weight"].T + w[f"cross.factors.{layer}.0.bias"]
        elif kind == "low-rank":
            inner = x @ w[f"cross.factors.{layer}.0.weight"].T @ w[f"cross.factors.{layer}.1.weight"].T
            inner = inner + w[f"cross.factors.{layer}.1.bias"]
        else:
            gates = softmax(x @ w["cross.gate.weight"].T)
            inner = np.zeros_like(x)
            for expert in range(3):
                low = np.tanh(x @ w[f"cross.down.{layer}"][expert].T)
                low = np.tanh(low @ w[f"cross.inner.{layer}"][expert].T)
                mapped = low @ w[f"cross.up.{layer}"][expert] + w[f"cross.biases.{layer}"]
                inner = inner + gates[:, [expert]] * mapped
        x = x_0 * inner + x
    return x


def tower_by_hand(w, name, x):
    return np.maximum(x @ w[f"{name}.layers.0.weight"].T + w[f"{name}.layers.0.bias"], 0)


@pytest.mark.parametrize("kind", ["full", "low-rank", "mixture"])
@pytest.mark.parametrize("structure", ["parallel", "stacked", "stacked-parallel", "cross"])
def test_logits_by_hand(kind, structure):
    config = DCNv2Config(
        embedding_size=2,
        cross=kind,
        num_layers=2,
        rank=2,
        num_experts=3,
        structure=structure,
        hidden=(3,),
        stacked_hidden=(4,),
        dropout=0,
    )
    model = DCNv2(SPEC, config)
    w = wave(model)
    x_0 = w["embedding.table.weight"][IDS.numpy()].reshape(2, 6)
    crossed = cross_by_hand(w, x_0, kind)
    assert "stacked" not in structure or w["stacked.layers.0.weight"].shape == (4, 6)
    parts = [tower_by_hand(w, "stacked", crossed) if "stacked" in structure else crossed]
    if "parallel" in structure:
        parts.append(tower_by_hand(w, "parallel", x_0))
    expected = np.concatenate(parts, axis=1) @ w["head.weight"][0] + w["head.bias"]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=2e-5)


def test_equal_experts_make_the_gate_irrelevant():
    net = MixtureCrossNet(6, 2, rank=3, num_experts=4)
    with torch.no_grad():
        for maps in (net.down, net.inner, net.up):
            for weight in maps:
                weight.copy_(weight[:1].expand_as(weight))
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    before = net(x)
    torch.nn.init.normal_(net.gate.weight)
    torch.testing.assert_close(net(x), before)


def test_parameters_on_criteo_are_those_of_the_public_benchmark():
    criteo = FeatureSpec.from_sizes(rest=910_747 - 76, **{f"f{i}": 2 for i in range(38)})
    with torch.device("meta"):
        model = DCNv2(criteo, DCNv2Config.sized("base"))
    assert sum(p.numel() for p in model.parameters()) == 20_382_577  # BARS, DCNv2 on Criteo_x4


def test_parameter_formula_of_the_mixture():
    d, rank, experts, layers = 12, 5, 3, 2
    net = MixtureCrossNet(d, layers, rank=rank, num_experts=experts)
    expected = layers * (experts * (2 * d * rank + rank**2) + d) + experts * d
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("kind", ["low-rank", "mixture"])
def test_a_rank_above_the_width_is_refused(kind):
    with pytest.raises(ConfigError, match="rank is 7"):
        DCNv2(SPEC, DCNv2Config(embedding_size=2, cross=kind, rank=7))


def test_an_unknown_structure_is_refused():
    with pytest.raises(ConfigError, match="structure"):
        DCNv2Config(structure="sideways")


@pytest.mark.parametrize(
    "settings",
    [{"cross": "mixture"}, {"cross": "low-rank", "structure": "cross"}, {"structure": "stacked-parallel"}],
)
def test_variants_keep_the_laws(settings):
    check_ranker("dcnv2", **settings)
