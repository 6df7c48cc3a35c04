"""The main job: compare, choose on validation, calibrate, save, report.

One call does what a person would do by hand over a week: look at the data, train rankers and next-item models with
one budget each, choose on the validation part, calibrate the chosen ranker, judge once on the test part, save the
winners with their cards, and write one page about it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.bench.choosing import CalibratorChoice, RankerTrial, choose_calibrator, train_next_item, tune_ranker
from palate.calibrating import context_columns, judged_rows
from palate.config import Config
from palate.data.checks import check_dataset
from palate.data.field_codec import split_text
from palate.data.schema import Role, Table
from palate.errors import DataError
from palate.fitting import calibrate_ranker, judge
from palate.tasks import NextItemTask, RankTask

if TYPE_CHECKING:
    from palate.calibrating import JudgedRows
    from palate.data.dataset import Dataset
    from palate.data.summary import DatasetSummary
    from palate.next_item_recommender import NextItemRecommender
    from palate.rank_recommender import RankRecommender
    from palate.recommender import RecommendedList
    from palate.train.progress import Progress

__all__ = ["DemoConfig", "DemoResult", "run_demo"]

CALIBRATORS = ("platt", "beta", "isotonic", "mcnet")
CONTEXTUAL = ("platt-per-field", "mcnet")
_MOST_VALUES = 50  # of a column that is looked into without being asked for


class DemoConfig(Config):
    """What is compared, and with which budget; the same for every model.

    Attributes:
        rankers: Models for "will this user take this item?".
        next_items: Models for "what next?".
        calibrators: Calibrators tried on the chosen ranker.
        contextual: Calibrators tried on it with a context as well.
        context: Columns that are the context, and inside whose values the chances are judged; by default the first
            category or list of the catalogue with at most 50 values, if there is one.
        embedding_l2: Regularisations tried for every ranker.
        epochs: At most so many passes for every ranker.
        next_item_epochs: The same for next-item models that learn by gradient.
        seed: Seed of everything.
    """

    rankers: tuple[str, ...] = ("lr", "fm", "deepfm", "dcnv2", "qnn-alpha")
    next_items: tuple[str, ...] = ("popularity", "item-to-item", "transitions", "sasrec")
    calibrators: tuple[str, ...] = CALIBRATORS
    contextual: tuple[str, ...] = CONTEXTUAL
    context: tuple[str, ...] | None = None
    embedding_l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    epochs: int = 12
    next_item_epochs: int = 14
    seed: int = 0


@dataclass
class DemoResult:
    """Everything that the page and the JSON are made of."""

    dataset: Dataset
    summary: DatasetSummary
    config: DemoConfig
    trials: list[RankerTrial] = field(default_factory=list)
    next_items: list[NextItemRecommender] = field(default_factory=list)
    ranker: RankRecommender | None = None
    uncalibrated: RankRecommender | None = None
    next_item: NextItemRecommender | None = None
    calibrator: CalibratorChoice | None = None
    judged: JudgedRows | None = None
    user: str = ""
    examples: RecommendedList | None = None
    taken: list[str] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def decision(self) -> str:
        """The outcome, in one sentence."""
        parts = []
        if self.next_item is not None:
            measured = self.next_item.card.metric("recall@10")
            assert measured is not None
            parts.append(
                f"for what comes next ship {self.next_item.card.model} "
                f"(Recall@10 {measured.value:.3f}, 95 % {measured.low:.3f} to {measured.high:.3f})"
            )
        if self.ranker is not None:
            measured, facts = self.ranker.card.metric("auc"), self.ranker.card.calibration
            assert measured is not None
            tail = "whose scores no calibrator improved"
            if facts is not None and self.calibrator is not None:
                tail = f"calibrated by {self.calibrator.label} (ECE {facts.ece_before:.3f} to {facts.ece_after:.3f})"
            parts.append(f"for whether they like it ship {self.ranker.card.model} (AUC {measured.value:.3f}), {tail}")
        return f"On {self.dataset.name}, " + "; ".join(parts) + "."

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON types; times are left out of ``figures``, so equal seeds give equal ones."""
        leaderboards = {
            "rank": {t.recommender.card.model: _metrics(t.recommender) for t in self.trials},
            "next-item": {r.card.model: _metrics(r) for r in self.next_items},
        }
        calibration = None if self.ranker is None else self.ranker.card.calibration
        figures = {
            "data": self.summary.to_dict(),
            "leaderboards": leaderboards,
            "chosen": {
                "rank": None if self.ranker is None else self.ranker.card.model,
                "next-item": None if self.next_item is None else self.next_item.card.model,
                "calibrator": None if self.calibrator is None else self.calibrator.label,
            },
            "calibration": None if calibration is None else calibration.model_dump(),
            "examples": {
                "user": self.user,
                "items": [item.to_dict() for item in self.examples or ()],
            },
        }
        costs = {r.card.model: r.card.cost.model_dump() for r in self.next_items}
        costs |= {t.recommender.card.model: t.recommender.card.cost.model_dump() for t in self.trials}
        return {
            "decision": self.decision,
            "figures": figures,
            "costs": costs,
            "folders": {task: str(folder) for task, folder in self.folders.items()},
            "seconds": self.seconds,
        }


