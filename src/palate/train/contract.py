"""What the loop needs to know of a model, of its data, and of its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field
from torch import Tensor, nn

from palate.config import Config

__all__ = ["BatchSource", "TrainConfig", "Trainable", "Validate"]

BatchT = TypeVar("BatchT", covariant=True)
Validate = Callable[[nn.Module], Mapping[str, float]]


class Trainable(Protocol):
    """A module with a ``loss(batch)``.

    It may also have ``loss_weight(batch) -> float``: the number of terms that the loss is the mean of, where that is
    not the number of rows (the targets of a sequence model, for example). The loss of an epoch is averaged with it,
    and so are the gradients of several processes.
    """

    def loss(self, batch: Any) -> Tensor:
        """Return a scalar to minimise."""
        ...


class BatchSource(Protocol[BatchT]):
    """Batches as a pure function of (epoch, step): resuming in the middle of an epoch needs no replay.

    The order of rows and anything sampled (negatives) depend on the source's seed, the epoch and the step alone,
    never on how many processes or workers ask.

    It may also have ``shard(rank, world) -> BatchSource``: the part of every batch for one of ``world`` processes that
    train together. Without it, batches are cut by rows.
    """

    def steps(self, epoch: int) -> int:
        """Return the number of batches of ``epoch``."""
        ...

    def batch(self, epoch: int, step: int) -> BatchT:
        """Return batch ``step`` of ``epoch``."""
        ...


class TrainConfig(Config):
    """Settings of the loop; the defaults are the published schedule of the CTR literature.

    Attributes:
        learning_rate: Step size of Adam at the start.
        epochs: At most so many passes.
        patience: Stop after so many validations in a row without improvement; after each, the learning rate is
            multiplied by ``learning_rate_decay`` (never below ``min_learning_rate``). Weights are not rolled back
            until the end, when the best are restored.
        monitor: Name of the validation metric; ``mode`` says whether larger or smaller is better.
        min_delta: How much better counts as better.
        gradient_clip: Bound on the norm of all gradients together, or ``None``.
        embedding_l2: Adds ``embedding_l2 / 2 * sum(entries^2)`` over all embedding entries.
        net_l2: The same over all other weights.
        table_update: How embedding tables are updated: ``dense`` (reference Adam on every row), ``lazy`` (Adam on
            the rows of the batch only) or ``rowwise`` (row-wise Adagrad on the rows of the batch).
        table_learning_rate: Rate of the embedding tables where it differs from ``learning_rate``; falls with it.
        precision: ``float32``, or ``bf16`` for autocast in the linear layers.
        seed: Seed of weights, order and dropout.
        log_every: Hand the loss, the norm of the gradient and the rate to the tracker every so many steps (0: only
            once per epoch).
        checkpoint_every: Write a checkpoint every so many steps (0: at the end of each epoch only).
        keep_checkpoints: How many checkpoints stay on disk.
    """

    learning_rate: float = Field(1e-3, gt=0)
    epochs: int = Field(100, ge=1)
    patience: int = Field(2, ge=1)
    monitor: str = "auc"
    mode: Literal["max", "min"] = "max"
    min_delta: float = Field(1e-6, ge=0)
    learning_rate_decay: float = Field(0.1, gt=0, le=1)
    min_learning_rate: float = Field(1e-6, ge=0)
    gradient_clip: float | None = Field(10.0, gt=0)
    embedding_l2: float = Field(0.0, ge=0)
    net_l2: float = Field(0.0, ge=0)
    table_update: Literal["dense", "lazy", "rowwise"] = "dense"
    table_learning_rate: float | None = Field(None, gt=0)
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 0
    log_every: int = Field(100, ge=0)
    checkpoint_every: int = Field(0, ge=0)
    keep_checkpoints: int = Field(2, ge=1)
