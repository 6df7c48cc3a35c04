"""MCNet: monotonic calibration networks, per bin a free monotone function of score and context.

Choices made here (the paper's hyper-parameters are not public; see the documentation page for what is known):

- the axis is the log-odds, so that rates near 1e-3 keep their resolution; the probability axis is an option;
- bins hold equal shares of the rows; by default as many as leave 100 rows of the rarer class in each, up to 20;
- fitting starts at the binning solution (Platt's slope, the observed rate of each bin), not at random offsets;
- the order term is averaged over the sampled contexts and its weight is small: at 1 it wrecks the fit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import ArrayLike
from pydantic import Field
from torch import Tensor, nn

from palate.calibrate.bins import bin_of, equal_mass_edges, weighted_quantile
from palate.calibrate.contract import FloatArray
from palate.calibrate.derivative import Activation, Positive
from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.logits import EPSILON, logit
from palate.calibrate.monotone import RULE, ContextUse, MonotoneBins
from palate.calibrate.neural import NeuralCalibrator, log_odds
from palate.calibrate.observations import IntArray, Observations
from palate.calibrate.regularisers import FieldBalance, order_violation
from palate.calibrate.training import Batch, NeuralConfig
from palate.config import Size
from palate.errors import ConfigError
from palate.registry import register

__all__ = ["PROB_EPSILON", "MCNet", "MCNetConfig", "MCNetModule"]

log = logging.getLogger(__name__)
Axis = Literal["logit", "prob"]
_ROWS_PER_BIN = 100
_PANELS = 64  # at least so many across all bins, so that a single wide bin resolves its curve
_CONTEXTS = 64  # rows whose contexts tell how well an epoch keeps the order
_NARROWEST = 1e-3  # the outermost bins are at least this wide
PROB_EPSILON = 1e-6  # outputs of the probability axis are held inside [this, 1 - this]


class MCNetConfig(NeuralConfig):
    """Settings of MCNet.

    Attributes:
        bins: Number of bins K; ``None`` takes as many (1 to 20) as leave 100 rows of the rarer class in each.
        axis: ``logit`` (integrate and answer in log-odds) or ``prob`` (in probability, then clamp).
        strict: Chain the bins, which makes the map continuous and rising across all of them (not in the paper).
        hidden_size: Units per hidden layer.
        num_layers: Hidden layers of the derivative network.
        embedding_size: Width of the vector of each context field.
        nodes: Intervals of the quadrature in each bin, a multiple of 4; ``None`` takes 16, or more where the bins
            are so few that one is wide.
        activation: Hidden activation of the derivative network.
        positive: What makes the derivative positive: ``elu`` (ELU + 1) or ``softplus``.
        context_use: ``both`` (slope and offset) or ``offset`` (an ablation).
        order_weight: Weight alpha of the order term.
        order_contexts: How many rows of each batch lend their context to the order term.
        balance_weight: Weight beta of the field-balance term.
        balance_field: Index of the context field whose values are to be equally well calibrated.
        balance_mode: ``absolute`` or ``relative`` calibration error of a value.
        balance_decay: Decay of the moving averages; 0 uses the batch alone.
        balance_min_rows: Rows that a value needs to count in the balance term.
    """

    bins: int | None = Field(None, ge=1, le=1000)
    axis: Axis = "logit"
    strict: bool = False
    hidden_size: int = Field(32, ge=1)
    num_layers: int = Field(1, ge=1)
    embedding_size: int = Field(8, ge=1)
    nodes: int | None = Field(None, ge=4, multiple_of=4)
    activation: Activation = "tanh"
    positive: Positive = "elu"
    context_use: ContextUse = "both"
    order_weight: float = Field(0.01, ge=0)
    order_contexts: int = Field(16, ge=1)
    balance_weight: float = Field(0.0, ge=0)
    balance_field: int = Field(0, ge=0)
    balance_mode: Literal["absolute", "relative"] = "absolute"
    balance_decay: float = Field(0.95, ge=0, lt=1)
    balance_min_rows: float = Field(20.0, gt=0)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"hidden_size": 16, "embedding_size": 4, "epochs": 8},
        "small": {},
        "base": {"hidden_size": 64, "embedding_size": 16, "epochs": 20, "batch_size": 4096},
    }


class MCNetModule(nn.Module):
    """Clip, go to the axis, apply the monotone function, come back to a probability.

    Shapes:
        forward: scores ``[B]``, context ids int64 ``[B, F]`` -> probabilities ``[B]``.
    """

    def __init__(self, monotone: MonotoneBins, axis: Axis) -> None:
        super().__init__()
        self.monotone, self.axis = monotone, axis

    def forward(self, scores: Tensor, context: Tensor) -> Tensor:
        """Return calibrated probabilities."""
        return self.link(self.monotone(self.position(scores), context))

    def position(self, scores: Tensor) -> Tensor:
        """Return where each score lies on the axis."""
        return log_odds(scores) if self.axis == "logit" else scores.clamp(EPSILON, 1.0 - EPSILON)

    def link(self, values: Tensor) -> Tensor:
        """Return the probability of values of the monotone function."""
        if self.axis == "logit":
            return torch.sigmoid(values)
        return values.clamp(PROB_EPSILON, 1.0 - PROB_EPSILON)


@register("calibrator", "mcnet", source="Dai et al., WWW 2025, arXiv 2503.00334")
class MCNet(NeuralCalibrator):
    """Monotonic calibration networks: bend freely, never fall, follow the context, treat its values evenly.

    ``p = sigmoid(INT_{a_k}^{u} f1_k(t, h(c)) dt + f2_k(h(c)))``, ``u = logit(s)``, k the bin of s, ``f1_k > 0``

    ``L = BCE(p, y) + alpha * L_order + beta * L_balance``

    Without a context this is MCNet-None, with one field MCNet-Field; several fields are embedded and joined;
    ``bins=1`` is a single global function. Each bin's function rises strictly; across bins the order term asks
    for it softly and ``strict=True`` guarantees it. Unseen and rare context values take the average embedding.

    Choose it when maps are curved or differ by context and there are tens of thousands of rows; below that,
    ``platt`` or ``platt-per-field`` are hard to beat.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.uniform(0.05, 0.95, 3000)
        >>> labels = rng.random(3000) < scores**2
        >>> fitted = MCNet(MCNetConfig.sized("tiny")).fit(scores, labels)
        >>> bool(np.all(np.diff(fitted.predict([0.2, 0.4, 0.6, 0.8])) > 0))
        True
    """

    Config = MCNetConfig
    config: MCNetConfig

    def __init__(self, config: MCNetConfig | None = None) -> None:
        super().__init__(config)
        self._balance: FieldBalance | None = None
        self._edges: FloatArray = np.zeros(0)
        self._contexts = torch.zeros((0, 0), dtype=torch.int64)

    def fit(
        self,
        scores: ArrayLike,
        labels: ArrayLike,
        context: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the map from held-out rows.

        Raises:
            DataError: If the columns are not finite, not of one length, or have one class only.
            ConfigError: If ``balance_field`` is not among the context fields.
        """
        fields = 0 if context is None else (1 if np.ndim(context) < 2 else np.shape(context)[1])
        if fields and self.config.balance_weight and self.config.balance_field >= fields:
            raise ConfigError(
                f"balance_field = {self.config.balance_field}, but the context has {fields} fields.",
                remedy="Fields are counted from 0.",
            )
        return super().fit(scores, labels, context, weight)

    def shape(self, rows: Observations) -> dict[str, Any]:
        """Return the number of bins that the scores allow, and the ids of each context field."""
        positives = int(rows.labels.sum())
        rarer = min(positives, len(rows) - positives)
        wanted = self.config.bins or min(max(rarer // _ROWS_PER_BIN, 1), 20)
        if wanted > 1 and rarer / wanted < _ROWS_PER_BIN:
            log.warning(
                "MCNet: %d bins leave %.0f rows of the rarer class in each; below %d the bins separate noise.",
                *(wanted, rarer / wanted, _ROWS_PER_BIN),
            )
        self._edges = self._cut(rows, wanted)
        bins = len(self._edges) + 1
        if self.config.bins and bins < self.config.bins:
            log.warning("MCNet: equal scores leave %d of %d bins.", bins, self.config.bins)
        nodes = self.config.nodes or max(16, RULE * math.ceil(_PANELS / bins))
        return {"bins": bins, "nodes": nodes, "context": list(self.context_vocabulary.sizes)}

    def build(self, shape: dict[str, Any]) -> MCNetModule:
        """Return the network of these sizes."""
        config = self.config
        monotone = MonotoneBins(
            int(shape["bins"]),
            ContextEmbedding([int(size) for size in shape["context"]], config.embedding_size),
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
            nodes=int(shape["nodes"]),
            activation=config.activation,
            positive=config.positive,
            context_use=config.context_use,
            strict=config.strict,
        )
        return MCNetModule(monotone, config.axis)

    def reset(self, module: MCNetModule, rows: Observations, generator: torch.Generator) -> None:
        """Start at the binning solution: the slope of all rows, and in each bin the offset of its observed rate."""
        monotone = module.monotone
        position, edges = self._on_axis(rows.scores), self._edges
        lowest = min([weighted_quantile(position, rows.weight, 0.001), *(edges[:1] - _NARROWEST)])
        highest = max(
            [weighted_quantile(position, rows.weight, 0.999), *(edges[-1:] + _NARROWEST), lowest + _NARROWEST]
        )
        centre = float(np.average(position, weights=rows.weight))
        scale = float(np.sqrt(np.average((position - centre) ** 2, weights=rows.weight))) or 1.0
        monotone.get_buffer("limits").copy_(torch.tensor([lowest, *edges, highest]))
        monotone.embedding.reset(self.context_counts(), generator)
        slope = self._common_slope(rows, position - centre)
        monotone.slope.reset(centre, scale, generator, start=slope)
        offsets = self._offsets(rows, bin_of(position, edges), slope * position, slope * np.append(lowest, edges))
        monotone.offset.reset(torch.tensor(offsets, dtype=torch.float32), generator)
        self._contexts = torch.tensor(rows.context[:_CONTEXTS])
        config = self.config
        self._balance = None
        if config.balance_weight and module.monotone.embedding.width:
            self._balance = FieldBalance(
                self.context_vocabulary.sizes[config.balance_field],
                mode=config.balance_mode,
                decay=config.balance_decay,
                min_rows=config.balance_min_rows,
            )

    def losses(self, module: MCNetModule, batch: Batch) -> dict[str, Tensor]:
        """Return ``total = bce + alpha * order + beta * balance`` and its parts."""
        config, monotone = self.config, module.monotone
        values = monotone(module.position(batch.scores), batch.context)
        probabilities = module.link(values)
        if config.axis == "logit":
            each = functional.binary_cross_entropy_with_logits(values, batch.labels, reduction="none")
        else:
            each = functional.binary_cross_entropy(probabilities, batch.labels, reduction="none")
        terms = {"bce": (batch.weight * each).sum() / batch.weight.sum()}
        total = terms["bce"]
        if self._ordered(module):
            below, above = monotone.edge_values(batch.context[: config.order_contexts])
            terms["order"] = order_violation(module.link(below), module.link(above))
            total = total + config.order_weight * terms["order"]
        if self._balance is not None:
            ids = batch.context[:, config.balance_field]
            terms["balance"] = self._balance(probabilities, batch.labels, batch.weight, ids)
            terms["balance_values"] = torch.tensor(float(self._balance.eligible))
            total = total + config.balance_weight * terms["balance"]
        return {"total": total, **terms}

    @torch.no_grad()
    def penalty(self, module: MCNetModule) -> float:
        """Return ``alpha * L_order``: of two epochs as good as each other, the one that keeps the order is kept."""
        if not self._ordered(module):
            return 0.0
        below, above = module.monotone.edge_values(self._contexts)
        return self.config.order_weight * float(order_violation(module.link(below), module.link(above)))

    def _ordered(self, module: MCNetModule) -> bool:
        """Return whether the order term has something to do."""
        return bool(self.config.order_weight) and not self.config.strict and module.monotone.bins > 1

    def _cut(self, rows: Observations, bins: int) -> FloatArray:
        """Return the inner edges on the axis; those that float32 cannot tell apart become one."""
        edges = self._on_axis(equal_mass_edges(rows.scores, rows.weight, bins))
        return np.unique(edges.astype(np.float32)).astype(np.float64)

    def _on_axis(self, scores: FloatArray) -> FloatArray:
        return np.asarray(logit(scores) if self.config.axis == "logit" else scores)

    def _common_slope(self, rows: Observations, position: FloatArray) -> float:
        """Return the slope of the straight line through all rows: Platt's, or of least squares in probability."""
        if self.config.axis == "logit":
            slopes, _ = fit_increasing_logistic(position[:, None], rows.labels, rows.weight, start=np.ones(1))
            found = float(slopes[0])
        else:
            square = float(rows.weight @ position**2)
            found = float(rows.weight @ (position * rows.labels)) / square if square > 0 else 1.0
        return min(max(found, 0.05), 10.0)

    def _offsets(self, rows: Observations, bins: IntArray, position: FloatArray, lower: FloatArray) -> FloatArray:
        """Return ``link^-1(rate of bin k) - (mean position in bin k - a_k)``, held within 10 of zero.

        Position and lower limits come multiplied by the common slope.
        """
        count = len(lower)
        mass = np.bincount(bins, weights=rows.weight, minlength=count)
        base = float(np.average(rows.labels, weights=rows.weight))
        # one imagined row of the base rate per bin keeps a bin of one class finite
        rate = (np.bincount(bins, weights=rows.weight * rows.labels, minlength=count) + base) / (mass + 1.0)
        middle = np.bincount(bins, weights=rows.weight * position, minlength=count) / np.maximum(mass, 1e-12)
        shift = self._on_axis(rate) - middle
        if self.config.strict:
            shift, lower = np.array([np.average(shift, weights=mass)]), lower[:1]
        return np.asarray(np.clip(shift + lower, -10.0, 10.0))
