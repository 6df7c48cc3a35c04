"""Test-time training: a recurrent layer whose hidden state is the weights of a small linear model.

Every token is a training example for that inner model, "reconstruct ``v - k`` from ``k``", and every token makes
one step of gradient descent on it, in training and in service alike. Two ways compute the same outputs for a
mini-batch of ``m`` tokens: the *primal* form spells out the weights after every token; the *dual* form needs only
``m x m`` products and is what training uses. :meth:`TTTLinear.step` consumes one token and carries a state of
fixed size.

Choices made here: the inner gradient is the closed form, never autograd, so that a step exports; it is not
detached, so that all outer parameters learn through it; the inner loop stays in float32 under autocast; the
carried weights are bounded in norm so that a stream may run for ever.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.errors import ConfigError

__all__ = ["Correction", "InnerState", "TTTLinear", "apply_rope", "inner_gradient", "rescale", "rope_tables"]

Form = Literal["dual", "primal"]


class InnerState(NamedTuple):
    """What a stream carries from token to token: its size does not depend on how many came before.

    Shapes:
        weight, weight_sum: ``[B, h, d, d]``: W0 of this mini-batch, and sum of a_i k_i^T G_i since its start.
        bias, bias_sum: ``[B, h, 1, d]``: the same for b0.
        position: int64 ``[B]``, tokens of the mini-batch seen so far, 0 to m - 1.
    """

    weight: Tensor
    bias: Tensor
    weight_sum: Tensor
    bias_sum: Tensor
    position: Tensor


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


def rope_tables(length: int, size: int, base: float) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the rotary angles of positions 0..length - 1, ``[length, size]``."""
    angles = torch.arange(length)[:, None] * base ** (-torch.arange(0, size, 2) / size)[None, :]
    return angles.cos().repeat_interleave(2, 1), angles.sin().repeat_interleave(2, 1)


