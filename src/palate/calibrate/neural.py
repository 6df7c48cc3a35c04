"""The skeleton of a calibrator that is a torch module: built from its sizes, fitted, carried as arrays."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import EPSILON
from palate.calibrate.observations import IntArray, Observations
from palate.calibrate.training import Batch, FitReport, NeuralConfig, train
from palate.config import ModelConfig
from palate.errors import NotFittedError, SavedFolderError

__all__ = ["NeuralCalibrator", "log_loss", "log_odds"]


class NeuralCalibrator(LearnedCalibrator):
    """A calibrator with a network inside; a method writes ``shape``, ``build``, ``reset`` and, if it must, ``losses``.

    The network is fitted in float32 and evaluated in float64, so that close scores stay apart.
    """

    uses_context = True
    config: NeuralConfig

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__(config)
        self._shape: dict[str, Any] = {}
        self._module: nn.Module | None = None
        self.report = FitReport()

    @abstractmethod
    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the sizes that the rows decide (bins, context values), as plain JSON types."""

    @abstractmethod
    def build(self, shape: dict[str, Any]) -> nn.Module:
        """Return the network of these sizes; its numbers are set later.

        It maps scores ``[B]`` and context ids ``[B, F]`` to probabilities ``[B]``.
        """

    @abstractmethod
    def reset(self, module: Any, rows: Observations, generator: torch.Generator) -> None:
        """Set the first numbers of the network, drawing from ``generator`` alone."""

    def losses(self, module: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss; ``total`` is what is minimised."""
        return {"total": log_loss(module(batch.scores, batch.context), batch)}

    def penalty(self, module: Any) -> float:
        """Return what is added to the held-out log loss when epochs are compared."""
        return 0.0

    @property
    def module(self) -> nn.Module:
        """The fitted network, float64, in evaluation mode.

        Raises:
            NotFittedError: Before :meth:`fit`.
        """
        if self._module is None:
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted.", remedy="Call fit(scores, labels) on held-out rows first."
            )
        return self._module

    def learn(self, rows: Observations) -> Arrays:
        """Build the network, fit it, and return its numbers."""
        self._shape = self.shape(rows)
        with torch.device("meta"):
            module = self.build(self._shape)
        module = module.to_empty(device="cpu").float()
        self.reset(module, rows, torch.Generator().manual_seed(self.config.seed))
        seed = self.config.seed + 1
        self.report = train(module, rows, lambda batch: self.losses(module, batch), self.config, seed, self.penalty)
        arrays = {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}
        self._module = module.double().eval().requires_grad_(False)
        return arrays

    @torch.no_grad()
    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray, block: int = 4096) -> FloatArray:
        """Run the network over blocks of rows."""
        module, parts = self.module, []
        for start in range(0, len(scores), block):
            part = torch.tensor(scores[start : start + block]), torch.tensor(context[start : start + block])
            parts.append(module(*part).numpy())
        return np.concatenate(parts)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return context values, sizes and the record of the fit as a document, and the numbers as arrays."""
        document, arrays = super().state()
        record = {"epochs": self.report.epochs, "best_epoch": self.report.best_epoch, "notes": self.report.notes}
        return {**document, "shape": self._shape, "report": record}, arrays

    @classmethod
    def from_state(cls, config: ModelConfig, document: dict[str, Any], arrays: Arrays) -> Self:
        """Rebuild a fitted calibrator.

        Raises:
            SavedFolderError: If sizes and arrays do not fit, or parts are missing.
        """
        calibrator = super().from_state(config, document, arrays)
        try:
            with torch.device("meta"):
                module = calibrator.build(dict(document["shape"]))
            numbers = {name: torch.tensor(values, device="cpu") for name, values in arrays.items()}
            module.load_state_dict(numbers, assign=True)
            record = document.get("report", {})
            calibrator.report = FitReport(
                list(record.get("epochs", [])), int(record.get("best_epoch", 0)), 0, dict(record.get("notes", {}))
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SavedFolderError(
                f"The saved state of a {cls.__name__} does not fit together: {error}.", remedy="Save it again."
            ) from None
        calibrator._shape = dict(document["shape"])
        calibrator._module = module.double().eval().requires_grad_(False)
        return calibrator

    def context_counts(self) -> list[Tensor]:
        """Return the rows of each context value, one tensor per field."""
        return [torch.tensor(counts, dtype=torch.float32) for counts in self.context_vocabulary.counts]


def log_odds(scores: Tensor) -> Tensor:
    """Return ``log(s / (1 - s))`` of the clipped scores."""
    clipped = scores.clamp(EPSILON, 1.0 - EPSILON)
    return torch.log(clipped) - torch.log1p(-clipped)


def log_loss(probabilities: Tensor, batch: Batch) -> Tensor:
    """Return the weighted mean binary cross-entropy of probabilities."""
    inside = probabilities.clamp(1e-7, 1.0 - 1e-7)
    loss = -(batch.labels * torch.log(inside) + (1.0 - batch.labels) * torch.log1p(-inside))
    return (batch.weight * loss).sum() / batch.weight.sum()
