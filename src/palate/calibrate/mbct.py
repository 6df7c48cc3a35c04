"""MBCT: boosted trees whose leaves multiply the probability, kept while a multi-view error falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from palate.calibrate.bins import bin_of, equal_mass_edges
from palate.calibrate.contract import FloatArray
from palate.calibrate.learned import Arrays, LearnedCalibrator
from palate.calibrate.logits import clip
from palate.calibrate.observations import IntArray, Observations
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["MBCT", "MBCTConfig"]


class MBCTConfig(ModelConfig):
    """Settings of MBCT.

    Attributes:
        trees: Trees at most.
        depth: Depth of each tree.
        score_bins: Bins of equal mass at whose edges the score may be split.
        shrinkage: Share of each leaf's correction that is applied.
        pseudo_rows: Expected positives that are added to both sides of a leaf's ratio.
        min_rows: Rows that a leaf needs.
        views: Random partitions in the multi-view error.
        validation_share: Share of the rows that decides how many trees stay.
        min_count: Context values with fewer rows are treated as unseen.
        seed: Seed of the split and of the views.
    """

    trees: int = Field(40, ge=1)
    depth: int = Field(3, ge=1, le=8)
    score_bins: int = Field(32, ge=1)
    shrinkage: float = Field(0.5, gt=0, le=1)
    pseudo_rows: float = Field(2.0, gt=0)
    min_rows: float = Field(50.0, ge=1)
    views: int = Field(50, ge=1)
    validation_share: float = Field(0.2, ge=0, lt=1)
    min_count: int = Field(20, ge=1)
    seed: int = 0


BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class _Split:
    """Rows whose category (a score bin or a context value) is in ``left`` go left."""

    column: int
    left: BoolArray


@register("calibrator", "mbct", source="Huang et al., WWW 2022, arXiv 2202.04348")
class MBCT(LearnedCalibrator):
    """Multiple boosting calibration trees: each tree bins rows by score and context, each leaf scales its rows.

    ``p_t = p_{t-1} * r_{leaf_t}``, ``r = ((sum w y + k) / (sum w p + k))^shrinkage``

    A split is chosen so that the children show the largest calibration error,
    ``sum_child |sum w (y - p)|``, which a partition of only the score cannot show. Trees are kept up to the number at
    which the multi-view error of held-out rows is lowest. The map is not monotone in the score; that is the
    method's design.

    Example:
        >>> MBCT(MBCTConfig(trees=2)).fit([0.2, 0.3, 0.6, 0.8] * 50, [0, 0, 1, 1] * 50).predict([0.7]).shape
        (1,)
    """

    Config = MBCTConfig
    uses_context = True
    array_names = ("edges", "columns", "left", "ratios")
    config: MBCTConfig

    def learn(self, rows: Observations) -> Arrays:
        """Grow trees on one part of the rows and let the other decide how many stay."""
        config = self.config
        rng = np.random.default_rng(config.seed)
        edges = equal_mass_edges(rows.scores, rows.weight, config.score_bins)
        categories = np.column_stack([bin_of(rows.scores, edges), rows.context])
        sizes = [len(edges) + 1, *self.context_vocabulary.sizes]
        held = rng.permutation(len(rows)) < int(len(rows) * config.validation_share)
        held = held if held.sum() >= 200 else np.zeros(len(rows), dtype=bool)
        views = [self._view(categories[held], sizes, rng) for _ in range(config.views)] if held.any() else []
        p = rows.scores.copy()
        columns, lefts, ratios = [], [], []
        errors = [self._multi_view_error(p[held], rows.take(held), views)]
        for _ in range(config.trees):
            splits, leaf = self._grow(rows, p, categories, sizes, ~held)
            ratio = self._leaf_ratios(rows, p, leaf, ~held)
            p = clip(p * ratio[leaf])
            columns.append([split.column for split in splits])
            lefts.append(np.stack([split.left for split in splits]))
            ratios.append(ratio)
            errors.append(self._multi_view_error(p[held], rows.take(held), views))
        keep = int(np.argmin(errors)) if views else config.trees
        nodes = 2**config.depth - 1
        return {
            "edges": edges,
            "columns": np.array(columns[:keep], dtype=np.int64).reshape(-1, nodes),
            "left": np.array(lefts[:keep], dtype=np.uint8).reshape(-1, nodes, max(sizes)),
            "ratios": np.array(ratios[:keep], dtype=np.float64).reshape(-1, 2**config.depth),
        }

    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Send each row down each tree."""
        categories = np.column_stack([bin_of(scores, learned["edges"]), context])
        p, rows = scores.copy(), np.arange(len(scores))
        for columns, left, ratios in zip(learned["columns"], learned["left"], learned["ratios"], strict=True):
            node = np.zeros(len(scores), dtype=np.int64)
            while node[0] < len(columns):
                goes_left = left[node, categories[rows, columns[node]]].astype(bool)
                node = 2 * node + np.where(goes_left, 1, 2)
            p = clip(p * ratios[node - len(columns)])
        return p

    def _grow(
        self, rows: Observations, p: FloatArray, categories: IntArray, sizes: list[int], use: BoolArray
    ) -> tuple[list[_Split], IntArray]:
        """Return the splits of a full binary tree, level by level, and the leaf of every row."""
        node, splits = np.zeros(len(rows), dtype=np.int64), []
        inner = 2**self.config.depth - 1
        for place in range(inner):
            here = node == place
            split = self._best_split(rows, p, categories, sizes, here & use)
            splits.append(split)
            goes_left = split.left[categories[:, split.column]]
            node[here] = 2 * place + np.where(goes_left[here], 1, 2)
        return splits, node - inner

    def _best_split(
        self, rows: Observations, p: FloatArray, categories: IntArray, sizes: list[int], here: BoolArray
    ) -> _Split:
        """Return the split whose children show most error; everything left where none may be made."""
        best, shown = _Split(0, np.ones(max(sizes), dtype=bool)), -1.0
        weight = rows.weight[here]
        for column, size in enumerate(sizes):
            value = categories[here, column]
            mass = np.bincount(value, weights=weight, minlength=size)
            gap = np.bincount(value, weights=weight * (rows.labels[here] - p[here]), minlength=size)
            # the score keeps its order; the values of a field are lined up by their error
            order = np.arange(size) if column == 0 else np.argsort(gap / np.maximum(mass, 1e-12), kind="stable")
            below, error = np.cumsum(mass[order])[:-1], np.cumsum(gap[order])[:-1]
            enough = (below >= self.config.min_rows) & (mass.sum() - below >= self.config.min_rows)
            if not enough.any():
                continue
            found = np.where(enough, np.abs(error) + np.abs(gap.sum() - error), -1.0)
            cut = int(np.argmax(found))
            if found[cut] > shown + 1e-12:
                left = np.zeros(max(sizes), dtype=bool)
                left[order[: cut + 1]] = True
                best, shown = _Split(column, left), float(found[cut])
        return best

    def _leaf_ratios(self, rows: Observations, p: FloatArray, leaf: IntArray, use: BoolArray) -> FloatArray:
        count, pseudo = 2**self.config.depth, self.config.pseudo_rows
        observed = np.bincount(leaf[use], weights=(rows.weight * rows.labels)[use], minlength=count)
        predicted = np.bincount(leaf[use], weights=(rows.weight * p)[use], minlength=count)
        return np.asarray(((observed + pseudo) / (predicted + pseudo)) ** self.config.shrinkage)

    @staticmethod
    def _view(categories: IntArray, sizes: list[int], rng: np.random.Generator) -> IntArray:
        """Return a random partition of the rows into 16 cells: four random halves of random columns."""
        cell = np.zeros(len(categories), dtype=np.int64)
        for _ in range(4):
            column = int(rng.integers(len(sizes)))
            if column == 0:
                half = np.arange(sizes[0]) < rng.integers(1, sizes[0] + 1)
            else:
                half = rng.random(sizes[column]) < 0.5
            cell = 2 * cell + half[categories[:, column]]
        return cell

    @staticmethod
    def _multi_view_error(p: FloatArray, rows: Observations, views: list[IntArray]) -> float:
        """Return the mean over the views of ``sum_cell |sum w (y - p)| / sum w``."""
        if not views:
            return 0.0
        gap = rows.weight * (rows.labels - p)
        errors = [np.abs(np.bincount(view, weights=gap)).sum() for view in views]
        return float(np.mean(errors) / rows.weight.sum())
