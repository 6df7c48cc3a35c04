"""Gated cross layers against their equation."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.gdcn import GDCN, GatedCrossNet, GDCNConfig
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_logits_by_hand(structure):
    config = GDCNConfig(embedding_size=2, num_layers=2, structure=structure, hidden=(3,), dropout=0)
    model = GDCN(FeatureSpec.from_sizes(a=3, b=4, c=3), config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    x_0 = w["embedding.table.weight"][IDS.numpy()].reshape(2, 6)
    x = x_0
    for layer in range(2):
        cross = x @ w[f"cross.crosses.{layer}.weight"].T + w[f"cross.crosses.{layer}.bias"]
        x = x_0 * cross / (1 + np.exp(-x @ w[f"cross.gates.{layer}.weight"].T)) + x
    below = x if structure == "stacked" else x_0
    hidden = np.maximum(below @ w["tower.layers.0.weight"].T + w["tower.layers.0.bias"], 0)
    out = hidden if structure == "stacked" else np.concatenate([x, hidden], axis=1)
    expected = out @ w["head.weight"][0] + w["head.bias"]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=2e-5)


def test_a_closed_gate_passes_the_input():
    """A large negative gate switches the products off."""
    net = GatedCrossNet(4, 3)
    with torch.no_grad():
        for gate in net.gates:
            gate.weight.fill_(-1e4)
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    torch.testing.assert_close(net(x), x)


def test_biases_start_between_zero_and_one():
    torch.manual_seed(0)
    biases = torch.cat([cross.bias for cross in GatedCrossNet(50, 4).crosses])
    assert biases.min() >= 0
    assert biases.max() < 1
    assert 0.4 < biases.mean() < 0.6


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_parameter_formula(structure):
    spec = FeatureSpec.from_sizes(a=11, b=13, c=6)
    model = GDCN(spec, GDCNConfig(embedding_size=5, num_layers=2, structure=structure, hidden=(7,)))
    d = 15
    head = (d + 7 if structure == "parallel" else 7) + 1
    assert sum(p.numel() for p in model.parameters()) == 30 * 5 + 2 * (2 * d * d + d) + (7 * d + 7) + head


def test_an_unknown_structure_is_refused():
    with pytest.raises(ConfigError, match="structure"):
        GDCNConfig(structure="cross")


def test_stacked_keeps_the_laws():
    check_ranker("gdcn", structure="stacked")
