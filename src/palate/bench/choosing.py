"""Choosing on the validation part alone: the same budget for every model, and cross-fitting for calibrators."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from palate.calibrating import chances
from palate.fitting import fit_next_item, fit_ranker
from palate.rank_recommender import logits_of

if TYPE_CHECKING:
    from palate.data.context_columns import ContextColumns
    from palate.next_item_recommender import NextItemRecommender
    from palate.rank_recommender import RankRecommender
    from palate.tasks import NextItemTask, RankTask
    from palate.train.progress import Progress, Task

__all__ = ["CalibratorChoice", "RankerTrial", "choose_calibrator", "train_next_item", "tune_ranker"]


@dataclass(frozen=True)
class RankerTrial:
    """One ranker after its search.

    Attributes:
        recommender: The best of its trials, by validation AUC.
        embedding_l2: The regularisation that it was found with.
        seconds: Time of the whole search.
    """

    recommender: RankRecommender
    embedding_l2: float
    seconds: float


def tune_ranker(
    task: RankTask,
    model: str,
    grid: Sequence[float],
    *,
    seed: int,
    training: Mapping[str, Any],
    progress: Progress | None = None,
) -> RankerTrial:
    """Train a ranker once for each regularisation of ``grid`` and keep the one with the best validation AUC."""
    from palate.evaluate.auc import auc

    table = task.tables["validation"]
    assert table.labels is not None
    started = time.perf_counter()
    best, best_auc, best_l2 = None, -math.inf, grid[0]
    for embedding_l2 in grid:
        settings = {**training, "embedding_l2": embedding_l2}
        trial = fit_ranker(task, model, seed=seed, training=settings, progress=progress, judged=False)
        reached = auc(logits_of(trial.model, table), table.labels)
        if reached > best_auc:
            best, best_auc, best_l2 = trial, reached, embedding_l2
    assert best is not None
    return RankerTrial(best, best_l2, time.perf_counter() - started)


def train_next_item(
    task: NextItemTask, model: str, *, seed: int, training: Mapping[str, Any], progress: Progress | None = None
) -> NextItemRecommender:
    """Train one next-item model; the test part stays unread."""
    return fit_next_item(task, model, seed=seed, training=training, progress=progress, judged=False)


@dataclass(frozen=True)
class CalibratorChoice:
    """The calibrator of the lowest cross-fitted log loss on the validation part.

    Attributes:
        method: Its name, or ``none`` when no calibrator helps.
        log_losses: Cross-fitted log loss of every method tried, ``none`` included; a method that sees a context is
            called ``METHOD by COLUMN``.
        context: Columns that it looks at beside the score.
    """

    method: str
    log_losses: Mapping[str, float]
    context: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name in ``log_losses``."""
        return _label(self.method, self.context)


def choose_calibrator(
    ranker: RankRecommender,
    task: RankTask,
    methods: Sequence[str],
    *,
    seed: int,
    contextual: Sequence[str] = (),
    context: ContextColumns | None = None,
    shown: Task | None = None,
) -> CalibratorChoice:
    """Try calibrators on the validation part: fitted on half of its users, judged on the other half, and back.

    A calibrator that is judged on the rows it was fitted on always seems to help; two halves of different users
    show whether it does.

    Args:
        ranker: The ranker whose scores are calibrated.
        task: Its log; the validation part is used.
        methods: Names of calibrators to try on the score alone.
        seed: Seed of the two halves.
        contextual: Names of calibrators to try with the context as well.
        context: The context.
        shown: Progress that advances by one for each method.
    """
    from palate.evaluate.classification import log_loss

    table = task.tables["validation"]
    assert table.labels is not None
    scores, labels = chances(logits_of(ranker.model, table)), table.labels
    groups = np.arange(len(labels)) if table.users is None else table.users
    halves = np.random.default_rng(seed).random(int(groups.max(initial=0)) + 1)[groups] < 0.5
    trials: list[tuple[str, tuple[str, ...]]] = [(method, ()) for method in methods]
    if context is not None:
        trials += [(method, context.names) for method in contextual]
    losses, best = {"none": log_loss(scores, labels)}, CalibratorChoice("none", {})
    for method, names in trials:
        tokens = ranker.held_out_context(context, task.dataset, "validation") if names else None
        predicted = _cross_fitted(method, scores, labels, halves, tokens)
        losses[_label(method, names)] = log_loss(predicted, labels)
        if losses[_label(method, names)] < losses[best.label]:
            best = CalibratorChoice(method, {}, names)
        if shown is not None:
            shown.advance(latest=_label(method, names))
    return CalibratorChoice(best.method, losses, best.context)


def _cross_fitted(method: str, scores: Any, labels: Any, halves: Any, context: Any) -> Any:
    """Return probabilities of every row from a calibrator that was fitted on the other half."""
    from palate.registry import find

    factory: Any = find("calibrator", method).factory
    predicted = np.empty(len(labels))
    for fit in (halves, ~halves):
        calibrator = factory(factory.Config.sized("tiny"))
        calibrator.fit(scores[fit], labels[fit], None if context is None else context[fit])
        predicted[~fit] = calibrator.predict(scores[~fit], None if context is None else context[~fit])
    return predicted


def _label(method: str, context: Sequence[str]) -> str:
    return f"{method} by {' and '.join(context)}" if context else method
