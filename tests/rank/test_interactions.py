from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from palate.errors import ConfigError
from palate.rank.interactions import CIN, CrossNet, CrossNetV2, fm_second_order


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_factorisation_is_the_sum_over_pairs(batch: int, fields: int, width: int, seed: int) -> None:
    e = torch.randn(batch, fields, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    pairs = sum(
        ((e[:, f] * e[:, g]).sum(1) for f in range(fields) for g in range(f + 1, fields)),
        start=torch.zeros(batch, dtype=torch.float64),
    )
    torch.testing.assert_close(fm_second_order(e), pairs)


def test_cross_net_by_hand() -> None:
    net = CrossNet(2, 2)
    with torch.no_grad():
        net.weights[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        net.weights[1].weight.copy_(torch.tensor([[-1.0, 1.0]]))
        net.biases[0].copy_(torch.tensor([0.5, 0.0]))
    # x1 = [1,3]*7 + [.5,0] + [1,3] = [8.5,24];  x2 = [1,3]*15.5 + x1 = [24,70.5]
    torch.testing.assert_close(net(torch.tensor([[1.0, 3.0]])), torch.tensor([[24.0, 70.5]]))


def test_cross_net_v2_by_hand_with_and_without_activation() -> None:
    x = torch.tensor([[1.0, -2.0]])
    for activation, expected in (("identity", [[-3.5, -7.0]]), ("relu", [[1.0, -7.0]])):
        net = CrossNetV2(2, 1, activation=activation)
        linear = net.factors[0][0]
        assert isinstance(linear, nn.Linear)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[0.5, 2.0], [0.5, -1.0]]))
            linear.bias.copy_(torch.tensor([-1.0, 0.0]))
        # W x + b = [.5 - 4 - 1, .5 + 2] = [-4.5, 2.5]; x + x * that = [-3.5, -7]
        torch.testing.assert_close(net(x), torch.tensor(expected))


def test_low_rank_cross_equals_the_product_of_its_factors() -> None:
    low, full = CrossNetV2(6, 1, rank=2), CrossNetV2(6, 1)
    with torch.no_grad():
        down, up = low.factors[0][0], low.factors[0][1]
        full.factors[0][0].weight.copy_(up.weight @ down.weight)
    x = torch.randn(5, 6)
    torch.testing.assert_close(low(x), full(x))
    assert sum(p.numel() for p in low.parameters()) == 6 * 2 + 2 * 6 + 6


def test_cross_batch_norm_stands_between_linear_and_activation() -> None:
    kinds = [type(part).__name__ for part in CrossNetV2(3, 1, activation="relu", batch_norm=True).factors[0]]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"]


def test_cin_equals_its_triple_sum() -> None:
    net = CIN(3, [2, 4]).double()
    e = torch.randn(5, 3, 7, dtype=torch.float64)
    x_k, pooled = e, []
    for layer in net.compress:
        weight = layer.weight.view(layer.out_features, x_k.shape[1], 3)
        x_k = torch.einsum("hij,bid,bjd->bhd", weight, x_k, e) + layer.bias[:, None]
        pooled.append(x_k.sum(-1))
    torch.testing.assert_close(net(e), torch.cat(pooled, 1))
    assert net.out_features == 6


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match="num_layers is 0"):
        CrossNet(3, 0)
    with pytest.raises(ConfigError, match="num_layers is 0"):
        CIN(3, [])
    with pytest.raises(ConfigError, match="rank is 9"):
        CrossNetV2(3, 1, rank=9)
