"""SBCR's calibrator: the context draws a rising staircase of straight pieces from (0, 0) to (1, 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.mlp import MLP
from palate.calibrate.neural import NeuralCalibrator
from palate.calibrate.observations import Observations
from palate.calibrate.piecewise import between_knots, mass_knots
from palate.calibrate.training import NeuralConfig
from palate.config import Size
from palate.registry import register

__all__ = ["SBCR", "SBCRConfig", "SBCRModule"]


class SBCRConfig(NeuralConfig):
    """Settings of the SBCR calibrator.

    Attributes:
        segments: Straight pieces of the map; their ends hold equal shares of the scores.
        hidden_sizes: Hidden layers of the network that draws the heights.
        embedding_size: Width of the vector of each context field.
    """

    segments: int = Field(100, ge=1)
    hidden_sizes: tuple[int, ...] = (256, 128, 128)
    embedding_size: int = Field(16, ge=1)
    learning_rate: float = Field(3e-3, gt=0)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"segments": 20, "hidden_sizes": (32, 16), "embedding_size": 4, "epochs": 8, "learning_rate": 1e-2},
        "small": {"hidden_sizes": (64, 64)},
        "base": {"epochs": 20},
    }


class SBCRModule(nn.Module):
    """``p = sum_{j < k} w_j + w_k * (s - a_k) / (a_{k+1} - a_k)``, ``w = softmax(MLP(h(c)))``."""

    def __init__(self, segments: int, embedding: ContextEmbedding, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = embedding
        self.heights = MLP([embedding.width, *hidden_sizes, segments])
        self.register_buffer("knots", torch.empty(segments + 1))

    def forward(self, scores: Tensor, context: Tensor) -> Tensor:
        """Return calibrated probabilities."""
        heights = torch.softmax(self.heights(self.embedding(context)), dim=1)
        segment, fraction = between_knots(scores.clamp(0.0, 1.0), self.get_buffer("knots"))
        at = segment.unsqueeze(1)
        own = heights.gather(1, at).squeeze(1)
        below = heights.cumsum(1).gather(1, at).squeeze(1) - own
        return (below + fraction * own).clamp(0.0, 1.0)


@register("calibrator", "sbcr", source="Zhang et al., CIKM 2024, A self-boosted framework for calibrated ranking")
class SBCR(NeuralCalibrator):
    """The SBCR calibrator: a network of the context chooses the heights of a monotone piecewise-linear map.

    ``p = cumulated softmax heights, read at s``; rising for every context because heights are positive.

    The map is tied to (0, 0) and (1, 1) and every context has all its segments to itself, so rare contexts and
    very small rates are hard for it.

    Example:
        >>> config = SBCRConfig.sized("tiny", epochs=1)
        >>> SBCR(config).fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.5]).shape
        (1,)
    """

    Config = SBCRConfig
    config: SBCRConfig

    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the segments that the scores allow, and the ids of each field."""
        inner = mass_knots(rows.scores, rows.weight, self.config.segments + 1)[1:-1]
        inner = inner[(inner > 0.0) & (inner < 1.0)]
        self._knots = torch.tensor([0.0, *inner, 1.0], dtype=torch.float32)
        return {"segments": len(self._knots) - 1, "context": list(self.context_vocabulary.sizes)}

    def build(self, shape: dict[str, Any]) -> SBCRModule:
        """Return the network of these sizes."""
        embedding = ContextEmbedding([int(size) for size in shape["context"]], self.config.embedding_size)
        return SBCRModule(int(shape["segments"]), embedding, self.config.hidden_sizes)

    def reset(self, module: SBCRModule, rows: Observations, generator: torch.Generator) -> None:
        """Start at the identity: every height is the width of its segment."""
        module.get_buffer("knots").copy_(self._knots)
        module.embedding.reset(self.context_counts(), generator)
        module.heights.reset(generator, output=torch.log(self._knots.diff()))
