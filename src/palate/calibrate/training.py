"""The small loop that fits the neural calibrators: Adam, cosine decay, the best epoch by held-out log loss.

A calibrator fits in seconds, so the loop keeps nothing on disk. It draws from a generator of its own and leaves
every global state alone.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.observations import Observations
from palate.config import ModelConfig
from palate.errors import NonFiniteError

__all__ = ["Batch", "FitReport", "NeuralConfig", "train"]

log = logging.getLogger(__name__)


class NeuralConfig(ModelConfig):
    """Settings that every neural calibrator shares.

    Attributes:
        learning_rate: Step size of Adam at the start; it falls to zero along a cosine.
        epochs: Passes over the rows.
        batch_size: Rows per step; fewer when there are not enough rows for forty steps.
        validation_share: Share of the calibration rows that only picks the best epoch (0: keep the last).
        averaging: Share of the past in the moving average of the weights, which is what is validated and kept.
        min_count: Context values with fewer rows are treated as unseen.
        seed: Seed of weights, split and order.
    """

    learning_rate: float = Field(1e-2, gt=0)
    epochs: int = Field(12, ge=1)
    batch_size: int = Field(2048, ge=1)
    validation_share: float = Field(0.1, ge=0, lt=1)
    min_count: int = Field(20, ge=1)
    averaging: float = Field(0.98, ge=0, lt=1)
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Rows as tensors: ``scores``, ``labels`` and ``weight`` float ``[B]``, ``context`` int64 ``[B, F]``."""

    scores: Tensor
    labels: Tensor
    weight: Tensor
    context: Tensor

    @classmethod
    def of(cls, rows: Observations, dtype: torch.dtype = torch.float32) -> Batch:
        """Copy observations into tensors."""
        scores, labels, weight = (torch.tensor(part, dtype=dtype) for part in (rows.scores, rows.labels, rows.weight))
        return cls(scores, labels, weight, torch.tensor(rows.context))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Batch:
        """Return the chosen rows."""
        parts = (self.scores, self.labels, self.weight, self.context)
        return Batch(*(part.index_select(0, rows) for part in parts))


@dataclass
class FitReport:
    """What happened while fitting: one entry per epoch, and the epoch that was kept (0 is the start).

    Attributes:
        epochs: Means over the steps of each epoch, and ``validation``, the held-out log loss.
        best_epoch: Number of the epoch whose weights were kept.
        validation_rows: Rows that picked it.
        notes: Further facts, such as the number of bins.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    validation_rows: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


Loss = Callable[[Batch], Mapping[str, Tensor]]


def train(
    module: nn.Module,
    rows: Observations,
    loss: Loss,
    config: NeuralConfig,
    seed: int,
    penalty: Callable[[nn.Module], float] | None = None,
) -> FitReport:
    """Fit ``module`` in place and return the report.

    Args:
        module: Maps ``(scores [B], context [B, F])`` to probabilities ``[B]``.
        rows: What to learn from.
        loss: Terms of the loss by name; ``total`` is minimised, all are reported.
        config: The settings.
        seed: Seed of split and order.
        penalty: Added to the held-out log loss when epochs are compared.

    Raises:
        NonFiniteError: If the loss is not finite; names epoch and step.
    """
    generator = torch.Generator().manual_seed(seed)
    data = Batch.of(rows)
    order = torch.randperm(len(data), generator=generator)
    held = int(len(data) * config.validation_share)
    held = held if held >= 50 else 0  # fewer rows pick an epoch by luck
    validation, data = data.take(order[:held]), data.take(order[held:])
    batch_size = min(config.batch_size, max(64, len(data) // 40))
    steps = math.ceil(len(data) / batch_size)
    optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate)
    report = FitReport(validation_rows=held)
    average = copy.deepcopy(module)
    kept = copy.deepcopy(module.state_dict())
    extra = penalty or (lambda _: 0.0)
    best = _log_loss(average, validation) + extra(average) if held else math.inf
    for epoch in range(config.epochs):
        sums: dict[str, float] = {}
        order = torch.randperm(len(data), generator=generator)
        for step, chosen in enumerate(torch.split(order, batch_size)):
            progress = (epoch * steps + step) / (config.epochs * steps)
            optimizer.param_groups[0]["lr"] = config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
            terms = loss(data.take(chosen))
            if not torch.isfinite(terms["total"]):
                raise NonFiniteError(
                    f"The loss of {type(module).__name__} is {terms['total'].item()} in epoch {epoch + 1}, "
                    f"step {step + 1} of {steps}.",
                    remedy=f"Lower learning_rate (now {config.learning_rate:g}).",
                )
            optimizer.zero_grad()
            terms["total"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            _follow(average, module, config.averaging)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) / steps
        if held:
            sums["validation"] = _log_loss(average, validation)
        reached = sums["validation"] + extra(average) if held else -math.inf
        if reached < best:
            best, kept, report.best_epoch = reached if held else best, copy.deepcopy(average.state_dict()), epoch + 1
        report.epochs.append(sums)
        log.debug("%s epoch %d: %s", type(module).__name__, epoch + 1, sums)
    module.load_state_dict(kept)
    return report


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, keep: float) -> None:
    for slow, fast in zip(average.parameters(), module.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - keep)


@torch.no_grad()
def _log_loss(module: nn.Module, rows: Batch, block: int = 8192) -> float:
    total = 0.0
    for chosen in torch.split(torch.arange(len(rows)), block):
        part = rows.take(chosen)
        probabilities = module(part.scores, part.context).clamp(1e-7, 1 - 1e-7)
        losses = functional.binary_cross_entropy(probabilities, part.labels, weight=part.weight, reduction="none")
        total += float(losses.double().sum())
    return total / float(rows.weight.double().sum())
