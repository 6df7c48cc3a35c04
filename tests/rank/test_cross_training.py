from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from palate.rank import sweeps
from palate.rank.cross_training import cross_training
from palate.rank.interactions import CrossNetV2


def plain(x_0: Tensor, layers: list[nn.Linear]) -> Tensor:
    x = x_0
    for layer in layers:
        x = torch.addcmul(x, x_0, layer(x))
    return x


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("chunk", [1, 30, 1 << 17])
def test_equals_the_plain_form_in_value_and_gradients(
    num_layers: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_CHUNK", chunk)
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6).double() for _ in range(num_layers)]
    x = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    weights = [weight for layer in layers for weight in layer.parameters()]
    found = []
    for form in (cross_training, plain):
        out = form(x, layers)
        found.append([out, *torch.autograd.grad(out, [x, *weights], torch.ones_like(out))])
    torch.testing.assert_close(*found)


def test_gradients_are_numerically_right() -> None:
    torch.manual_seed(1)
    layers = [nn.Linear(3, 3).double() for _ in range(2)]
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: cross_training(x, layers), (x, *layers[0].parameters()))


def test_the_gradient_that_came_is_left_alone() -> None:
    net, direction = CrossNetV2(5, 2), torch.ones(7, 5)
    net(torch.randn(7, 5, requires_grad=True)).backward(direction)
    assert torch.equal(direction, torch.ones(7, 5))


def test_autocast_takes_products_in_bfloat16_and_keeps_the_sums_in_float32() -> None:
    torch.manual_seed(2)
    net = CrossNetV2(64, 3)
    x, direction = torch.randn(300, 64, requires_grad=True), torch.randn(300, 64)
    exact = net(x)
    wanted = torch.autograd.grad(exact, [x, *net.parameters()], direction)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x)
    found = torch.autograd.grad(rounded, [x, *net.parameters()], direction)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    for ours, theirs in zip([rounded, *found], [exact, *wanted], strict=True):
        assert ours.dtype == torch.float32
        assert ((ours - theirs).norm() / theirs.norm()).item() < 0.02


def test_evaluation_and_training_agree() -> None:
    net, x = CrossNetV2(5, 2), torch.randn(7, 5)
    assert torch.equal(net(x), net.eval()(x))
