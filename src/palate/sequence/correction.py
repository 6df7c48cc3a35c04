"""The global correction network (GCN): the cloud's answer to what a device has seen."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

__all__ = ["Corrector", "GlobalCorrectionNetwork"]

_SUMMARY = 64  # width of the recurrent summary in the published network


class Corrector(nn.Module):
    """A recurrent summary of uploaded states, and three layers that turn it into corrections.

    Equation:
        s_t = GRU(hidden_1 .. hidden_t)
        c = F3 leaky(F2 leaky(F1 s)),  F without biases, leaky slope 0.01

    Shapes:
        summaries: hidden ``[B, N, D]`` -> ``[B, N, 64]``, one per prefix.
        forward: summaries ``[..., 64]`` -> ``[..., out]``.
    """

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.gru = nn.GRU(size, _SUMMARY, batch_first=True)
        self.first = nn.Linear(_SUMMARY, _SUMMARY, bias=False)
        self.second = nn.Linear(_SUMMARY, _SUMMARY, bias=False)
        self.third = nn.Linear(_SUMMARY, out, bias=False)
        for layer in (self.first, self.second, self.third):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(4))

    def summaries(self, hidden: Tensor) -> Tensor:
        """Return the summary of every prefix, ``[B, N, 64]``."""
        states: Tensor = self.gru(hidden)[0]
        return states

    def forward(self, summary: Tensor) -> Tensor:
        """Return the raw corrections, ``[..., out]``."""
        inner = functional.leaky_relu(self.second(functional.leaky_relu(self.first(summary))))
        raw: Tensor = self.third(inner)
        return raw


class GlobalCorrectionNetwork(nn.Module):
    """Two correctors: one for the attention of a mini-batch, one for its biases.

    The corrections are raw: the device standardises them and gives them the statistics of what they correct
    (:func:`palate.sequence.ttt_layer.rescale`), so their scale carries nothing.

    A device may upload its hidden states, or run the two recurrent parts itself and upload their summaries only.

    Args:
        size: Width ``D`` of the uploaded states.
        num_heads: Heads ``h`` of the device's layer.
        mini_batch_size: Its mini-batch ``m``.

    Shapes:
        summaries: hidden ``[B, N, D]`` -> two ``[B, N, 64]``.
        forward: two summaries ``[..., 64]`` -> attention ``[..., h, m, m]``, bias ``[..., h, m, d]``.
    """

    def __init__(self, size: int, num_heads: int, mini_batch_size: int) -> None:
        super().__init__()
        width = size // num_heads
        self.attention_shape = (num_heads, mini_batch_size, mini_batch_size)
        self.bias_shape = (num_heads, mini_batch_size, width)
        self.attention = Corrector(size, math.prod(self.attention_shape))
        self.bias = Corrector(size, math.prod(self.bias_shape))

    def summaries(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what both correctors remember of every prefix.

        Both recurrences run as one of twice the width, whose recurrent weights are block-diagonal: the time of a
        small recurrence is that of its steps, not of its products.
        """
        first, second = dict(self.attention.gru.named_parameters()), dict(self.bias.gru.named_parameters())
        weights = [
            (_diagonal if name == "weight_hh_l0" else _stacked)(first[name], second[name])
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        ]
        start = hidden.new_zeros(1, len(hidden), 2 * _SUMMARY)
        states, _ = torch.gru(hidden, start, weights, True, 1, 0.0, self.training, False, True)
        return states[..., :_SUMMARY], states[..., _SUMMARY:]

    def forward(self, attention_summary: Tensor, bias_summary: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw corrections of attention and bias."""
        attention = self.attention(attention_summary).unflatten(-1, self.attention_shape)
        return attention, self.bias(bias_summary).unflatten(-1, self.bias_shape)


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    """Join weights of two recurrences gate by gate."""
    return torch.cat([part for gate in zip(first.chunk(3), second.chunk(3), strict=True) for part in gate])


def _diagonal(first: Tensor, second: Tensor) -> Tensor:
    """Join recurrent weights gate by gate, so that neither recurrence reads the other's state."""
    empty = torch.zeros_like(first.chunk(3)[0])
    return torch.cat(
        [
            torch.cat([torch.cat([one, empty], 1), torch.cat([empty, two], 1)])
            for one, two in zip(first.chunk(3), second.chunk(3), strict=True)
        ]
    )
