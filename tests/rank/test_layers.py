from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from palate.errors import ConfigError, UnknownNameError
from palate.rank.layers import MLP, init_linear


def test_mlp_is_linear_then_norm_then_activation_then_dropout() -> None:
    tower = MLP(3, [4, 5], out_features=1, dropout=0.1, batch_norm=True)
    kinds = [type(layer).__name__ for layer in tower.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert tower.out_features == 1
    assert tower(torch.randn(6, 3)).shape == (6, 1)


def test_mlp_by_hand() -> None:
    tower = MLP(2, [2], out_features=1)
    first, last = tower.layers[0], tower.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 1.0]]))
        first.bias.copy_(torch.tensor([0.0, 1.0]))
        last.weight.copy_(torch.tensor([[3.0, 0.5]]))
        last.bias.fill_(0.25)
    # hidden = relu([-1, 5]) = [0, 5] -> .5 * 5 + .25
    assert tower(torch.tensor([[1.0, 2.0]])).item() == pytest.approx(2.75)


def test_mlp_without_hidden_layers_or_output() -> None:
    assert MLP(3, []).out_features == 3
    assert MLP(3, [7]).out_features == 7


def test_init_linear_is_xavier_normal_with_zero_bias() -> None:
    layer = nn.Linear(300, 500)
    init_linear(nn.Sequential(layer))
    assert torch.equal(layer.bias, torch.zeros(500))
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.02)


def test_bad_settings_are_named() -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "relu"'):
        MLP(3, [4], activation="rellu")
    with pytest.raises(ConfigError, match=r"dropout is 1\.0"):
        MLP(3, [4], dropout=1.0)
    with pytest.raises(ConfigError, match=r"\[3, 0\]"):
        MLP(3, [0])
