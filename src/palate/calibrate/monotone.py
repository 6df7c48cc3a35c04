"""The monotone function of MCNet: per bin, the integral of a positive network plus an offset network.

``f_k(u, c) = INT_{a_k}^{u} f1_k(t, h(c)) dt + f2_k(h(c))``

``f1_k > 0`` makes ``f_k`` rise strictly in u, and nothing else restricts its shape. How the integral is computed
decides whether that survives: the usual rule moves its nodes along with u, and where f1 is nearly zero its estimate
can fall by the error of the rule. Here the nodes stand still. Each bin is cut into panels; the area of a panel is a
Clenshaw-Curtis sum of positive terms, and inside a panel a rational quadratic with the areas and slopes of f1 at
both ends carries on. So the *computed* map rises for every weight, activation and number of nodes. Since the nodes
depend on bin and context only, rows that share both share the work.

Beyond the outermost scores that were seen (0.1 % and 99.9 % quantile) f1 keeps its last value: the map goes on as a
straight line instead of an extrapolated network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from palate.calibrate.derivative import Activation, Offset, Positive, PositiveDerivative
from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.quadrature import panel_rule
from palate.calibrate.spline import rational_quadratic
from palate.calibrate.stacked import per_row

__all__ = ["RULE", "ContextUse", "MonotoneBins"]

ContextUse = Literal["both", "offset"]
RULE = 4  # intervals of the Clenshaw-Curtis rule inside a panel


class MonotoneBins(nn.Module):
    """The hybrid map: a monotone function per bin, with the context in slope and offset.

    With ``strict`` only the first bin has an offset and each further bin starts where the one before ended,
    ``f_k(u, c) = f_{k-1}(e_{k-1}, c) + INT_{e_{k-1}}^{u} f1_k dt``, which makes the map continuous and rising
    across the whole axis.

    Args:
        bins: Number of bins K.
        embedding: Vectors of the context values.
        hidden_size: Units per hidden layer of f1, and of f2.
        num_layers: Hidden layers of f1.
        nodes: Quadrature intervals per bin, a multiple of 4.
        activation: Hidden activation of f1.
        positive: Last activation of f1.
        context_use: ``both``, or ``offset`` to keep the context out of f1 (an ablation: shifts, no shapes).
        strict: Chain the bins.

    Shapes:
        forward: positions on the axis ``u [N]``, context ids int64 ``[N, F]`` -> ``[N]``.
    """

    def __init__(
        self,
        bins: int,
        embedding: ContextEmbedding,
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        nodes: int = 16,
        activation: Activation = "tanh",
        positive: Positive = "elu",
        context_use: ContextUse = "both",
        strict: bool = False,
    ) -> None:
        super().__init__()
        self.bins, self.strict, self.context_use, self.embedding = bins, strict, context_use, embedding
        slope_width = embedding.width if context_use == "both" else 0
        self.slope = PositiveDerivative(bins, slope_width, hidden_size, num_layers, activation, positive)
        self.offset = Offset(1 if strict else bins, embedding.width, hidden_size)
        self.panels = nodes // RULE
        points, rule = panel_rule(self.panels, RULE)
        self.points, self.rule = (torch.tensor(part, device="cpu") for part in (points, rule))
        self.register_buffer("limits", torch.empty(bins + 1))

    @property
    def edges(self) -> Tensor:
        """The inner edges of the bins, ``[K - 1]``."""
        return self.get_buffer("limits")[1:-1]

    def bin_of(self, position: Tensor) -> Tensor:
        """Return the bin of each position, int64 ``[N]``; an edge belongs to the bin above it."""
        return (position.unsqueeze(1) >= self.edges).sum(1)

    def forward(self, position: Tensor, context: Tensor) -> Tensor:
        """Return ``f(u, c)``."""
        return self.value(position, self.bin_of(position), context)

    def value(self, position: Tensor, bins: Tensor, context: Tensor) -> Tensor:
        """Return ``f_k(u, c)`` of the named bins; beyond its own edges a bin goes on as a straight line."""
        if self.strict:
            distinct, owner = _distinct(context, self.embedding.sizes)
            means, slopes = self._areas(*self._all_bins(distinct))
            pair = owner * self.bins + bins
            start = per_row(self._starts(distinct, means).reshape(-1, 1), pair).squeeze(1)
            return start + self._rise(position, bins, per_row(means, pair), per_row(slopes, pair))
        pairs, owner = _distinct(torch.cat([bins.unsqueeze(1), context], dim=1), (self.bins, *self.embedding.sizes))
        means, slopes = self._areas(pairs[:, 0], self.embedding(pairs[:, 1:]))
        start = per_row(self.offset(pairs[:, 0], self.embedding(pairs[:, 1:])).unsqueeze(1), owner).squeeze(1)
        return start + self._rise(position, bins, per_row(means, owner), per_row(slopes, owner))

    def integral(self, position: Tensor, bins: Tensor, vectors: Tensor) -> Tensor:
        """Return ``INT_{a_k}^{u} f1_k(t, h) dt`` for context vectors ``[N, E]``, one per row."""
        return self._rise(position, bins, *self._areas(bins, vectors))

    def derivative(self, position: Tensor, bins: Tensor, context: Tensor) -> Tensor:
        """Return ``f1_k(u, h(c))`` itself, always above zero."""
        left, right = self._ends(bins)
        inside = torch.minimum(torch.maximum(position, left), right)
        vectors = self._slope_context(self.embedding(context))
        return torch.as_tensor(self.slope(inside.unsqueeze(1), bins, vectors)).squeeze(1)

    def edge_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value on each inner edge as the bin below and the bin above see it, both ``[C, K - 1]``.

        Shapes:
            context: ids int64 ``[C, F]``.
        """
        bins, vectors = self._all_bins(context)
        means, _ = self._areas(bins, vectors)
        shape = (len(context), self.bins)
        starts = self._starts(context, means) if self.strict else self.offset(bins, vectors).view(shape)
        ends = starts + self._bin_areas(means).view(shape)
        return ends[:, :-1], starts[:, 1:]

    def _areas(self, bins: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of f1 over each panel ``[M, P]`` and f1 at the panels' ends ``[M, P + 1]``."""
        left, right = self._ends(bins)
        points = left.unsqueeze(1) + (right - left).unsqueeze(1) * self.points.to(left)
        slopes = self.slope(points, bins, self._slope_context(vectors))
        return slopes @ self.rule.to(left), slopes[:, ::RULE]

    def _rise(self, position: Tensor, bins: Tensor, means: Tensor, slopes: Tensor) -> Tensor:
        """Return how far the map of each row has risen since its bin began, ``[N]``."""
        left, right = self._ends(bins)
        inside = torch.minimum(torch.maximum(position, left), right)
        width = (right - left) / self.panels
        steps = (inside - left) / width
        panel = steps.detach().floor().clamp(0, self.panels - 1)
        at = panel.to(torch.int64).unsqueeze(1)
        mean, before, after = (_pick(part, at + shift) for part, shift in ((means, 0), (slopes, 0), (slopes, 1)))
        passed = _pick(torch.cumsum(means, 1), at) - mean
        rise = width * (passed + rational_quadratic((steps - panel).clamp(0.0, 1.0), mean, before, after))
        outer = torch.where(position < left, slopes[:, 0], slopes[:, -1])
        return rise + (position - inside) * outer

    def _starts(self, context: Tensor, means: Tensor) -> Tensor:
        """Return where each bin begins when the bins are chained, ``[C, K]``."""
        count = len(context)
        first = self.offset(torch.zeros(count, dtype=torch.int64), self.embedding(context)).unsqueeze(1)
        areas = self._bin_areas(means).view(count, self.bins)
        return torch.cat([first, first + areas[:, :-1].cumsum(1)], dim=1)

    def _bin_areas(self, means: Tensor) -> Tensor:
        """Return the integral over the whole bin, ``[C * K]``, from the means of all bins in turn."""
        limits = self.get_buffer("limits")
        return means.mean(1) * (limits[1:] - limits[:-1]).repeat(len(means) // self.bins)

    def _all_bins(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return every bin for every context: bins ``[C * K]`` and vectors ``[C * K, E]``."""
        vectors = self.embedding(context).repeat_interleave(self.bins, 0)
        return torch.arange(self.bins).repeat(len(context)), vectors

    def _ends(self, bins: Tensor) -> tuple[Tensor, Tensor]:
        limits = self.get_buffer("limits")
        return limits[bins], limits[bins + 1]

    def _slope_context(self, vectors: Tensor) -> Tensor:
        return vectors if self.context_use == "both" else vectors[:, :0]


def _pick(table: Tensor, at: Tensor) -> Tensor:
    return table.gather(1, at).squeeze(1)


def _distinct(rows: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of ids ``[N, F]``, column f below ``sizes[f]``, and which of them each row is."""
    if not sizes:
        return rows[:1], torch.zeros(len(rows), dtype=torch.int64)
    strides = [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]
    if strides[0] * sizes[0] >= 2**62:  # too many combinations for one number
        distinct, owner = torch.unique(rows, dim=0, return_inverse=True)
        return distinct, owner
    keys, owner = torch.unique((rows * torch.tensor(strides)).sum(1), return_inverse=True)
    return torch.stack([keys // stride % size for stride, size in zip(strides, sizes, strict=True)], 1), owner
