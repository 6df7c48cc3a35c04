"""Test-time training: a recurrent layer whose hidden state is the weights of a small model.

Every token is a training example for that inner model, "reconstruct ``v - k`` from ``k``", and every token makes
one step of gradient descent on it, in training and in service alike. This file holds what all such layers share;
the inner models are in :mod:`palate.sequence.ttt` (linear) and :mod:`palate.sequence.ttt_mlp` (two layers).

Choices made here: the inner gradient is a closed form, never autograd, so that a step exports; it is not detached,
so that all outer parameters learn through it; the inner loop stays in float32 under autocast; the carried weights
are bounded in norm so that a stream may run for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from palate.errors import ConfigError

__all__ = ["Correction", "TTTLayer", "apply_rope", "inner_gradient", "rescale", "rope_tables"]


class Correction(NamedTuple):
    """What the cloud adds to the outputs of a mini-batch; the carried state is never touched.

    Shapes:
        attention: ``[B, h, n, m]``, one row per token; column i belongs to token i of the mini-batch.
        bias: ``[B, h, n, d]``.
        attention_weight, bias_weight: scalars, or ``[B, 1, n, 1]`` to switch single tokens off.
    """

    attention: Tensor
    bias: Tensor
    attention_weight: Tensor
    bias_weight: Tensor
    causal: bool = True

    def rows(self, start: int, stop: int) -> Correction:
        """Return the correction of tokens ``start`` to ``stop``."""

        def cut(weight: Tensor) -> Tensor:
            return weight[:, :, start:stop] if weight.dim() else weight

        return self._replace(
            attention=self.attention[:, :, start:stop],
            bias=self.bias[:, :, start:stop],
            attention_weight=cut(self.attention_weight),
            bias_weight=cut(self.bias_weight),
        )


def inner_gradient(z: Tensor, target: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the gradient of ``1/2 || LN(z) - target ||^2`` with respect to ``z``, in closed form.

    Equation:
        s = sqrt(var(z) + eps),  zh = (z - mean(z)) / s,  u = (gain * zh + bias - target) * gain
        G = ( u - mean(u) - zh * mean(u * zh) ) / s

    Shapes:
        z, target ``[..., d]``; gain, bias broadcast to them -> ``[..., d]``.
    """
    centred = z - z.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    normal = centred * scale
    u = (gain * normal + bias - target) * gain
    return (u - u.mean(-1, keepdim=True) - normal * (u * normal).mean(-1, keepdim=True)) * scale


def rescale(raw: Tensor, target: Tensor) -> Tensor:
    """Standardise ``raw`` along the last axis and give it the mean and spread of ``target``.

    Equation:
        (raw - mean raw) / (std raw + 1e-6) * std(target) + mean(target),  std with n - 1 (0 for one element)
    """
    spread = (raw - raw.mean(-1, keepdim=True)) / (_std(raw) + 1e-6)
    return spread * _std(target) + target.mean(-1, keepdim=True)


def _std(x: Tensor) -> Tensor:
    if x.shape[-1] == 1:
        return torch.zeros_like(x)
    # A constant row has std 0, where the root has no derivative; the clamp gives it derivative 0.
    variance = (x - x.mean(-1, keepdim=True)).square().sum(-1, keepdim=True) / (x.shape[-1] - 1)
    return variance.clamp(min=1e-24).sqrt()


def rope_tables(length: int, size: int, base: float | None) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the rotary angles of positions 0..length - 1, ``[length, size]``.

    Without a ``base`` nothing turns.
    """
    if base is None:
        return torch.ones(length, size), torch.zeros(length, size)
    angles = torch.arange(length)[:, None] * base ** (-torch.arange(0, size, 2) / size)[None, :]
    return angles.cos().repeat_interleave(2, 1), angles.sin().repeat_interleave(2, 1)


def apply_rope(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the pairs (0, 1), (2, 3), .. of the last axis by their angles."""
    turned = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return x * cosine + turned * sine


