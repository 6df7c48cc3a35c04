from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from palate.errors import ConfigError, UnknownNameError
from palate.rank.neuron_formats import NEURONS, neuron_format
from palate.rank.neurons import Neuron

# Outputs for x = [1, -2, .5, 3] under the weights of `number_weights`, from the published definitions.
KNOWN = {
    "T3": [-5.15, 5.7, 1.55, -9.475], "T4": [3.61, 32.49, 2.89, 0.1225], "T5": [0.475, -7.98, -10.54, 0.42],
    "T7": [-4.675, -2.28, -8.99, -9.055], "T8": [0.625, -7.73, -11.44, 7.12], "T9": [-0.9, -13.4, -0.35, 1.95],
    "T10": [-2.15, -12.8, 5.35, -2.25], "T11": [-1.9, 5.7, 2.89, 0.1225], "T12": [3.23, -1.995, -5.15, 5.7],
    "T13": [3.23, -1.995, -0.25, -1.4], "T14": [3.23, -1.995, -1.7, -0.35], "T15": [3.61, 32.49, -1.9, 5.7],
    "T16": [1.475, 13.96, -4.77, 4.26], "T17": [-1.15, -14.8, 5.85, 0.75], "T18": [7.175, 7.6, -4.35, 4.075],
    "T19": [1, -13.4, 0.5, 3], "T20": [-2.8, -7.7, -2.05, 1.6], "T21": [4.61, 127.96, 1.2225, 4.1025],
    "T22": [-0.9, -13.4, -0.35, 1.95], "T23": [1.475, -9.98, -10.04, 3.42], "T24": [1, -2, -10.04, 3],
    "T25": [1.1, 9, 2.075, -4.35], "T26": [1, -7.7, 2.05, 3], "T27": [1, 9.4, 1.275, 3], "T28": [1, -34.49, 10.11, 3],
    "T29": [1, -7.7, 10.11, 3], "T30": [1, -7.7, 1.275, 3],
}  # fmt: skip


def number_weights(module: nn.Module) -> None:
    """W[o, i] = (((3 o + 2 i) mod 5) - 2) / 2 and b[o] = .1 (o + 1), each Linear from its own zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            o = torch.arange(part.out_features).unsqueeze(1)
            i = torch.arange(part.in_features)
            with torch.no_grad():
                part.weight.copy_((((3 * o + 2 * i) % 5) - 2) / 2)
                part.bias.copy_(0.1 * (torch.arange(part.out_features) + 1))


@pytest.mark.parametrize("name", KNOWN)
def test_known_outputs(name: str) -> None:
    layer = Neuron(name, 4)
    number_weights(layer)
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    torch.testing.assert_close(layer(x), torch.tensor([KNOWN[name]], dtype=torch.float32))


def bilinear_by_hand(layer: nn.Module, x: Tensor) -> Tensor:
    bilinear = next(part for part in layer.modules() if isinstance(part, nn.Bilinear))
    return torch.einsum("bi,kij,bj->bk", x, bilinear.weight, x) + bilinear.bias


@pytest.mark.parametrize("name", ["T1", "T2", "T6"])
def test_full_bilinear_formats(name: str) -> None:
    layer = Neuron(name, 5).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    expected = bilinear_by_hand(layer, x)
    if name != "T2":
        linear = layer.maps[1]
        expected = expected + linear(x if name == "T1" else x * x)
    torch.testing.assert_close(layer(x), expected)


def test_thirty_different_functions_of_one_width() -> None:
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    outputs = {}
    for name in NEURONS:
        torch.manual_seed(1)
        layer = Neuron(name, 6)
        if name == "T22":  # equal to T9 until its factors move
            with torch.no_grad():
                layer.maps[1].weight.mul_(0.5)
        outputs[name] = layer(x)
        assert outputs[name].shape == (3, 6)
    names = list(outputs)
    assert len(names) == 30
    for first in range(30):
        for second in range(first):
            assert not torch.allclose(outputs[names[first]], outputs[names[second]]), (names[first], names[second])


def finite_difference(layers: list[Neuron], order: int) -> tuple[float, float]:
    """Return the difference of the given order along a ray, and the size of its terms."""
    with torch.no_grad():
        t = torch.linspace(-1.0, 1.0, order + 1, dtype=torch.float64)
        x = t.unsqueeze(1) * torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        for layer in layers:
            x = layer(x)
        signs = torch.tensor([(-1.0) ** k * math.comb(order, k) for k in range(order + 1)], dtype=torch.float64)
        terms = signs * x.sum(1)
        return float(terms.sum().abs()), float(terms.abs().sum())


def stack(name: str, num_layers: int) -> list[Neuron]:
    torch.manual_seed(2)
    layers = [Neuron(name, 6).double() for _ in range(num_layers)]
    for layer in layers:
        for part in layer.modules():
            if isinstance(part, nn.Linear):
                nn.init.uniform_(part.bias, -0.5, 0.5)
    return layers


@pytest.mark.parametrize("name", [name for name, row in NEURONS.items() if row.degree is not None])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_unactivated_formats_are_polynomials_of_their_degree(name: str, num_layers: int) -> None:
    degree = neuron_format(name).degree
    assert degree is not None
    layers = stack(name, num_layers)
    difference, size = finite_difference(layers, degree**num_layers + 1)
    assert difference < 1e-9 * size
    lower, size = finite_difference(layers, degree**num_layers)
    assert lower > 1e-9 * size, "the degree is reached, not only bounded"


def test_three_layers_of_t9_reach_degree_eight_and_t19_is_no_polynomial() -> None:
    difference, size = finite_difference(stack("T9", 3), 9)
    assert difference < 1e-9 * size
    assert finite_difference(stack("T9", 3), 8)[0] > 1e-9 * size
    for name in ("T19", "T24", "T25", "T26"):
        difference, size = finite_difference(stack(name, 2), 5)
        assert difference > 1e-6 * size


def test_batch_norm_follows_every_map() -> None:
    layer = Neuron("T7", 4, batch_norm=True)
    assert [[type(part).__name__ for part in each] for each in layer.maps] == [["Linear", "BatchNorm1d"]] * 2
    layer(torch.randn(8, 4)).sum().backward()


def test_bad_names_and_widths() -> None:
    with pytest.raises(UnknownNameError, match='There is no neuron format called "T31"'):
        Neuron("T31", 4)
    with pytest.raises(ConfigError, match="T12 cannot have width 7"):
        Neuron("T12", 7)
    for name in ("T9", "T11", "T25"):
        assert Neuron(name, 7)(torch.randn(2, 7)).shape == (2, 7)
