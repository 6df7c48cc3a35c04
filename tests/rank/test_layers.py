from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from palate.errors import ConfigError, UnknownNameError
from palate.rank.layers import MLP, LogitHead, init_linear


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


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_training_equals_the_layers_one_after_another(activation: str, batch_norm: bool, dropout: float) -> None:
    tower = MLP(5, [7, 6], out_features=2, activation=activation, dropout=dropout, batch_norm=batch_norm).double()
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for forward in (tower, tower.layers):
        torch.manual_seed(3)
        out = forward(x)
        out.square().sum().backward()
        found.append([out.detach(), x.grad.clone(), *(weight.grad.clone() for weight in tower.parameters())])
        x.grad = None
        tower.zero_grad()
    torch.testing.assert_close(*found)


def test_a_head_over_parts_is_the_head_over_them_side_by_side() -> None:
    head = LogitHead(7).double()
    parts = [torch.randn(4, width, dtype=torch.float64, requires_grad=True) for width in (3, 1, 3)]
    found = [
        [logits, *torch.autograd.grad(logits.square().sum(), (*parts, head.weight, head.bias))]
        for logits in (head(*parts), head(torch.cat(parts, dim=1)))
    ]
    torch.testing.assert_close(*found)
    with torch.autocast("cpu", torch.bfloat16):
        assert head.float()(*(part.bfloat16() for part in parts)).dtype == torch.float32


def test_bad_settings_are_named() -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "relu"'):
        MLP(3, [4], activation="rellu")
    with pytest.raises(ConfigError, match=r"dropout is 1\.0"):
        MLP(3, [4], dropout=1.0)
    with pytest.raises(ConfigError, match=r"\[3, 0\]"):
        MLP(3, [0])
