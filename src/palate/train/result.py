"""What a training run returns: one record per epoch, and a summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["EpochRecord", "StopReason", "TrainResult"]

StopReason = Literal["epochs", "patience", "interrupted"]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: Its index, from 0, as the batch source counts.
        steps: Steps of this epoch.
        train_loss: Mean of the training loss over the rows of the epoch, with the weights as they were at each step.
        metrics: What the validation function returned (empty without one).
        learning_rate: The rate during this epoch.
        seconds: Time spent in its training steps, validation excluded.
    """

    epoch: int
    steps: int
    train_loss: float
    metrics: Mapping[str, float]
    learning_rate: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The outcome of :func:`palate.train.loop.fit`.

    Attributes:
        history: One record per finished epoch, those before a resume included.
        best_epoch: Index of the epoch whose weights the model now has: the best by the monitored metric, the last
            one when nothing validates. ``None`` if no epoch was finished; then the model has the last weights.
        best_metrics: The metrics of that epoch.
        steps: Optimiser steps in all, those before a resume included.
        seconds: Time in training steps, those before a resume included.
        rows_per_second: Rows trained per second of training steps, in this process (validation excluded).
        stopped_because: ``epochs`` (all done), ``patience`` (no more gain) or ``interrupted`` (Ctrl-C; the run goes
            on from its checkpoint when fitted again).
        resumed_from: The checkpoint that this call went on from, or ``None``.
    """

    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    rows_per_second: float = 0.0
    stopped_because: StopReason = "epochs"
    resumed_from: Path | None = None
