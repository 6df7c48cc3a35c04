"""UMC: one unconstrained monotone map of the log-odds for all, scaled and shifted by the context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.bins import weighted_quantile
from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.logits import logit
from palate.calibrate.mlp import MLP
from palate.calibrate.monotone import MonotoneBins
from palate.calibrate.neural import NeuralCalibrator, log_loss, log_odds
from palate.calibrate.observations import Observations
from palate.calibrate.training import Batch, NeuralConfig
from palate.config import Size
from palate.registry import register

__all__ = ["UMC", "SmoothCalibration", "UMCConfig", "UMCModule"]


class UMCConfig(NeuralConfig):
    """Settings of UMC.

    Attributes:
        hidden_size: Units of each of the two hidden layers of the integrand.
        nodes: Quadrature intervals, a multiple of 4.
        hidden_sizes: Hidden layers of the network that scales and shifts.
        embedding_size: Width of the vector of each context field.
        smooth_weight: Weight lambda of the smooth calibration loss.
        smooth_bins: Bins of the output in that loss.
        smooth_decay: Decay of its moving averages.
    """

    hidden_size: int = Field(50, ge=1)
    nodes: int = Field(64, ge=4, multiple_of=4)
    hidden_sizes: tuple[int, ...] = (200, 200)
    embedding_size: int = Field(16, ge=1)
    smooth_weight: float = Field(1e-2, ge=0)
    smooth_bins: int = Field(10, ge=1)
    smooth_decay: float = Field(0.95, ge=0, lt=1)
    learning_rate: float = Field(3e-3, gt=0)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"hidden_size": 16, "hidden_sizes": (32,), "embedding_size": 4, "epochs": 8, "learning_rate": 1e-2},
        "small": {"hidden_sizes": (64, 64)},
        "base": {"epochs": 20, "batch_size": 16384, "learning_rate": 1e-3},
    }


class SmoothCalibration:
    """``SCLoss = sum_b share_b (rate_b - confidence_b)^2`` over bins of the output, with moving averages.

    The gradient flows through the current batch only.
    """

    def __init__(self, bins: int, decay: float) -> None:
        self.bins, self.decay = bins, decay
        self.mass, self.predicted, self.observed = (torch.zeros(bins, dtype=torch.float64) for _ in range(3))

    def __call__(self, probabilities: Tensor, batch: Batch) -> Tensor:
        """Return the term for one batch, and remember the batch."""
        place = (probabilities.detach() * self.bins).to(torch.int64).clamp(0, self.bins - 1)
        mass = self._moved(self.mass, batch.weight, place)
        predicted = self._moved(self.predicted, batch.weight * probabilities, place)
        observed = self._moved(self.observed, batch.weight * batch.labels, place)
        self.mass, self.predicted, self.observed = (part.detach().double() for part in (mass, predicted, observed))
        gap = (observed - predicted) / mass.clamp(min=1e-12)
        return (mass / mass.sum() * gap**2).sum()

    def _moved(self, past: Tensor, values: Tensor, place: Tensor) -> Tensor:
        return self.decay * past.to(values.dtype) + values.new_zeros(self.bins).scatter_add(0, place, values)


class UMCModule(nn.Module):
    """``p = sigmoid(exp(w(c)) * INT_0^{logit s} f1(t) dt + v(c))``, ``f1 > 0``."""

    def __init__(self, config: UMCConfig, embedding: ContextEmbedding) -> None:
        super().__init__()
        self.embedding = embedding
        nothing = ContextEmbedding([], 1)
        settings = {"hidden_size": config.hidden_size, "nodes": config.nodes}
        self.monotone = MonotoneBins(1, nothing, num_layers=2, activation="relu", **settings)  # type: ignore[arg-type]
        self.rescale = MLP([embedding.width, *config.hidden_sizes, 2])

    def forward(self, scores: Tensor, context: Tensor) -> Tensor:
        """Return calibrated probabilities."""
        integral = self.monotone(log_odds(scores), context[:, :0])
        scale, shift = self.rescale(self.embedding(context)).unbind(1)
        return torch.sigmoid(torch.exp(scale) * integral + shift)


@register("calibrator", "umc", source="Bai et al., SIGIR 2025, arXiv 2504.14243")
class UMC(NeuralCalibrator):
    """Unconstrained monotonic calibration: one free monotone map, scaled and shifted by the context.

    ``p = sigmoid(exp(w(c)) * INT f1(t) dt + v(c))``, ``L = BCE + lambda * SCLoss``

    MCNet's nearest relative: the shape is common to all contexts, which change its slope and offset only. The
    original feeds the base model's embeddings to w and v; here they are embeddings of the context.

    Example:
        >>> config = UMCConfig.sized("tiny", epochs=1)
        >>> UMC(config).fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.5]).shape
        (1,)
    """

    Config = UMCConfig
    config: UMCConfig

    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the ids of each field."""
        return {"context": list(self.context_vocabulary.sizes)}

    def build(self, shape: dict[str, Any]) -> UMCModule:
        """Return the network of these sizes."""
        embedding = ContextEmbedding([int(size) for size in shape["context"]], self.config.embedding_size)
        return UMCModule(self.config, embedding)

    def reset(self, module: UMCModule, rows: Observations, generator: torch.Generator) -> None:
        """Start at the identity, shifted to the observed rate."""
        z = logit(rows.scores)
        lowest, highest = (weighted_quantile(z, rows.weight, level) for level in (0.001, 0.999))
        centre = float(np.average(z, weights=rows.weight))
        scale = float(np.sqrt(np.average((z - centre) ** 2, weights=rows.weight))) or 1.0
        module.monotone.get_buffer("limits").copy_(torch.tensor([lowest, max(highest, lowest + 1e-3)]))
        module.monotone.slope.reset(centre, scale, generator)
        module.monotone.offset.reset(torch.tensor([lowest]), generator)
        module.embedding.reset(self.context_counts(), generator)
        rate = np.average([rows.labels, rows.scores], axis=1, weights=rows.weight)
        shift = float(np.diff(logit(rate[::-1]))[0])
        module.rescale.reset(generator, output=torch.tensor([0.0, shift]))
        self._smooth = SmoothCalibration(self.config.smooth_bins, self.config.smooth_decay)

    def losses(self, module: UMCModule, batch: Batch) -> dict[str, Tensor]:
        """Return ``total = bce + lambda * smooth``."""
        probabilities = module(batch.scores, batch.context)
        bce, smooth = log_loss(probabilities, batch), self._smooth(probabilities, batch)
        return {"total": bce + self.config.smooth_weight * smooth, "bce": bce, "smooth": smooth}
