"""When to slow down and when to stop: the plateau schedule of the CTR literature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from palate.errors import NonFiniteError, TrainingError, suggest
from palate.train.contract import TrainConfig

__all__ = ["Plateau"]


class Plateau:
    """Watches one validation metric; lowers the learning rate when it stalls and ends the run when it stays there.

    After a validation with value ``v`` (``mode="max"``; for ``min`` the sign is turned)::

        if v - best > min_delta:  best <- v,  waited <- 0
        else:                     waited <- waited + 1,  rate <- max(rate * decay, min_rate)
        stop when waited == patience

    Weights are not rolled back in between: the jump after the first drop of the rate is most of the gain.

    Args:
        config: The settings ``monitor``, ``mode``, ``min_delta``, ``patience``, ``learning_rate``,
            ``learning_rate_decay`` and ``min_learning_rate`` are used.

    Example:
        >>> plateau = Plateau(TrainConfig(patience=2))
        >>> [plateau.update({"auc": value}, epoch) for epoch, value in enumerate([0.7, 0.7, 0.71, 0.7, 0.7])]
        [True, False, True, False, False]
        >>> plateau.exhausted, plateau.best_epoch, f"{plateau.learning_rate:.0e}"
        (True, 2, '1e-06')

    Source: the published training schedule of QNN (Li et al., KDD 2025) and of FuxiCTR.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.learning_rate = config.learning_rate
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether the metric has stalled for ``patience`` validations in a row."""
        return self.waited >= self.config.patience

    def update(self, metrics: Mapping[str, float], epoch: int) -> bool:
        """Take in the metrics of ``epoch`` and return whether they are the best so far.

        Raises:
            TrainingError: If the monitored metric is not among ``metrics``.
            NonFiniteError: If it is NaN, or infinitely good.
        """
        value = self._monitored(metrics, epoch)
        gain = value - self._reference if self.config.mode == "max" else self._reference - value
        if gain > self.config.min_delta:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        floor = min(self.config.min_learning_rate, self.learning_rate)
        self.learning_rate = max(self.learning_rate * self.config.learning_rate_decay, floor)
        return False

    def state(self) -> dict[str, Any]:
        """Return what must be kept to go on later, as plain JSON types."""
        return {
            "learning_rate": self.learning_rate,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.learning_rate = float(state["learning_rate"])
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], int(state["waited"])

    @property
    def _reference(self) -> float:
        if self.best is not None:
            return self.best
        return -math.inf if self.config.mode == "max" else math.inf

    def _monitored(self, metrics: Mapping[str, float], epoch: int) -> float:
        name = self.config.monitor
        if name not in metrics:
            raise TrainingError(
                f'The validation function returned no metric "{name}", which is to be monitored.',
                remedy=f"{suggest(name, metrics)} Set TrainConfig.monitor (and its mode).",
            )
        value = float(metrics[name])
        perfect = math.inf if self.config.mode == "max" else -math.inf
        if math.isnan(value) or value == perfect:
            raise NonFiniteError(
                f'The monitored metric "{name}" is {value} after epoch {epoch}.',
                remedy="Check the validation part: an AUC, for example, needs rows of both classes.",
            )
        return value