def run_demo(dataset: Dataset, out: Path, config: DemoConfig, *, progress: Progress) -> DemoResult:
    """Do the main job on ``dataset`` and write the winners under ``out``.

    Raises:
        DataError: If the data has problems; all of them are listed.
    """
    started = time.perf_counter()
    problems = check_dataset(dataset)
    if problems:
        raise DataError(
            f'"{dataset.name}" has {len(problems):,} problems.',
            remedy="Mend them, or set bad rows aside: palate data import ... --reject-to FILE",
            problems=problems,
        )
    result = DemoResult(dataset, dataset.summary(), config)
    _rank(result, progress)
    if all(dataset.schema.has("interactions", role) for role in (Role.USER, Role.ITEM)):
        _next_item(result, progress)
        _examples(result)
    for recommender, name in ((result.ranker, "ranker"), (result.next_item, "next-item")):
        if recommender is not None:
            result.folders[name] = recommender.save(out / name)
    result.seconds = time.perf_counter() - started
    return result


def _rank(result: DemoResult, progress: Progress) -> None:
    config = result.config
    task = RankTask.prepare(result.dataset, seed=config.seed)
    with progress.task("rankers", total=len(config.rankers), unit="models") as shown:
        for model in config.rankers:
            trial = tune_ranker(task, model, config.embedding_l2, seed=config.seed, training={"epochs": config.epochs})
            result.trials.append(trial)
            shown.advance(latest=model)
    result.trials.sort(key=lambda trial: -_validation(trial.recommender, "auc"))
    best = result.trials[0].recommender
    names = _looked_into(result.dataset) if config.context is None else config.context
    context = context_columns(best, names) if names else None
    tried = len(config.calibrators) + (len(config.contextual) if names else 0)
    with progress.task("calibrators", total=tried, unit="methods") as shown:
        choice = choose_calibrator(
            *(best, task, config.calibrators),
            seed=config.seed,
            contextual=config.contextual,
            context=context,
            shown=shown,
        )
    result.uncalibrated = result.ranker = best
    result.calibrator = choice
    if choice.method != "none":
        result.ranker = calibrate_ranker(best, choice.method, context=choice.context, fields=names)
    for trial in result.trials:
        judge(trial.recommender)
    result.judged = judged_rows(result.ranker, fields=context)


def _next_item(result: DemoResult, progress: Progress) -> None:
    config = result.config
    task = NextItemTask.prepare(result.dataset)
    training = {"epochs": config.next_item_epochs}
    with progress.task("next-item models", total=len(config.next_items), unit="models") as shown:
        for model in config.next_items:
            result.next_items.append(train_next_item(task, model, seed=config.seed, training=training))
            shown.advance(latest=model)
    result.next_items.sort(key=lambda recommender: -_validation(recommender, "ndcg@10"))
    result.next_item = result.next_items[0]
    for recommender in result.next_items:
        judge(recommender)


def _validation(recommender: Any, metric: str) -> float:
    return float(recommender.evaluate(part="validation")[metric].value)


def _looked_into(dataset: Dataset) -> tuple[str, ...]:
    """Return the first category or list of the catalogue that has few enough values to look into each."""
    items = dataset.table("items")
    if items is None:
        return ()
    for column in dataset.schema.columns("items", Role.CATEGORICAL, Role.LIST):
        values = split_text(items[column.name], column.separator)
        nested = values.dtype.is_nested()
        distinct = (values.explode() if nested else values).n_unique()
        if 2 <= distinct <= _MOST_VALUES:
            tables: tuple[Table, ...] = ("interactions", "users")
            twice = any(column.name == other.name for table in tables for other in dataset.schema.columns(table))
            return (f"items.{column.name}" if twice else column.name,)
    return ()


def _examples(result: DemoResult) -> None:
    """Ask for one user: the one with the median number of items, so that nobody was picked by hand."""
    assert result.next_item is not None
    users = result.next_item.users
    order = users.log.lengths.argsort(kind="stable")
    result.user = users.users.tokens[int(order[len(order) // 2])]
    catalogue = result.next_item.catalogue
    latest = users.items_of(result.user)[-5:]
    result.taken = [catalogue.title(number) or str(catalogue.item(number)) for number in latest]
    result.examples = result.next_item.recommend(user=result.user, k=10)


def _metrics(recommender: Any) -> list[dict[str, Any]]:
    return [metric.model_dump() for metric in recommender.card.metrics]
