"""DESC: a mixture of fixed monotone shapes, chosen by each field and weighed by a gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.logits import EPSILON
from palate.calibrate.mlp import MLP
from palate.calibrate.neural import NeuralCalibrator, log_odds
from palate.calibrate.observations import Observations
from palate.calibrate.training import NeuralConfig
from palate.config import Size
from palate.registry import register

__all__ = ["DESC", "DESCConfig", "DESCModule", "shapes"]


class DESCConfig(NeuralConfig):
    """Settings of DESC.

    Attributes:
        shapes_per_family: How many powers, scalings and logarithms each; parameters from 0.5 to 2.
        hidden_sizes: Hidden layers of the attention and of the gate.
        embedding_size: Width of the vector of each context field.
    """

    shapes_per_family: int = Field(16, ge=1)
    hidden_sizes: tuple[int, ...] = (64, 32)
    embedding_size: int = Field(16, ge=1)
    epochs: int = Field(20, ge=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"hidden_sizes": (16,), "embedding_size": 4},
        "small": {},
        "base": {"hidden_sizes": (128, 64), "epochs": 40},
    }


def shapes(scores: Tensor, parameters: Tensor) -> Tensor:
    """Return every shape at every score: ``s^g``, ``sigmoid(g logit s)``, ``log(1 + g s) / log(1 + g)``.

    All rise and join (0, 0) with (1, 1).

    Shapes:
        scores: ``[N]``; parameters: ``[J]`` -> ``[N, 3 J]``.
    """
    s = scores.clamp(EPSILON, 1.0 - EPSILON).unsqueeze(1)
    powers = torch.exp(parameters * torch.log(s))
    scalings = torch.sigmoid(parameters * log_odds(scores).unsqueeze(1))
    logarithms = torch.log1p(parameters * s) / torch.log1p(parameters)
    return torch.cat([powers, scalings, logarithms], dim=1)


class DESCModule(nn.Module):
    """``p = sum_f gate_f(c) sum_j attention_{f,j}(c_f) shape_j(s)``, with one more field that is the same for all."""

    def __init__(self, families: int, embedding: ContextEmbedding, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = embedding
        self.fields, self.count = len(embedding.sizes), 3 * families
        self.common = nn.Parameter(torch.empty(self.count))
        inner = embedding.embedding_size
        self.attention = nn.ModuleList([MLP([inner, *hidden_sizes, self.count]) for _ in range(self.fields)])
        self.gate = MLP([embedding.width, *hidden_sizes, self.fields + 1])
        self.register_buffer("parameters_of_shapes", torch.empty(families))

    def forward(self, scores: Tensor, context: Tensor) -> Tensor:
        """Return calibrated probabilities."""
        vectors = self.embedding(context)
        size = self.embedding.embedding_size
        choices = [self.common.expand(len(scores), -1)]
        for place, attention in enumerate(self.attention):
            choices.append(attention(vectors[:, place * size : (place + 1) * size]))
        weights = torch.softmax(torch.stack(choices, 1), dim=2)  # [N, F + 1, 3 J]
        gate = torch.softmax(self.gate(vectors), dim=1).unsqueeze(2)
        return ((weights * gate).sum(1) * shapes(scores, self.get_buffer("parameters_of_shapes"))).sum(1)


@register("calibrator", "desc", source="Yang et al., KDD 2024, Deep ensemble shape calibration")
class DESC(NeuralCalibrator):
    """Deep ensemble shape calibration: each field mixes 48 fixed shapes, and a gate mixes the fields.

    ``p = sum_f gate_f sum_j softmax(attention(h(c_f)))_j shape_j(s)``

    Rising for every context, since every shape rises. The shapes bend by factors of 0.5 to 2, so a base rate that
    is off by more than they reach stays off.

    Example:
        >>> config = DESCConfig.sized("tiny", epochs=1)
        >>> DESC(config).fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.5]).shape
        (1,)
    """

    Config = DESCConfig
    config: DESCConfig

    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the ids of each field."""
        return {"context": list(self.context_vocabulary.sizes)}

    def build(self, shape: dict[str, Any]) -> DESCModule:
        """Return the network of these sizes."""
        embedding = ContextEmbedding([int(size) for size in shape["context"]], self.config.embedding_size)
        return DESCModule(self.config.shapes_per_family, embedding, self.config.hidden_sizes)

    def reset(self, module: DESCModule, rows: Observations, generator: torch.Generator) -> None:
        """Start with all shapes and fields alike."""
        with torch.no_grad():
            parameters = np.geomspace(0.5, 2.0, self.config.shapes_per_family)
            module.get_buffer("parameters_of_shapes").copy_(torch.tensor(parameters))
            module.common.zero_()
        module.embedding.reset(self.context_counts(), generator)
        for network in [*module.attention, module.gate]:
            assert isinstance(network, MLP)
            network.reset(generator)
