"""TTT-Linear: the inner model is a linear map, and a stream of tokens needs a state of fixed size only.

Two ways compute the same outputs for a mini-batch of ``m`` tokens: the *primal* form spells out the weights after
every token; the *dual* form needs only ``m x m`` products and is what training uses. :meth:`TTTLinear.step`
consumes one token.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.sequence.ttt_layer import Correction, TTTLayer, apply_rope, rescale

__all__ = ["InnerState", "TTTLinear"]

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


class TTTLinear(TTTLayer):
    """The TTT-Linear layer.

    Equation (per head, token j of a mini-batch that starts with W0, b0):
        z_j = k_j W0 + b0;  G_j = gradient of 1/2 || LN(z_j) - (v_j - k_j) ||^2
        W_j = W0 - tau_j * sum_{i<=j} a_i k_i^T G_i;  b_j = b0 - tau_j * sum_{i<=j} a_i G_i
        o_j = q_j + LN(q_j W_j + b_j)

    Args:
        size: Width ``D``.
        num_heads: Heads ``h``.
        mini_batch_size: Tokens ``m`` of a mini-batch.
        form: ``dual`` or ``primal``; the same numbers, the first faster.
        settings: Further settings of :class:`~palate.sequence.ttt_layer.TTTLayer`.

    Shapes:
        forward: x ``[B, N, D]``, lengths ``[B]`` or ``None`` -> ``[B, N, D]``, for any N >= 1.
        step: x ``[B, D]``, state -> ``[B, D]``, state.

    Example:
        >>> layer = TTTLinear(8, 2)
        >>> x = torch.randn(1, 12, 8)
        >>> out, state = layer.step(x[:, 0], layer.initial_state())
        >>> torch.allclose(out, layer(x)[:, 0], atol=1e-5)
        True
    """

    def __init__(
        self, size: int, num_heads: int, mini_batch_size: int = 10, *, form: Form = "dual", **settings: Any
    ) -> None:
        super().__init__(size, num_heads, mini_batch_size, **settings)
        self.form = form
        self.inner_weight = nn.Parameter(torch.randn(num_heads, self.width, self.width) * 0.02)
        self.inner_bias = nn.Parameter(torch.zeros(num_heads, 1, self.width))

    def initial_weights(self, batch: int) -> tuple[Tensor, ...]:
        """Return W0 ``[B, h, d, d]`` and b0 ``[B, h, 1, d]`` before the first token."""
        return self.inner_weight.expand(batch, -1, -1, -1), self.inner_bias.expand(batch, -1, -1, -1)

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
        """Return the outputs ``[B, h, n, d]``, and the sums of a k^T G and of a G over the mini-batch."""
        weight, bias = weights
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
        return query + self._norm(z), (key.transpose(-1, -2) @ updates, updates.sum(-2, keepdim=True))

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
        weight, bias = self.initial_weights(batch)
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
        weight, bias = self._rolled((state.weight, state.bias), (weight_sum, bias_sum))
        return InnerState(
            torch.where(full, weight, state.weight),
            torch.where(full, bias, state.bias),
            torch.where(full, torch.zeros_like(weight_sum), weight_sum),
            torch.where(full, torch.zeros_like(bias_sum), bias_sum),
            torch.remainder(state.position + 1, self.mini_batch_size),
        )


def _row(rows: Tensor, position: Tensor) -> Tensor:
    """Return row ``position [B, 1, 1, 1]`` of ``rows [B, h, m, n]``, ``[B, h, 1, n]``."""
    return rows.gather(2, position.expand(-1, rows.shape[1], 1, rows.shape[3]))


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (other.dim() - 1))
