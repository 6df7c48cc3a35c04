"""CoCorrRec: a recommender that learns on the device while it is used, corrected from the cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import Size
from palate.data.sequences import SequenceBatch
from palate.errors import ConfigError
from palate.registry import register
from palate.sequence.blocks import RMSNorm, initialise
from palate.sequence.correction import GlobalCorrectionNetwork
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel
from palate.sequence.ttt import InnerState, TTTLinear
from palate.sequence.ttt_layer import Correction, TTTLayer
from palate.sequence.ttt_mlp import TTTMLP

__all__ = ["CoCorrRec", "CoCorrRecConfig", "SelfCorrectionNetwork", "TargetTransform"]


class CoCorrRecConfig(NeuralConfig):
    """Settings of CoCorrRec.

    Attributes:
        num_heads: Heads ``h`` of the layer; each has an inner model.
        mini_batch_size: Tokens ``m`` of an inner mini-batch.
        inner: The inner model. ``mlp`` is an ablation of the layer alone: it has neither corrections nor a step.
        inner_rate: Base rate of the inner update; 0 is the ablation without it.
        rope_base: Base of the rotary positions.
        residual: Add the layer's input to its output (off in the paper).
        update_in_service: Off is the ablation that learns the inner update in training and freezes it at test.
        mode: ``base`` is the self-correction network alone; ``causal`` adds corrections that know only what was
            uploaded before; ``paper`` is the published form, whose correction has seen the whole history and is
            therefore trained at the last position only.
        correct: Which of the two corrections is applied.
        sync_every: Items between two uploads, in ``causal`` mode.
    """

    num_heads: int = Field(4, ge=1)
    mini_batch_size: int = Field(10, ge=1)
    inner: Literal["linear", "mlp"] = "linear"
    inner_rate: float = Field(1.0, ge=0)
    rope_base: float = Field(10000.0, gt=1)
    residual: bool = False
    update_in_service: bool = True
    mode: Literal["causal", "paper", "base"] = "causal"
    correct: Literal["both", "attention", "bias"] = "both"
    sync_every: int = Field(10, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_heads": 2, "sync_every": 5},
        "small": {"embedding_size": 64, "num_heads": 4},
        "base": {"embedding_size": 64, "num_heads": 4},
    }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % (2 * self.num_heads):
            raise ConfigError(
                f"CoCorrRecConfig: embedding_size={self.embedding_size} cannot be split into "
                f"num_heads={self.num_heads} heads of even width.",
            )
        if self.inner == "mlp" and self.mode != "base":
            raise ConfigError(
                f'CoCorrRecConfig: inner="mlp" has no corrections, and mode is "{self.mode}".',
                remedy='Set mode="base" with it.',
            )
        return self


class SelfCorrectionNetwork(nn.Module):
    """The part on the device: a TTT layer between two norms.

    Equation:
        X = RMSNorm(E[items]);  U = RMSNorm(TTT(X))   (plus X inside the last norm if ``residual``)

    Shapes:
        embedded items ``[B, N, D]`` -> states ``[B, N, D]``.
    """

    def __init__(self, config: CoCorrRecConfig) -> None:
        super().__init__()
        self.residual = config.residual
        self.norm = RMSNorm(config.embedding_size)
        make = TTTMLP if config.inner == "mlp" else TTTLinear
        self.layer: TTTLayer = make(
            config.embedding_size,
            config.num_heads,
            config.mini_batch_size,
            inner_rate=config.inner_rate,
            rope_base=config.rope_base,
        )
        self.final_norm = RMSNorm(config.embedding_size)

    @property
    def linear(self) -> TTTLinear:
        """The layer, where its inner model is linear.

        Raises:
            ConfigError: If it is not, and so has no step of fixed size.
        """
        if not isinstance(self.layer, TTTLinear):
            raise ConfigError('inner="mlp" cannot go click by click.', remedy='Fit a model with inner="linear".')
        return self.layer

    def forward(self, hidden: Tensor, lengths: Tensor | None = None, correction: Correction | None = None) -> Tensor:
        """Return the states of the normed items ``hidden``."""
        return self.finish(hidden, self.layer(hidden, lengths, correction))

    def finish(self, hidden: Tensor, out: Tensor) -> Tensor:
        """Return the state from the layer's input and output."""
        states: Tensor = self.final_norm(out + hidden if self.residual else out)
        return states