def apply_rope(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the pairs (0, 1), (2, 3), .. of the last axis by their angles."""
    turned = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return x * cosine + turned * sine


class TTTLinear(nn.Module):
    """The TTT-Linear layer.

    Equation (per head, token j of a mini-batch that starts with W0, b0):
        z_j = k_j W0 + b0;  G_j = gradient of 1/2 || LN(z_j) - (v_j - k_j) ||^2
        a_j = rate * sigmoid(x_j . w + c) / d;  tau_j = max(1/j + delta_j, 0)
        W_j = W0 - tau_j * sum_{i<=j} a_i k_i^T G_i;  b_j = b0 - tau_j * sum_{i<=j} a_i G_i
        o_j = q_j + LN(q_j W_j + b_j)
    After token m, W0 <- W_m and b0 <- b_m. Heads are joined, normalised, and projected.

    Args:
        size: Width ``D``; a multiple of ``num_heads``, and the width of a head is even if rotary positions are on.
        num_heads: Heads ``h``, each with an inner model of its own.
        mini_batch_size: Tokens ``m`` whose inner gradients are taken at the same weights.
        inner_rate: Base rate; 0 switches the inner update off.
        rope_base: Base of the rotary positions, which restart in each mini-batch; ``None`` for none.
        max_norm: Bound on the Frobenius norm of each head's carried weights, and so on their spectral norm.
        form: ``dual`` or ``primal``; the same numbers, the first faster.

    Shapes:
        forward: x ``[B, N, D]``, lengths ``[B]`` or ``None`` -> ``[B, N, D]``, for any N >= 1.
        step: x ``[B, D]``, state -> ``[B, D]``, state.

    Reference: Sun et al. 2024, "Learning to (Learn at Test Time): RNNs with Expressive Hidden States".
    """

    rope_cosine: Tensor
    rope_sine: Tensor

    def __init__(
        self,
        size: int,
        num_heads: int,
        mini_batch_size: int = 10,
        *,
        inner_rate: float = 1.0,
        rope_base: float | None = 10000.0,
        max_norm: float = 10.0,
        form: Form = "dual",
    ) -> None:
        super().__init__()
        if size % num_heads:
            raise ConfigError(f"A TTT layer of width {size} cannot have {num_heads} heads.")
        width = size // num_heads
        if rope_base is not None and width % 2:
            raise ConfigError(f"Rotary positions need heads of even width; {size} / {num_heads} = {width}.")
        self.num_heads, self.width, self.mini_batch_size = num_heads, width, mini_batch_size
        self.inner_rate, self.max_norm, self.form, self.eps = inner_rate, max_norm, form, 1e-6
        self.query = nn.Linear(size, size, bias=False)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        self.rate = nn.Linear(size, num_heads)
        self.rate_shift = nn.Parameter(torch.zeros(mini_batch_size))
        self.inner_weight = nn.Parameter(torch.randn(num_heads, width, width) * 0.02)
        self.inner_bias = nn.Parameter(torch.zeros(num_heads, 1, width))
        self.inner_gain = nn.Parameter(torch.ones(num_heads, 1, width))
        self.inner_shift = nn.Parameter(torch.zeros(num_heads, 1, width))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.output = nn.Linear(size, size, bias=False)
        cosine, sine = rope_tables(mini_batch_size, width, rope_base or 1.0)
        if rope_base is None:
            cosine, sine = torch.ones(mini_batch_size, width), torch.zeros(mini_batch_size, width)
        self.register_buffer("rope_cosine", cosine, persistent=False)
        self.register_buffer("rope_sine", sine, persistent=False)

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
            length, m = x.shape[1], self.mini_batch_size
            query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
            rates, taus = self.rates(x, lengths), self.taus()
            state = self.initial_state(len(x))
            weight, bias, outputs = state.weight, state.bias, []
            for start in range(0, length, m):
                stop = min(start + m, length)
                part = slice(start, stop)
                count = stop - start
                cosine, sine = self.rope_cosine[:count], self.rope_sine[:count]
                out, weight_sum, bias_sum = self.mini_batch(
                    apply_rope(query[:, :, part], cosine, sine),
                    apply_rope(key[:, :, part], cosine, sine),
                    value[:, :, part],
                    rates[:, :, part],
                    taus[:count],
                    weight,
                    bias,
                    None if correction is None else correction.rows(start, stop),
                )
                outputs.append(out)
                weight, bias = self._rolled(weight, bias, weight_sum, bias_sum, taus[-1])
            return self._joined(torch.cat(outputs, 2))

    def mini_batch(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rates: Tensor,
        taus: Tensor,
        weight: Tensor,
        bias: Tensor,
        correction: Correction | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of a mini-batch ``[B, h, n, d]``, and the sums of a k^T G and of a G over it.

        Shapes:
            query, key, value ``[B, h, n, d]``, rates ``[B, h, n]``, taus ``[n]``, weight ``[B, h, d, d]``, bias
            ``[B, h, 1, d]``; n is at most m.
        """
        updates = rates[..., None] * self._gradient(key @ weight + bias, value - key)
        taus = taus[:, None]
        biases = bias - taus * updates.cumsum(-2)
        attention = (query @ key.transpose(-1, -2)).tril()
        if self.form == "dual":
            z = query @ weight - taus * (attention @ updates) + biases
        else:
            steps = (key[..., :, None] * updates[..., None, :]).cumsum(-3)
            z = (query[..., None, :] @ (weight[:, :, None] - taus[..., None] * steps)).squeeze(-2) + biases
        if correction is not None:
            extra, shift = self._corrected(attention, biases, correction)
            z = z - taus * (extra @ updates) + shift
        return query + self._norm(z), key.transpose(-1, -2) @ updates, updates.sum(-2, keepdim=True)

    def _corrected(self, attention: Tensor, biases: Tensor, correction: Correction) -> tuple[Tensor, Tensor]:
        """Return what is added to the attention ``[B, h, n, n]`` and to the biases ``[B, h, n, d]``."""
        count = attention.shape[-1]
        # Rows always have m columns, so that a partial mini-batch has the statistics of a full one.
        row = functional.pad(attention, (0, self.mini_batch_size - count))
        extra = (correction.attention_weight * rescale(correction.attention, row))[..., :count]
        extra = extra.tril() if correction.causal else extra
        return extra, correction.bias_weight * rescale(correction.bias, biases)

    def initial_state(self, batch: int = 1) -> InnerState:
        """Return the learned state before the first token."""
        weight = self.inner_weight.expand(batch, -1, -1, -1)
        bias = self.inner_bias.expand(batch, -1, -1, -1)
        position = torch.zeros(batch, dtype=torch.int64, device=weight.device)
        return InnerState(weight, bias, torch.zeros_like(weight), torch.zeros_like(bias), position)

    def step(self, x: Tensor, state: InnerState) -> tuple[Tensor, InnerState]:
        """Consume one token, ``[B, D]``; return its output ``[B, D]`` and the new state."""
        query, key, updates, tau = self.read(x, state)
        weight_sum = state.weight_sum + key.transpose(-1, -2) @ updates
        bias_sum = state.bias_sum + updates
        z = query @ (state.weight - tau * weight_sum) + (state.bias - tau * bias_sum)
        return self._joined(query + self._norm(z))[:, 0], self.advance(state, weight_sum, bias_sum)

    def corrected_step(
        self, x: Tensor, state: InnerState, keys: Tensor, updates: Tensor, correction: Correction
    ) -> tuple[Tensor, InnerState, Tensor, Tensor]:
        """Consume one token under a correction of whole mini-batches (``[B, h, m, m]`` and ``[B, h, m, d]``).

        Beside the state it needs the keys and updates a G of the mini-batch so far, each ``[B, h, m, d]`` (what
        stands beyond the position is not read), and returns them with this token's written in.
        """
        query, key, update, tau = self.read(x, state)
        places = torch.arange(self.mini_batch_size, device=x.device)
        position = state.position[:, None, None, None]
        here = places[:, None] == position
        keys, updates = torch.where(here, key, keys), torch.where(here, update, updates)
        weight_sum = state.weight_sum + key.transpose(-1, -2) @ update
        bias_sum = state.bias_sum + update
        bias = state.bias - tau * bias_sum
        past = places <= position
        row = torch.where(past, query @ keys.transpose(-1, -2), 0.0)
        extra = correction.attention_weight * rescale(_row(correction.attention, position), row)
        shift = correction.bias_weight * rescale(_row(correction.bias, position), bias)
        seen = torch.where(past.transpose(-1, -2), updates, 0.0)
        z = query @ (state.weight - tau * weight_sum) + bias - tau * (torch.where(past, extra, 0.0) @ seen) + shift
        out = self._joined(query + self._norm(z))[:, 0]
        return out, self.advance(state, weight_sum, bias_sum), keys, updates

    def prefill(self, x: Tensor, lengths: Tensor) -> InnerState:
        """Return the state of each row after its ``lengths [B]`` tokens of ``x [B, N, D]``."""
        state = self.initial_state(len(x))
        for place in range(x.shape[1]):
            _, new = self.step(x[:, place], state)
            real = place < lengths
            state = InnerState(
                *(torch.where(_like(real, old), fresh, old) for fresh, old in zip(new, state, strict=True))
            )
        return state

    def read(self, x: Tensor, state: InnerState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return q, k and a G of one token, each ``[B, h, 1, d]``, and its tau ``[B, 1, 1, 1]``."""
        x = x[:, None]
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        cosine = self.rope_cosine[state.position][:, None, None]
        sine = self.rope_sine[state.position][:, None, None]
        query, key = apply_rope(query, cosine, sine), apply_rope(key, cosine, sine)
        updates = self.rates(x)[..., None] * self._gradient(key @ state.weight + state.bias, value - key)
        return query, key, updates, self.taus()[state.position][:, None, None, None]

    def advance(self, state: InnerState, weight_sum: Tensor, bias_sum: Tensor) -> InnerState:
        """Return the state after a token; after token m the sums move into the weights."""
        full = (state.position == self.mini_batch_size - 1)[:, None, None, None]
        weight, bias = self._rolled(state.weight, state.bias, weight_sum, bias_sum, self.taus()[-1])
        return InnerState(
            torch.where(full, weight, state.weight),
            torch.where(full, bias, state.bias),
            torch.where(full, torch.zeros_like(weight_sum), weight_sum),
            torch.where(full, torch.zeros_like(bias_sum), bias_sum),
            torch.remainder(state.position + 1, self.mini_batch_size),
        )

    def _gradient(self, z: Tensor, target: Tensor) -> Tensor:
        return inner_gradient(z, target, self.inner_gain, self.inner_shift, self.eps)

    def _norm(self, z: Tensor) -> Tensor:
        centred = z - z.mean(-1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + self.eps)
        return self.inner_gain * centred * scale + self.inner_shift

    def _rolled(
        self, weight: Tensor, bias: Tensor, weight_sum: Tensor, bias_sum: Tensor, tau: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self._bounded(weight - tau * weight_sum), self._bounded(bias - tau * bias_sum)

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
        return f"num_heads={self.num_heads}, mini_batch_size={self.mini_batch_size}, form={self.form}"


def _row(rows: Tensor, position: Tensor) -> Tensor:
    """Return row ``position [B, 1, 1, 1]`` of ``rows [B, h, m, n]``, ``[B, h, 1, n]``."""
    return rows.gather(2, position.expand(-1, rows.shape[1], 1, rows.shape[3]))


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (other.dim() - 1))
