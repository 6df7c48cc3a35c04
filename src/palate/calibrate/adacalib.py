"""AdaCalib: per field value, knots guided by its own posterior rates, and a bin number that it picks itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.bins import bin_of, equal_mass_edges
from palate.calibrate.contract import FloatArray
from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.logits import logit
from palate.calibrate.mlp import MLP
from palate.calibrate.neural import NeuralCalibrator, log_loss, log_odds
from palate.calibrate.observations import Observations
from palate.calibrate.piecewise import piecewise_linear
from palate.calibrate.training import Batch, NeuralConfig
from palate.config import Size
from palate.registry import register

__all__ = ["AdaCalib", "AdaCalibConfig", "AdaCalibModule"]


class AdaCalibConfig(NeuralConfig):
    """Settings of AdaCalib.

    Attributes:
        bin_numbers: The numbers of bins to choose from.
        pseudo_rows: Rows of the common rate that are added to each bin of a value.
        hidden_sizes: Hidden layers of the network that corrects the posterior rates.
        embedding_size: Width of the vector of each context value.
        temperature: Temperature of the Gumbel-softmax over the bin numbers.
        order_weight: Weight of ``sum_k max(0, b_k - b_{k+1})``.
    """

    bin_numbers: tuple[int, ...] = (2, 4, 8, 16)
    pseudo_rows: float = Field(20.0, gt=0)
    hidden_sizes: tuple[int, ...] = (32,)
    embedding_size: int = Field(8, ge=1)
    temperature: float = Field(1.0, gt=0)
    order_weight: float = Field(0.1, ge=0)
    learning_rate: float = Field(5e-3, gt=0)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"bin_numbers": (2, 6), "hidden_sizes": (16,), "embedding_size": 4, "epochs": 6},
        "small": {},
        "base": {"bin_numbers": (2, 4, 8, 16, 32), "hidden_sizes": (64, 32), "embedding_size": 16, "epochs": 20},
    }


class AdaCalibModule(nn.Module):
    """``z = mean_f sum_m pick_{f,m} line(logit s; a_m, b_{f,m})``, ``b = logit(posterior) + MLP(posterior, rows, h)``.

    Without a context there is one field with one value.
    """

    def __init__(self, bins: list[int], sizes: list[int], config: AdaCalibConfig) -> None:
        super().__init__()
        self.bins, self.sizes, self.temperature = bins, sizes, config.temperature
        self.embedding = ContextEmbedding(sizes, config.embedding_size)
        self.correct = MLP([3 + config.embedding_size, *config.hidden_sizes, 1])
        self.choice = MLP([config.embedding_size, len(bins)])
        for place, count in enumerate(bins):
            self.register_buffer(f"knots_{place}", torch.empty(count))
            for field, size in enumerate(sizes):
                self.register_buffer(f"posterior_{place}_{field}", torch.empty(size, count))
                self.register_buffer(f"rows_{place}_{field}", torch.empty(size, count))

    def forward(self, scores: Tensor, context: Tensor) -> Tensor:
        """Return calibrated probabilities with the bin number that each value prefers."""
        return self.calibrate(scores, context, None)[0]

    def calibrate(self, scores: Tensor, context: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return probabilities and the order violation; with ``noise`` the bin numbers are sampled."""
        ids = context if context.shape[1] else torch.zeros((len(scores), 1), dtype=torch.int64)
        vectors = self.embedding(ids).view(len(ids), len(self.sizes), -1)
        z, total, violation = log_odds(scores), torch.zeros_like(scores), scores.new_zeros(())
        for field in range(len(self.sizes)):
            values, owner = torch.unique(ids[:, field], return_inverse=True)
            first = torch.zeros(len(values), dtype=torch.int64).scatter_(0, owner, torch.arange(len(owner)))
            vector = vectors[first, field]
            pick = self._pick(vector, noise)
            for place in range(len(self.bins)):
                knots, heights = self.get_buffer(f"knots_{place}"), self._heights(place, field, values, vector)
                line = piecewise_linear(z, knots, heights[owner])
                total = total + pick[owner, place] * line
                violation = violation + (heights[:, :-1] - heights[:, 1:]).clamp(min=0).sum(1).mean()
        return torch.sigmoid(total / len(self.sizes)), violation / len(self.sizes)

    def _heights(self, place: int, field: int, values: Tensor, vector: Tensor) -> Tensor:
        posterior = self.get_buffer(f"posterior_{place}_{field}")[values]
        rows = self.get_buffer(f"rows_{place}_{field}")[values]
        position = torch.linspace(0, 1, self.bins[place], dtype=posterior.dtype).expand_as(posterior)
        guide = torch.stack([posterior, torch.log1p(rows) / 10.0, position], 2)
        spread = vector.unsqueeze(1).expand(-1, self.bins[place], -1)
        correction: Tensor = self.correct(torch.cat([guide, spread], 2).flatten(0, 1))
        return posterior + correction.view_as(posterior)

    def _pick(self, vector: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return one-hot choices ``[values, M]``; sampled ones let the gradient through (straight-through)."""
        logits = self.choice(vector)
        if noise is None:
            return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
        uniform = torch.rand(logits.shape, generator=noise).clamp(1e-9, 1 - 1e-7)
        soft = torch.softmax((logits - torch.log(-torch.log(uniform))) / self.temperature, dim=1)
        hard = torch.nn.functional.one_hot(soft.argmax(1), logits.shape[1]).to(soft.dtype)
        return torch.as_tensor(hard + soft - soft.detach())


@register("calibrator", "adacalib", source="Wei et al., SIGIR 2022, Posterior probability matters")
class AdaCalib(NeuralCalibrator):
    """AdaCalib: piecewise-linear maps per field value, guided by that value's posterior rates.

    ``p = sigmoid(line(logit s; knots, logit(posterior) + MLP(posterior, rows, h(c))))``, the number of bins chosen
    per value by Gumbel-softmax; ``L = BCE + lambda * order``

    Posterior rates are shrunk towards the rate of the bin over all values. Order is asked for, not guaranteed.

    Example:
        >>> config = AdaCalibConfig.sized("tiny", epochs=1)
        >>> AdaCalib(config).fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.5]).shape
        (1,)
    """

    Config = AdaCalibConfig
    config: AdaCalibConfig

    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the bin numbers that the scores allow, and the ids of each field."""
        cuts = {}
        for wanted in self.config.bin_numbers:
            edges = equal_mass_edges(rows.scores, rows.weight, wanted)
            knots = self._knots(rows, edges)
            if len(knots) >= 2:
                cuts[len(knots)] = edges
        self._cuts = cuts or {2: np.array([float(np.median(rows.scores))])}
        return {"bins": list(self._cuts), "context": list(self.context_vocabulary.sizes) or [1]}

    def build(self, shape: dict[str, Any]) -> AdaCalibModule:
        """Return the network of these sizes."""
        return AdaCalibModule(
            [int(count) for count in shape["bins"]], [int(size) for size in shape["context"]], self.config
        )

    def reset(self, module: AdaCalibModule, rows: Observations, generator: torch.Generator) -> None:
        """Set knots and posterior rates, and start with no correction."""
        ids = rows.context if rows.context.shape[1] else np.zeros((len(rows), 1), dtype=np.int64)
        for place, (count, edges) in enumerate(self._cuts.items()):
            knots = self._knots(rows, edges)
            knots = knots if len(knots) == count else np.array([-1.0, 1.0]) + float(logit(rows.scores).mean())
            module.get_buffer(f"knots_{place}").copy_(torch.tensor(knots))
            bins = np.minimum(bin_of(rows.scores, edges), count - 1)
            for field, size in enumerate(module.sizes):
                posterior, mass = self._posterior(rows, ids[:, field] * count + bins, size, count)
                module.get_buffer(f"posterior_{place}_{field}").copy_(torch.tensor(posterior))
                module.get_buffer(f"rows_{place}_{field}").copy_(torch.tensor(mass))
        module.embedding.reset(self.context_counts() or [torch.zeros(0)], generator)
        module.correct.reset(generator)
        module.choice.reset(generator)
        self._noise = torch.Generator().manual_seed(self.config.seed + 2)

    def losses(self, module: AdaCalibModule, batch: Batch) -> dict[str, Tensor]:
        """Return ``total = bce + lambda * order``."""
        probabilities, order = module.calibrate(batch.scores, batch.context, self._noise)
        bce = log_loss(probabilities, batch)
        return {"total": bce + self.config.order_weight * order, "bce": bce, "order": order}

    def _posterior(
        self, rows: Observations, cell: np.ndarray[Any, Any], size: int, count: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return shrunk log-odds and rows of each value and bin, ``[size, count]``; id 0 has the common rates."""
        mass = np.bincount(cell, weights=rows.weight, minlength=size * count).reshape(size, count)
        positives = np.bincount(cell, weights=rows.weight * rows.labels, minlength=size * count).reshape(size, count)
        base = float(np.average(rows.labels, weights=rows.weight))
        common = (positives.sum(0) + base) / (mass.sum(0) + 1.0)
        pseudo = self.config.pseudo_rows
        rate = (positives + pseudo * common) / (mass + pseudo)
        rate[0], mass[0] = common, mass.sum(0)
        return logit(rate), mass.astype(np.float64)

    @staticmethod
    def _knots(rows: Observations, edges: FloatArray) -> FloatArray:
        """Return the mean log-odds of each bin; those that float32 cannot tell apart become one."""
        place = bin_of(rows.scores, edges)
        mass = np.bincount(place, weights=rows.weight)
        sums = np.bincount(place, weights=rows.weight * logit(rows.scores))
        middle = sums[mass > 0] / mass[mass > 0]
        return np.unique(middle.astype(np.float32)).astype(np.float64)
