"""TTT-MLP: the inner model has two layers with a GELU between them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.sequence.ttt_layer import Correction, TTTLayer

__all__ = ["TTTMLP", "gelu_slope"]

_ROOT = math.sqrt(2.0 / math.pi)
_CUBE = 0.044715


def gelu_slope(x: Tensor) -> Tensor:
    """Return the derivative of the tanh form of GELU.

    Equation:
        u = sqrt(2/pi) (x + .044715 x^3);  1/2 (1 + tanh u) + 1/2 x (1 - tanh^2 u) du/dx
    """
    bent = torch.tanh(_ROOT * (x + _CUBE * x**3))
    return 0.5 * (1.0 + bent) + 0.5 * x * (1.0 - bent.square()) * _ROOT * (1.0 + 3.0 * _CUBE * x.square())


class TTTMLP(TTTLayer):
    """The TTT-MLP layer, in its dual form.

    Equation (per head, a mini-batch that starts with W1, b1, W2, b2):
        z1 = k W1 + b1;  z2 = gelu(z1) W2 + b2
        G2 = gradient of 1/2 || LN(z2) - (v - k) ||^2;  G1 = (G2 W2^T) o gelu'(z1)
        z1'_j = q_j W1_j + b1_j;  z2'_j = gelu(z1'_j) W2_j + b2_j;  o_j = q_j + LN(z2'_j)
    where the weights at token j have taken the steps of tokens 1..j, each at the weights of the start.

    Args:
        size: Width ``D``.
        num_heads: Heads ``h``.
        mini_batch_size: Tokens ``m`` of a mini-batch.
        factor: Width of the inner hidden layer over the width of a head.
        settings: Further settings of :class:`~palate.sequence.ttt_layer.TTTLayer`.

    Shapes:
        forward: x ``[B, N, D]``, lengths ``[B]`` or ``None`` -> ``[B, N, D]``, for any N >= 1.
    """

    def __init__(
        self, size: int, num_heads: int, mini_batch_size: int = 8, *, factor: int = 4, **settings: Any
    ) -> None:
        super().__init__(size, num_heads, mini_batch_size, **settings)
        hidden = factor * self.width
        self.first_weight = nn.Parameter(torch.randn(num_heads, self.width, hidden) * 0.02)
        self.first_bias = nn.Parameter(torch.zeros(num_heads, 1, hidden))
        self.second_weight = nn.Parameter(torch.randn(num_heads, hidden, self.width) * 0.02)
        self.second_bias = nn.Parameter(torch.zeros(num_heads, 1, self.width))

    def initial_weights(self, batch: int) -> tuple[Tensor, ...]:
        """Return W1, b1, W2 and b2 before the first token."""
        learned = (self.first_weight, self.first_bias, self.second_weight, self.second_bias)
        return tuple(part.expand(batch, -1, -1, -1) for part in learned)

    def mini_batch(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rates: Tensor,
        taus: Tensor,
        weights: tuple[Tensor, ...],
        correction: Correction | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs ``[B, h, n, d]`` and the sums for W1, b1, W2 and b2; corrections are not applied."""
        first_weight, first_bias, second_weight, second_bias = weights
        inner = key @ first_weight + first_bias
        active = functional.gelu(inner, approximate="tanh")
        gradient = self._gradient(active @ second_weight + second_bias, value - key)
        second = rates[..., None] * gradient
        first = rates[..., None] * (gradient @ second_weight.transpose(-1, -2)) * gelu_slope(inner)
        asked = _moved(query, key, first, taus, first_weight, first_bias)
        asked = functional.gelu(asked, approximate="tanh")
        z = _moved(asked, active, second, taus, second_weight, second_bias)
        sums = (
            key.transpose(-1, -2) @ first,
            first.sum(-2, keepdim=True),
            active.transpose(-1, -2) @ second,
            second.sum(-2, keepdim=True),
        )
        return query + self._norm(z), sums


def _moved(asked: Tensor, seen: Tensor, updates: Tensor, taus: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``asked_j W_j + b_j`` where W_j, b_j have taken the steps of ``seen_i^T updates_i``, i <= j."""
    steps = (asked @ seen.transpose(-1, -2)).tril() @ updates + updates.cumsum(-2)
    return asked @ weight + bias - taus[:, None] * steps
