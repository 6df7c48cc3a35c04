"""``palate.fit``: one model on one log, from the split to a recommender with its card.

The two steps can be had apart: :class:`~palate.tasks.RankTask` and :class:`~palate.tasks.NextItemTask` prepare a log
once, :func:`fit_ranker` and :func:`fit_next_item` train any number of models on it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from palate import __version__
from palate.calibrating import calibration_facts, context_columns, fit_calibrator, judged_rows
from palate.card import Card, CostFacts, DataFacts, MetricFacts, SamplingFacts, Task
from palate.config import ModelConfig, Size
from palate.data.dataset import Dataset
from palate.data.encoder import FeaturePlan
from palate.data.opening import open_dataset
from palate.data.rank_source import RankSource
from palate.data.sequence_source import SequenceSource
from palate.data.split import Split
from palate.errors import ConfigError, UnknownNameError
from palate.next_item_recommender import NextItemRecommender
from palate.rank_recommender import RankRecommender, logits_of
from palate.recommender import Recommender
from palate.registry import find, names
from palate.tasks import NextItemTask, RankTask
from palate.train.contract import TrainConfig
from palate.train.loop import fit as train
from palate.train.result import TrainResult
from palate.train.seeds import seed_everything

if TYPE_CHECKING:
    from torch import nn

    from palate.evaluate.report import MetricTable
    from palate.rank.contract import Ranker
    from palate.sequence.contract import NextItemModel
    from palate.train.progress import Progress
    from palate.train.tracking import Tracker
    from palate.users_log import UsersLog

__all__ = ["calibrate_ranker", "fit", "fit_next_item", "fit_ranker", "judge"]

logger = logging.getLogger(__name__)

RANK_TRAINING = TrainConfig(monitor="auc", embedding_l2=1e-4)
# Small logs want a high rate: at 1e-3 a few hundred users give too few steps before patience ends.
NEXT_ITEM_TRAINING = TrainConfig(
    monitor="ndcg@10", learning_rate=5e-3, learning_rate_decay=0.5, patience=3, gradient_clip=5.0
)
RANK_BATCH = 2048
NEXT_ITEM_BATCH = 64


def fit(
    data: Dataset | str | Path,
    model: str,
    *,
    task: Task | None = None,
    size: Size = "tiny",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    training: TrainConfig | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    split: Split | None = None,
    plan: FeaturePlan | None = None,
    calibrate: str | None = None,
    context: Sequence[str] = (),
    run_folder: str | Path | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> Recommender:
    """Train ``model`` on ``data`` and return a recommender with its card.

    Args:
        data: A data set, the name of a shipped one, or a folder or file.
        model: Any name of ``palate.models()``.
        task: ``rank`` or ``next-item``; needed only when a name stands for both.
        size: The size dial of the model: ``tiny``, ``small`` or ``base``.
        seed: Seed of weights, order, dropout and splits.
        settings: Settings of the model on top of its size.
        training: Settings of the loop, whole or only those that differ from the task's defaults.
        batch_size: Rows (rankers) or users (next-item models) per step.
        split: Which rows train, choose and judge (rankers); by default the data set's split column, else 8:1:1 by
            time, else at random. Next-item models hold out the last two items of each user.
        plan: Which columns become features (rankers).
        calibrate: Name of a calibrator to fit on the validation part (rankers).
        context: Columns that the calibrator looks at beside the score, such as ``["genres", "weekday"]``.
        run_folder: Where checkpoints and metrics go; a run that was interrupted goes on from there.
        tracker: Where else numbers go, see :mod:`palate.train.tracking`.
        progress: Shows how far it is.

    Raises:
        UnknownNameError: If there is no such model, calibrator or data set; the message suggests the nearest.
        ConfigError: If a setting is unknown or contradictory.
        DataError: If the data cannot be used; all problems are listed.

    Example:
        >>> rec = fit("movielens-small", "popularity")
        >>> [item.title for item in rec.recommend(history=[], k=2)]
        ['Forrest Gump (1994)', 'Shawshank Redemption, The (1994)']
    """
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    kind = _task_of(model, task)
    shared: dict[str, Any] = {
        "size": size,
        "seed": seed,
        "settings": settings,
        "training": training,
        "batch_size": batch_size,
        "run_folder": run_folder,
        "tracker": tracker,
        "progress": progress,
    }
    if kind == "rank":
        if context and calibrate is None:
            raise ConfigError("A context is the calibrator's, and none was named.", remedy='Say calibrate="mcnet".')
        ranker = fit_ranker(RankTask.prepare(dataset, split=split, plan=plan, seed=seed), model, **shared)
        return ranker if calibrate is None else calibrate_ranker(ranker, calibrate, context=context)
    unused = {"split": split, "plan": plan, "calibrate": calibrate, "context": context or None}
    given = [name for name, value in unused.items() if value is not None]
    if given:
        raise ConfigError(f"{given[0]} has no meaning for the next-item model {model}.", remedy="Leave it out.")
    return fit_next_item(NextItemTask.prepare(dataset), model, **shared)


def fit_ranker(
    task: RankTask,
    model: str,
    *,
    size: Size = "tiny",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    training: TrainConfig | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    run_folder: str | Path | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
    judged: bool = True,
) -> RankRecommender:
    """Train one ranker on a prepared log; see :func:`fit`. With ``judged=False`` the test part stays unread."""
    factory: Any = find("ranker", model).factory
    config: ModelConfig = factory.Config.sized(size, **(settings or {}))
    loop = _training(training, RANK_TRAINING, seed)
    seed_everything(seed)
    ranker: Ranker = factory(task.encoder.spec, config, vectors=task.encoder.vectors or None)
    source = RankSource(task.tables["train"], batch_size or RANK_BATCH, seed)

    def validate(trained: nn.Module) -> Mapping[str, float]:
        return _quick_metrics(cast("Ranker", trained), task)

    started = time.perf_counter()
    result = train(
        ranker,
        source,
        loop,
        validate=validate,
        run_folder=None if run_folder is None else Path(run_folder),
        tracker=tracker,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    card = Card(
        model=model,
        task="rank",
        palate=__version__,
        seed=seed,
        settings=config.model_dump(mode="json"),
        training={**loop.model_dump(mode="json"), "batch_size": source.batch_size},
        data=_data_facts(task.dataset, task.split),
        protocol=f"Rows held out by {task.split.how}; scored once each, as given. Intervals are over users.",
        cost=_cost(ranker, seconds, result),
        sampling=_sampling_facts(task),
        limits=_rank_limits(task),
        interrupted=result.stopped_because == "interrupted",
    )
    recommender = RankRecommender(
        ranker,
        task.encoder,
        task.catalogue,
        task.users,
        card,
        split=task.split,
        history=task.history,
        dataset=task.dataset,
    )
    if judged:
        judge(recommender)
    return recommender


def fit_next_item(
    task: NextItemTask,
    model: str,
    *,
    size: Size = "tiny",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    training: TrainConfig | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    run_folder: str | Path | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
    judged: bool = True,
) -> NextItemRecommender:
    """Train one next-item model on a prepared log; see :func:`fit`. With ``judged=False`` the test stays unread."""
    factory: Any = find("next-item", model).factory
    config: ModelConfig = factory.Config.sized(size, **(settings or {}))
    loop = _training(training, NEXT_ITEM_TRAINING, seed)
    seed_everything(seed)
    network: NextItemModel = factory(task.catalogue.num_items, config)
    recommender = NextItemRecommender(network, task.catalogue, task.users, _blank_card(task, model, config, seed, loop))

    def validate(_: nn.Module) -> Mapping[str, float]:
        return recommender.judge("validation").values()

    started = time.perf_counter()
    result = TrainResult()
    if factory.learns_by == "counting":
        network.count(task.train)
    else:
        source = SequenceSource(
            task.train,
            batch_size or NEXT_ITEM_BATCH,
            max_length=getattr(config, "max_length", 50),
            seed=seed,
            windows="all",
            num_negatives=getattr(config, "num_negatives", 0),
            negatives="shared" if getattr(config, "loss", "") == "sampled-softmax" else "each",
        )
        result = train(
            network,
            source,
            loop,
            validate=validate,
            run_folder=None if run_folder is None else Path(run_folder),
            tracker=tracker,
            progress=progress,
        )
    network.eval()
    cost = _cost(network, time.perf_counter() - started, result)
    interrupted = result.stopped_because == "interrupted"
    recommender.card = recommender.card.replace(cost=cost, interrupted=interrupted)
    if judged:
        judge(recommender)
    return recommender


def calibrate_ranker(
    ranker: RankRecommender,
    method: str,
    data: Dataset | None = None,
    *,
    context: Sequence[str] = (),
    fields: Sequence[str] = (),
    **settings: Any,
) -> RankRecommender:
    """Fit a calibrator on the validation part, judge it on the test part, and return the calibrated ranker.

    Args:
        ranker: A fitted ranker.
        method: Name of a calibrator.
        data: Its data set, if the ranker was loaded.
        context: Columns that the calibrator looks at beside the score: of the log, its users or its items, or parts of
            the time; see :mod:`palate.data.context_columns`.
        fields: Columns inside whose values it is judged, beside those of the context.
        **settings: Settings of the calibrator.

    Raises:
        UnknownNameError: If there is no such calibrator or column.
        ConfigError: If the calibrator has no use for a context.
    """
    columns = context_columns(ranker, context, data) if context else None
    named = tuple(dict.fromkeys([*context, *fields]))
    judged = context_columns(ranker, named, data) if named else None
    calibrator, rows = fit_calibrator(ranker, method, data, context=columns, **settings)
    seen = judged_rows(ranker, data, calibrator=calibrator, context=columns, fields=judged)
    facts = calibration_facts(seen, method, rows, context)
    calibrated = ranker.with_calibrator(calibrator, ranker.card.replace(calibration=facts), columns)
    judge(calibrated, data)
    return calibrated


def _quick_metrics(ranker: Ranker, task: RankTask) -> Mapping[str, float]:
    from palate.evaluate.auc import auc
    from palate.evaluate.classification import log_loss_from_logits

    table = task.tables["validation"]
    assert table.labels is not None
    logits = logits_of(ranker, table)
    return {"auc": auc(logits, table.labels), "log_loss": log_loss_from_logits(logits, table.labels)}


def _task_of(model: str, task: Task | None) -> Task:
    rankers, nexts = names("ranker"), names("next-item")
    if task is not None:
        if task not in ("rank", "next-item"):
            raise UnknownNameError.among("task", task, ("rank", "next-item"))
        return task
    if model in rankers and model in nexts:
        raise ConfigError(f'"{model}" is a ranker and a next-item model.', remedy='Say task="rank" or "next-item".')
    if model not in rankers and model not in nexts:
        raise UnknownNameError.among("model", model, [*rankers, *nexts])
    return "rank" if model in rankers else "next-item"


def _training(given: TrainConfig | Mapping[str, Any] | None, default: TrainConfig, seed: int) -> TrainConfig:
    if isinstance(given, TrainConfig):
        return given.replace(seed=seed)
    return default.replace(**{**(given or {}), "seed": seed})


def judge(recommender: RankRecommender | NextItemRecommender, data: Dataset | None = None) -> None:
    """Put the metrics of both held-out parts, and the time of a request, on the card."""
    measured: list[MetricFacts] = []
    parts: tuple[Literal["validation", "test"], ...] = ("validation", "test")
    for part in parts:
        measured += _facts_of(recommender.evaluate(data, part=part), part)
    cost = recommender.card.cost.replace(request_milliseconds=_request_time(recommender))
    recommender.card = recommender.card.replace(metrics=tuple(measured), cost=cost)


def _facts_of(table: MetricTable, part: Any) -> list[MetricFacts]:
    return [
        MetricFacts(
            name=result.name,
            value=result.value if result.value == result.value else None,
            low=None if result.interval is None else result.interval.low,
            high=None if result.interval is None else result.interval.high,
            part=part,
            cases=result.count,
            skipped=result.skipped,
        )
        for result in table
    ]


def _request_time(recommender: Recommender, calls: int = 5) -> float | None:
    """Return the median time of a ``recommend`` call for one user of the log, in milliseconds."""
    log: UsersLog | None = cast("Any", recommender).users
    if log is None:
        return None
    users = log.users.tokens
    taken = []
    recommender.recommend(user=users[0], k=10)
    for call in range(calls):
        started = time.perf_counter()
        recommender.recommend(user=users[call % len(users)], k=10)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[calls // 2] * 1000


def _cost(model: torch.nn.Module, seconds: float, result: TrainResult) -> CostFacts:
    weights = sum(parameter.numel() for parameter in model.parameters())
    held = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    best = result.best_epoch
    epochs = len(result.history) if best is None else best + 1
    return CostFacts(training_seconds=seconds, epochs=epochs, parameters=weights, megabytes=held / 1e6)


def _data_facts(dataset: Dataset, split: Split) -> DataFacts:
    summary = dataset.summary()
    return DataFacts(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        rows=summary.rows,
        users=summary.users or 0,
        items=summary.items or 0,
        first_time=None if summary.first_time is None else str(summary.first_time)[:10],
        last_time=None if summary.last_time is None else str(summary.last_time)[:10],
        label=None if dataset.schema.label is None else str(dataset.schema.label),
        licence=dataset.facts.get("licence"),
        split=split.how,
        split_fingerprint=split.fingerprint,
        train=len(split.train),
        validation=len(split.validation),
        test=len(split.test),
    )


def _blank_card(task: NextItemTask, model: str, config: ModelConfig, seed: int, loop: TrainConfig) -> Card:
    return Card(
        model=model,
        task="next-item",
        palate=__version__,
        seed=seed,
        settings=config.model_dump(mode="json"),
        training=loop.model_dump(mode="json"),
        data=_data_facts(task.dataset, task.split),
        protocol=(
            f"Each user's last item is ranked among all {task.catalogue.num_items:,} items, "
            "those of the history left out; trained without the last two items of each user. Intervals are over users."
        ),
        cost=CostFacts(training_seconds=0.0, epochs=0, parameters=0, megabytes=0.0),
        limits=(
            "Scores order items; they are not probabilities.",
            "Trained without each user's last two items; the log that travels along holds them.",
            "Held-out items that were also taken earlier count as misses.",
        ),
    )


def _sampling_facts(task: RankTask) -> SamplingFacts | None:
    drawn = task.sampling
    if drawn is None:
        return None
    return SamplingFacts(
        per_positive=drawn.per_positive,
        positives=drawn.positives,
        negatives=drawn.negatives,
        rate=drawn.rate,
        seed=task.seed,
    )


def _rank_limits(task: RankTask) -> tuple[str, ...]:
    limits = ["Judged on logged rows: what was shown was chosen by whoever made the log, not at random."]
    if not task.dataset.has_labels:
        limits.append("The log has positives alone; negatives were sampled.")
    if task.split.how != "time":
        limits.append(
            "The split is not by time: it says how well gaps are filled, not how well the future is foreseen."
        )
    return tuple(limits)