class TTTLayer(nn.Module, ABC):
    """The outer layer: projections, rates and norms around an inner model that learns from every token.

    Equation (per head, token j of a mini-batch):
        a_j = rate * sigmoid(x_j . w + c) / d;  tau_j = max(1/j + delta_j, 0)
        G_j = gradient of 1/2 || LN(f(k_j)) - (v_j - k_j) ||^2 at the inner weights of the mini-batch's start
        weights_j = weights_0 - tau_j * sum_{i<=j} a_i (gradient of token i)
        o_j = q_j + LN(f_j(q_j)),  f_j the inner model with weights_j
    After token m the weights move on. Heads are joined, normalised, and projected.

    Args:
        size: Width ``D``; a multiple of ``num_heads``, and the width of a head is even if rotary positions are on.
        num_heads: Heads ``h``, each with an inner model of its own.
        mini_batch_size: Tokens ``m`` whose inner gradients are taken at the same weights.
        inner_rate: Base rate; 0 switches the inner update off.
        rope_base: Base of the rotary positions, which restart in each mini-batch; ``None`` for none.
        max_norm: Bound on the Frobenius norm of each head's carried weights, and so on their spectral norm.

    Shapes:
        forward: x ``[B, N, D]``, lengths ``[B]`` or ``None`` -> ``[B, N, D]``, for any N >= 1.

    Reference: Sun et al. 2024, "Learning to (Learn at Test Time): RNNs with Expressive Hidden States".
    """

    rope_cosine: Tensor
    rope_sine: Tensor

    def __init__(
        self,
        size: int,
        num_heads: int,
        mini_batch_size: int,
        *,
        inner_rate: float = 1.0,
        rope_base: float | None = 10000.0,
        max_norm: float = 10.0,
    ) -> None:
        super().__init__()
        if size % num_heads:
            raise ConfigError(f"A TTT layer of width {size} cannot have {num_heads} heads.")
        width = size // num_heads
        if rope_base is not None and width % 2:
            raise ConfigError(f"Rotary positions need heads of even width; {size} / {num_heads} = {width}.")
        self.num_heads, self.width, self.mini_batch_size = num_heads, width, mini_batch_size
        self.inner_rate, self.max_norm, self.eps = inner_rate, max_norm, 1e-6
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        self.rate = nn.Linear(size, num_heads)
        self.rate_shift = nn.Parameter(torch.zeros(mini_batch_size))
        self.inner_gain = nn.Parameter(torch.ones(num_heads, 1, width))
        self.inner_shift = nn.Parameter(torch.zeros(num_heads, 1, width))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.output = nn.Linear(size, size, bias=False)
        cosine, sine = rope_tables(mini_batch_size, width, rope_base)
        self.register_buffer("rope_cosine", cosine, persistent=False)
        self.register_buffer("rope_sine", sine, persistent=False)

    @abstractmethod
    def initial_weights(self, batch: int) -> tuple[Tensor, ...]:
        """Return the learned inner weights before the first token, each ``[B, h, .., ..]``."""

    @abstractmethod
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
        """Return the outputs of a mini-batch, and for each inner weight the sum of its a-scaled gradients.

        Shapes:
            query, key, value ``[B, h, n, d]``, rates ``[B, h, n]``, taus ``[n]``; n is at most m -> ``[B, h, n, d]``.
        """

    def taus(self) -> Tensor:
        """Return tau_1 .. tau_m, ``[m]``."""
        places = torch.arange(1, self.mini_batch_size + 1, device=self.rate_shift.device)
        return (1.0 / places + self.rate_shift).clamp(min=0.0)

    def rates(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return a_j for every token, ``[B, h, N]``; 0 at padding."""
        rates = self.inner_rate * torch.sigmoid(self.rate(x)).transpose(1, 2) / self.width
        if lengths is None:
            return rates
        return rates * (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, None]

    def forward(self, x: Tensor, lengths: Tensor | None = None, correction: Correction | None = None) -> Tensor:
        """Return the outputs of all tokens, ``[B, N, D]``."""
        with torch.autocast(x.device.type, enabled=False):
            x = x if x.dtype == torch.float64 else x.float()
            query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
            rates, taus = self.rates(x, lengths), self.taus()
            weights, outputs = self.initial_weights(len(x)), []
            for start in range(0, x.shape[1], self.mini_batch_size):
                stop = min(start + self.mini_batch_size, x.shape[1])
                part, count = slice(start, stop), stop - start
                cosine, sine = self.rope_cosine[:count], self.rope_sine[:count]
                out, sums = self.mini_batch(
                    apply_rope(query[:, :, part], cosine, sine),
                    apply_rope(key[:, :, part], cosine, sine),
                    value[:, :, part],
                    rates[:, :, part],
                    taus[:count],
                    weights,
                    None if correction is None else correction.rows(start, stop),
                )
                outputs.append(out)
                weights = self._rolled(weights, sums)
            return self._joined(torch.cat(outputs, 2))

    def _gradient(self, z: Tensor, target: Tensor) -> Tensor:
        return inner_gradient(z, target, self.inner_gain, self.inner_shift, self.eps)

    def _norm(self, z: Tensor) -> Tensor:
        centred = z - z.mean(-1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.eps)
        return self.inner_gain * centred * scale + self.inner_shift

    def _rolled(self, weights: tuple[Tensor, ...], sums: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the inner weights after a full mini-batch."""
        last = self.taus()[-1]
        return tuple(self._bounded(weight - last * total) for weight, total in zip(weights, sums, strict=True))

    def _bounded(self, carried: Tensor) -> Tensor:
        square = carried.square().sum((-1, -2), keepdim=True)
        return carried * (self.max_norm * torch.rsqrt(square.clamp(min=1e-12))).clamp(max=1.0)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.width).transpose(1, 2)

    def _joined(self, outputs: Tensor) -> Tensor:
        """Join heads ``[B, h, N, d]`` (or N = 1 of a step) and project."""
        joined: Tensor = self.output(self.norm(outputs.transpose(1, 2).flatten(-2)))
        return joined

    def extra_repr(self) -> str:
        """Show the settings in ``repr``."""
        return f"num_heads={self.num_heads}, mini_batch_size={self.mini_batch_size}"
