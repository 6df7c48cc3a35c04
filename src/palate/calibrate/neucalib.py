"""NeuCalib: one learnable piecewise-linear map for all, plus a shift by context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.logits import logit
from palate.calibrate.mlp import MLP
from palate.calibrate.neural import NeuralCalibrator, log_loss, log_odds
from palate.calibrate.observations import Observations
from palate.calibrate.piecewise import mass_knots, piecewise_linear
from palate.calibrate.training import Batch, NeuralConfig
from palate.config import Size
from palate.registry import register

__all__ = ["NeuCalib", "NeuCalibConfig", "NeuCalibModule"]


class NeuCalibConfig(NeuralConfig):
    """Settings of NeuCalib.

    Attributes:
        knots: Knots of the common map.
        knot_places: ``mass`` puts them at quantiles of the log-odds, ``width`` evenly in probability from
            ``1/(K+1)`` to ``K/(K+1)``, which cannot tell rates below one percent apart.
        hidden_sizes: Hidden layers of the shift.
        embedding_size: Width of the vector of each context field.
        order_weight: Weight of ``sum_i max(0, b_i - b_{i+1})``.
    """

    knots: int = Field(100, ge=2)
    knot_places: Literal["mass", "width"] = "mass"
    hidden_sizes: tuple[int, ...] = (128, 64)
    embedding_size: int = Field(8, ge=1)
    order_weight: float = Field(1.0, ge=0)
    learning_rate: float = Field(3e-3, gt=0)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"knots": 20, "hidden_sizes": (16,), "embedding_size": 4, "epochs": 8, "learning_rate": 1e-2},
        "small": {},
        "base": {"hidden_sizes": (256, 128), "embedding_size": 16, "epochs": 20},
    }


class NeuCalibModule(nn.Module):
    """``p = sigmoid(line(z; a, b) + g(h(c)))`` with knots ``a`` fixed and values ``b`` learned."""

    def __init__(self, knots: int, embedding: ContextEmbedding, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = embedding
        self.register_buffer("knots", torch.empty(knots))
        self.values = nn.Parameter(torch.empty(knots))
        self.shift = MLP([embedding.width, *hidden_sizes, 1]) if embedding.width else None

    def forward(self, scores: Tensor, context: Tensor) -> Tensor:
        """Return calibrated probabilities."""
        z = piecewise_linear(log_odds(scores), self.get_buffer("knots"), self.values.unsqueeze(0))
        if self.shift is not None:
            z = z + self.shift(self.embedding(context)).squeeze(1)
        return torch.sigmoid(z)


@register("calibrator", "neucalib", source="Pan et al., WWW 2020, Field-aware calibration")
class NeuCalib(NeuralCalibrator):
    """NeuCalib (field-aware calibration): a common piecewise-linear map and an additive shift by context.

    ``p = sigmoid(line(logit(s)) + MLP(h(c)))``, ``L = BCE + lambda * sum_i max(0, b_i - b_{i+1})``

    The context moves the map up and down but never changes its shape; order is asked for, not guaranteed.

    Example:
        >>> config = NeuCalibConfig.sized("tiny", epochs=1)
        >>> NeuCalib(config).fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.5]).shape
        (1,)
    """

    Config = NeuCalibConfig
    config: NeuCalibConfig

    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the knots that the scores allow, and the ids of each field."""
        if self.config.knot_places == "width":
            knots = logit(np.arange(1, self.config.knots + 1) / (self.config.knots + 1))
        else:
            knots = mass_knots(logit(rows.scores), rows.weight, self.config.knots)
        self._knots = knots
        return {"knots": len(knots), "context": list(self.context_vocabulary.sizes)}

    def build(self, shape: dict[str, Any]) -> NeuCalibModule:
        """Return the network of these sizes."""
        embedding = ContextEmbedding([int(size) for size in shape["context"]], self.config.embedding_size)
        return NeuCalibModule(int(shape["knots"]), embedding, self.config.hidden_sizes)

    def reset(self, module: NeuCalibModule, rows: Observations, generator: torch.Generator) -> None:
        """Start at the identity."""
        knots = torch.tensor(self._knots, dtype=torch.float32)
        with torch.no_grad():
            module.get_buffer("knots").copy_(knots)
            module.values.copy_(knots)
        module.embedding.reset(self.context_counts(), generator)
        if module.shift is not None:
            module.shift.reset(generator)

    def losses(self, module: NeuCalibModule, batch: Batch) -> dict[str, Tensor]:
        """Return ``total = bce + lambda * order``."""
        bce = log_loss(module(batch.scores, batch.context), batch)
        order = (module.values[:-1] - module.values[1:]).clamp(min=0).sum()
        return {"total": bce + self.config.order_weight * order, "bce": bce, "order": order}