class TargetTransform(nn.Module):
    """What an item's vector passes through before it is compared with the user's state.

    Equation:
        T(e) = W2 tanh(W1 e + b1) + b2
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Linear(size, size)
        self.second = nn.Linear(size, size)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the transformed vectors, same shape."""
        out: Tensor = self.second(torch.tanh(self.first(vectors)))
        return out


@register("next-item", "cocorrrec", source="Zhan et al., IJCAI 2025, arXiv 2506.12687")
class CoCorrRec(NeuralModel):
    """Device-cloud collaborative correction for on-device recommendation.

    Equation:
        hidden = RMSNorm(E[items])
        U = RMSNorm(TTT(hidden; A + P * dA~, b + Q * db~)),  dA, db = GCN(hidden up to the last upload)
        score(j) = <U at the last item, T(e_j)>

    The device carries a state of fixed size (:mod:`palate.sequence.device_step`) and works without the cloud: a
    missing correction is P = Q = 0. ``lag`` says how many items late the correction is when scoring; ``None``
    means that there is none. In training each row draws its lag from 0, m and 2 m. ``upload`` replaces what the
    cloud learns of the hidden states (the summaries of every prefix), for example by noisy ones.

    Shapes:
        encode: items ``[B, N]`` -> ``[B, N, D]``, any N.

    Example:
        >>> model = CoCorrRec(100, CoCorrRecConfig.sized("tiny")).eval()
        >>> model.score(torch.tensor([[3, 7, 9]]), torch.tensor([3])).shape
        torch.Size([1, 101])
    """

    Config = CoCorrRecConfig
    config: CoCorrRecConfig

    def __init__(self, num_items: int, config: CoCorrRecConfig | None = None) -> None:
        config = config or CoCorrRecConfig.sized("tiny")
        super().__init__(num_items, config)
        self.lag: int | None = 0
        self.upload: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
        self.dropout = Dropout(config.dropout)
        self.scn = SelfCorrectionNetwork(config)
        self.apply(partial(initialise, std=config.initial_std))
        # Left at torch's own start: two layers at 0.02 would shrink item vectors to a thousandth of their size.
        self.target = TargetTransform(config.embedding_size)
        if config.mode != "base":
            self.gcn = GlobalCorrectionNetwork(config.embedding_size, config.num_heads, config.mini_batch_size)
            if config.correct != "bias":
                self.attention_weight = nn.Parameter(torch.tensor(0.0))  # P
            if config.correct != "attention":
                self.bias_weight = nn.Parameter(torch.tensor(0.25))  # Q

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return P and Q, the weights of the two corrections (0 for one that is switched off)."""
        zero = self.item_embedding.weight.new_zeros(())
        return getattr(self, "attention_weight", zero), getattr(self, "bias_weight", zero)

    def hidden(self, items: Tensor) -> Tensor:
        """Return the normed item vectors: the layer's input, and what a device uploads. ``[B, N, D]``."""
        normed: Tensor = self.scn.norm(self.dropout(self.item_embedding(items)))
        return normed

    def output_table(self) -> Tensor:
        """Return T of all item vectors, ``[V + 1, D]``."""
        table: Tensor = self.target(self.item_embedding.weight)
        return table

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, N, D]``."""
        hidden = self.hidden(items)
        updating = self.training or self.config.update_in_service
        states: Tensor = self.scn(
            hidden, lengths if updating else torch.zeros_like(lengths), self._correction(hidden, lengths)
        )
        return states

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Return the mean loss over the targets; in ``paper`` mode over the last target of each row only."""
        if self.config.mode == "paper" and batch.targets is not None:
            last = torch.arange(batch.items.shape[1], device=batch.items.device) == batch.lengths[:, None] - 1
            batch = SequenceBatch(
                batch.items, batch.lengths, batch.targets * last, batch.users, batch.negatives, batch.log_q
            )
        return super().loss(batch)

    def correct(self, hidden: Tensor, lengths: Tensor) -> Correction:
        """Return the cloud's answer to uploaded states: raw corrections of a mini-batch, and P and Q.

        Shapes:
            hidden ``[B, n, D]``, lengths ``[B]`` (each at least 1) -> attention ``[B, h, m, m]``, bias
            ``[B, h, m, d]``.
        """
        rows = torch.arange(len(hidden), device=hidden.device)
        last = (lengths - 1).clamp(min=0)
        attention, bias = (summary[rows, last] for summary in self.summaries(hidden))
        return self.answer(attention, bias)

    def answer(self, attention_summary: Tensor, bias_summary: Tensor) -> Correction:
        """Return the cloud's answer to the two summaries of a device that ran the recurrent parts itself.

        Shapes:
            two summaries ``[B, 64]`` -> attention ``[B, h, m, m]``, bias ``[B, h, m, d]``.
        """
        attention, bias = self.gcn(attention_summary, bias_summary)
        return Correction(attention, bias, *self.weights())

    def summaries(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the cloud knows of every prefix of ``hidden``, two ``[B, N, 64]``; see ``upload``."""
        known: tuple[Tensor, Tensor] = (self.upload or self.gcn.summaries)(hidden)
        return known

    def initial_state(self, batch: int = 1) -> InnerState:
        """Return the device's state before the first item."""
        return self.scn.linear.initial_state(batch)

    @classmethod
    def from_base(cls, base: CoCorrRec, **changes: Any) -> Self:
        """Return a model around a trained and frozen device part: only the cloud's part learns.

        A cloud so trained can be replaced without touching devices.

        Args:
            base: A trained model, usually of ``mode="base"``.
            changes: Settings of the new model, for example ``mode="causal"`` (the default here).
        """
        model = cls(base.num_items, base.config.replace(**{"mode": "causal", **changes}))
        kept = {key: value for key, value in base.state_dict().items() if not _is_cloud(key)}
        model.load_state_dict({**model.state_dict(), **kept})
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_is_cloud(name))
        return model

    def _correction(self, hidden: Tensor, lengths: Tensor) -> Correction | None:
        if self.config.mode == "base" or (self.lag is None and not self.training):
            return None
        return self._paper_rows(hidden, lengths) if self.config.mode == "paper" else self._causal_rows(hidden)

    def _paper_rows(self, hidden: Tensor, lengths: Tensor) -> Correction:
        """Return the published correction: from the whole history, the same in every mini-batch."""
        whole = self.correct(hidden, lengths)
        row = torch.arange(hidden.shape[1], device=hidden.device) % self.config.mini_batch_size
        return whole._replace(attention=whole.attention[:, :, row], bias=whole.bias[:, :, row], causal=False)

    def _causal_rows(self, hidden: Tensor) -> Correction:
        """Return corrections that know, at each token, what was uploaded before it and has come back."""
        m, every = self.config.mini_batch_size, self.config.sync_every
        batch, length, device = len(hidden), hidden.shape[1], hidden.device
        lag = torch.full((batch, 1), int(self.lag or 0), device=device)
        if self.training:
            lag = m * torch.randint(3, (batch, 1), device=device)
        known = torch.arange(0, length, every, device=device) - lag  # items in each answer, [B, C]
        place = (known - 1).clamp(min=0)[:, :, None]
        attention, bias = self.gcn(*(summary.take_along_dim(place, 1) for summary in self.summaries(hidden)))
        token = torch.arange(length, device=device)
        fresh = (known > 0)[:, None, token // every, None].to(hidden.dtype)  # [B, 1, N, 1]
        row = token // every * m + token % m
        rows = [part.transpose(2, 3).flatten(1, 2).index_select(1, row).transpose(1, 2) for part in (attention, bias)]
        attention_weight, bias_weight = (weight * fresh for weight in self.weights())
        return Correction(rows[0], rows[1], attention_weight, bias_weight)


def _is_cloud(name: str) -> bool:
    return name.startswith(("gcn.", "attention_weight", "bias_weight"))
