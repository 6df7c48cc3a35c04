"""Scores whose true probabilities are known: sixty contexts with straight, S-shaped and flattened maps.

The base model's log-odds are ``z ~ N(-1.6, 1.1)``. The truth depends on the context value v, one third each of

- ``a_v z + b_v`` (straight),
- ``a_v (z + 0.8 bend tanh(1.5 (z + 1.5))) + b_v - 0.3`` (steep in the middle),
- ``a_v (z - 0.8 bend tanh(1.5 (z + 1))) + b_v + 0.2`` (flat in the middle),

with ``b_v ~ N(0, 0.45)`` and ``a_v = exp(N(0, 0.25))``. Shares of the values are Dirichlet. With further fields, each
of their values multiplies the slope and adds an offset of its own, drawn alike, and every pair of a first and a second
field's value adds ``N(0, pair_spread)``, which no sum over fields can express. The true probability is for judging
only; no calibrator may see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from scipy.special import expit

from palate.config import Config

__all__ = ["PlantedConfig", "PlantedRows", "PlantedWorld"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


class PlantedConfig(Config):
    """Settings of the world.

    Attributes:
        values: Number of context values (of the first field).
        more_fields: Numbers of values of further context fields.
        pair_spread: Standard deviation of what a pair of values of the first two fields adds.
        concentration: Dirichlet parameter of their shares; smaller makes rare values rarer.
        offset_spread: Standard deviation of the offsets ``b_v``.
        slope_spread: Standard deviation of ``log a_v``.
        bend: How curved the maps are: 1 is the published setting, 0 makes every map straight.
        seed: Seed of the world; rows have seeds of their own.
    """

    values: int = Field(60, ge=1)
    more_fields: tuple[int, ...] = ()
    pair_spread: float = Field(0.0, ge=0)
    concentration: float = Field(0.6, gt=0)
    offset_spread: float = Field(0.45, ge=0)
    slope_spread: float = Field(0.25, ge=0)
    bend: float = Field(1.0, ge=0)
    seed: int = 0


@dataclass(frozen=True)
class PlantedRows:
    """Rows drawn from the world.

    Shapes:
        scores, truth: float64 ``[N]``; labels: int64 ``[N]``; context: int64 ``[N]``, or ``[N, F]`` of several fields.
    """

    scores: FloatArray
    labels: IntArray
    context: IntArray
    truth: FloatArray


class PlantedWorld:
    """A fixed assignment of shares and maps to context values, from which rows are drawn.

    Example:
        >>> rows = PlantedWorld(PlantedConfig(seed=1)).draw(1000, seed=2)
        >>> rows.scores.shape, bool((rows.truth > 0).all())
        ((1000,), True)
    """

    def __init__(self, config: PlantedConfig | None = None) -> None:
        self.config = config or PlantedConfig()
        rng = np.random.default_rng([self.config.seed, 0])
        values = self.config.values
        self.shares = rng.dirichlet(np.full(values, self.config.concentration))
        self.offsets = rng.normal(0.0, self.config.offset_spread, values)
        self.slopes = np.exp(rng.normal(0.0, self.config.slope_spread, values))
        self.kinds = rng.permutation(np.arange(values) % 3)
        rng = np.random.default_rng([self.config.seed, 2])
        self.more = [self._further(count, rng) for count in self.config.more_fields]
        second = self.config.more_fields[0] if self.more else 1
        self.pairs = rng.normal(0.0, self.config.pair_spread, (values, second))

    def true_logits(self, logits: FloatArray, context: IntArray) -> FloatArray:
        """Return the true log-odds of rows with base log-odds ``logits [N]`` in ``context [N]`` or ``[N, F]``."""
        table = context.reshape(len(context), -1)
        context, others = table[:, 0], table[:, 1:].T
        kind, bend = self.kinds[context], 0.8 * self.config.bend
        steep = logits + bend * np.tanh(1.5 * (logits + 1.5))
        flat = logits - bend * np.tanh(1.5 * (logits + 1.0))
        shape = np.select([kind == 0, kind == 1], [logits, steep], flat)
        extra = np.select([kind == 0, kind == 1], [0.0, -0.3], 0.2)
        slope, offset = self.slopes[context], self.offsets[context] + extra
        for value, (_, slopes, offsets) in zip(others, self.more, strict=True):
            slope, offset = slope * slopes[value], offset + offsets[value]
        if self.more:
            offset = offset + self.pairs[context, others[0]]
        return np.asarray(slope * shape + offset)

    def draw(self, rows: int, seed: int) -> PlantedRows:
        """Draw ``rows`` rows; the same seed gives the same rows."""
        rng = np.random.default_rng([self.config.seed, 1, seed])
        context = rng.choice(self.config.values, size=rows, p=self.shares)
        logits = rng.normal(-1.6, 1.1, rows)
        if self.more:
            further = [rng.choice(len(shares), size=rows, p=shares) for shares, _, _ in self.more]
            context = np.stack([context, *further], axis=1)
        truth = expit(self.true_logits(logits, context))
        labels = (rng.random(rows) < truth).astype(np.int64)
        return PlantedRows(expit(logits), labels, context.astype(np.int64), truth)

    def _further(self, values: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return shares, slopes and offsets of a further field."""
        shares = rng.dirichlet(np.full(values, self.config.concentration))
        slopes = np.exp(rng.normal(0.0, self.config.slope_spread, values))
        return shares, slopes, rng.normal(0.0, self.config.offset_spread, values)
