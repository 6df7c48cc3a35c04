"""What all neural next-item models have in common: item vectors, the loss at real positions, and scoring."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.sequences import SequenceBatch
from palate.errors import ConfigError, TrainingError
from palate.sequence.blocks import keep_last, last_state
from palate.sequence.contract import NextItemModel
from palate.sequence.losses import Loss, bce_loss, bpr_loss, bpr_max_loss, sampled_softmax_loss, softmax_loss

__all__ = ["NeuralConfig", "NeuralModel"]

_SAMPLED = {"bce": bce_loss, "bpr": bpr_loss, "bpr-max": bpr_max_loss}


class NeuralConfig(ModelConfig):
    """Settings that every neural next-item model has.

    Attributes:
        embedding_size: Width ``D`` of item vectors and states.
        max_length: Longest history that is read; the last items count.
        dropout: Share of units dropped in training.
        loss: ``softmax`` over all items, ``sampled-softmax``, ``bce``, ``bpr`` or ``bpr-max``; all but the
            first need negatives.
        num_negatives: Negatives per position for the sampled losses.
        initial_std: Standard deviation of the initial weights.
    """

    embedding_size: int = Field(64, ge=1)
    max_length: int = Field(50, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    loss: Loss = "softmax"
    num_negatives: int = Field(0, ge=0)
    initial_std: float = Field(0.02, gt=0)

    @model_validator(mode="after")
    def _check_negatives(self) -> Self:
        if self.loss != "softmax" and self.num_negatives == 0:
            raise ConfigError(
                f'{type(self).__name__}: loss="{self.loss}" needs negatives, and num_negatives is 0.',
                remedy="Set num_negatives, for example to 1 for bce and bpr or 128 for sampled-softmax.",
            )
        return self


class NeuralModel(NextItemModel):
    """A model that turns a history into a state per position and compares the last one with every item.

    Equation:
        score(j) = <state at the last item, e_j>

    A subclass writes ``encode``. Input and output share the item vectors ``e``. A history without items has a
    state of its own, ``start``, which learns what people begin with; item vectors get no gradient from it, so it
    changes nothing else.

    Shapes:
        encode: items int64 ``[B, L]``, lengths ``[B]`` (each at least 0) -> states ``[B, L, D]``; the state of a
            position depends on the items up to it, and never on padding or other rows.
    """

    config: NeuralConfig

    def __init__(self, num_items: int, config: NeuralConfig, *, state_size: int | None = None) -> None:
        super().__init__(num_items, config)
        self.item_embedding = nn.Embedding(num_items + 1, config.embedding_size, padding_idx=0)
        self.start = nn.Parameter(torch.zeros(state_size or config.embedding_size))

    @abstractmethod
    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""

    def output_table(self) -> Tensor:
        """Return the vectors that states are compared with, ``[V + 1, D]``."""
        return self.item_embedding.weight

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Return the mean loss over the positions that have a target.

        Raises:
            TrainingError: If the batch lacks targets, or negatives that the loss needs.
        """
        if batch.targets is None:
            raise TrainingError("The batch has no targets.", remedy="Take batches from a SequenceSource.")
        states = self.encode(batch.items, batch.lengths)
        real = batch.targets > 0
        table = self.output_table()
        loss = self.loss_at(states[real], table, batch.targets[real], batch, real)
        beginning = self.beginning(table.detach(), batch.items[batch.lengths > 0, 0])
        return loss + (beginning - beginning.detach())  # teaches ``start`` without showing in the value

    def beginning(self, table: Tensor, first: Tensor) -> Tensor:
        """Return the cross-entropy of the first items under ``start``: one row of logits for the whole batch."""
        logits = (table[1:] @ self.start).float()
        return logits.logsumexp(0) - logits[first - 1].sum() / max(len(first), 1)

    def loss_weight(self, batch: SequenceBatch) -> float:
        """Return the number of targets, which the loss of the batch is the mean over."""
        return float("nan") if batch.targets is None else float((batch.targets > 0).sum())

    def loss_at(self, states: Tensor, table: Tensor, targets: Tensor, batch: SequenceBatch, real: Tensor) -> Tensor:
        """Return the configured loss of ``states [N, D]`` at the positions where ``real [B, L]`` holds."""
        if self.config.loss == "softmax":
            return softmax_loss(states, table, targets)
        if batch.negatives is None:
            raise TrainingError(
                f'{type(self).__name__} has loss="{self.config.loss}", and the batch has no negatives.',
                remedy="Give the SequenceSource num_negatives.",
            )
        shared = batch.negatives.dim() == 1
        negatives = batch.negatives if shared else batch.negatives[real]
        if self.config.loss == "sampled-softmax":
            log_q = batch.log_q if shared or batch.log_q is None else batch.log_q[real]
            return sampled_softmax_loss(states, table, targets, negatives, log_q)
        return _SAMPLED[self.config.loss](states, table, targets, negatives)

    def state(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state after each history, ``[B, D]``; ``start`` for an empty one."""
        items, lengths = keep_last(items, lengths, self.config.max_length)
        states = last_state(self.encode(items, lengths), lengths)
        return torch.where((lengths > 0)[:, None], states, self.start.to(states.dtype))

    def score(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores of all items, ``[B, V + 1]``, with ``-inf`` in column 0."""
        scores = self.state(items, lengths) @ self.output_table().T
        return scores.index_fill(1, torch.zeros(1, dtype=torch.int64, device=scores.device), float("-inf"))
