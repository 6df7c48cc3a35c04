"""TTT-MLP: the dual form against gradient descent spelled out."""

from __future__ import annotations

import torch
from torch import Tensor

from palate.sequence.ttt_mlp import TTTMLP, gelu_slope


def test_gelu_slope_agrees_with_autograd() -> None:
    x = torch.linspace(-4, 4, 41, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.gelu(x, approximate="tanh").sum().backward()
    torch.testing.assert_close(gelu_slope(x.detach()), x.grad)


def test_ttt_mlp_equals_gradient_descent_spelled_out() -> None:
    """The dual form against autograd on the inner model, token by token, across a mini-batch boundary."""
    torch.manual_seed(0)
    layer = TTTMLP(4, 1, 3, factor=2, rope_base=None).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    query, key, value = layer.query(x)[0], layer.key(x)[0], layer.value(x)[0]
    rates, taus = layer.rates(x)[0, 0], layer.taus()
    weights = [part[0, 0] for part in layer.initial_weights(1)]

    def inner(token: Tensor, *parts: Tensor) -> Tensor:
        first, first_bias, second, second_bias = parts
        return torch.nn.functional.gelu(token @ first + first_bias[0], approximate="tanh") @ second + second_bias[0]

    outputs = []
    for start in (0, 3):
        sums = [torch.zeros_like(part) for part in weights]
        moved = weights
        for j, t in enumerate(range(start, min(start + 3, 5))):
            leaves = [part.detach().requires_grad_() for part in weights]
            loss = (layer._norm(inner(key[t], *leaves))[0] - (value[t] - key[t])).square().sum() / 2
            gradients = torch.autograd.grad(loss, leaves)
            sums = [total + rates[t] * gradient for total, gradient in zip(sums, gradients, strict=True)]
            moved = [part - taus[j] * total for part, total in zip(weights, sums, strict=True)]
            outputs.append(query[t] + layer._norm(inner(query[t], *moved))[0, 0])
        weights = moved
    expected = layer.output(layer.norm(torch.stack(outputs)))
    torch.testing.assert_close(layer(x)[0], expected, atol=1e-10, rtol=1e-10)
