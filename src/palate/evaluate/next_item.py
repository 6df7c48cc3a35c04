"""Leave-one-out evaluation of next-item models: one history and one hidden target per user.

Every user's target competes with the whole catalogue, or (when asked for, and then said so in the result) with a
sample of it. Items already in the history can be taken out of the race. Ranks come from the scores of the model,
batch by batch, or, for models that only give a short list, from the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError, NonFiniteError
from palate.evaluate.columns import BoolArray, FloatArray, IntArray, as_column
from palate.evaluate.histories import Histories, check_histories, last_items, seen_pairs, wide_pairs
from palate.evaluate.intervals import bootstrap_interval
from palate.evaluate.names import Metric, parse_metrics
from palate.evaluate.ranking import coverage, metrics_of_ranks
from palate.evaluate.ranks import rank_of_columns, rows_with_nan
from palate.evaluate.report import MetricResult, MetricTable, Setting
from palate.evaluate.sampling import sampled_candidates

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NextItemEvaluation", "evaluate_next_item"]

Through = Literal["scores", "lists"]


@dataclass(frozen=True, slots=True)
class NextItemEvaluation:
    """Metrics with intervals, and the rank of every user's target.

    Attributes:
        table: The metrics, with their values per user.
        ranks: float64 ``[U]``: fractional where scores tie, infinite for a target that was out of the race or not in
            the list, NaN for a user without target.
    """

    table: MetricTable
    ranks: FloatArray = field(repr=False, compare=False)

    def __getitem__(self, name: str) -> MetricResult:
        return self.table[name]

    def __str__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def values(self) -> dict[str, float]:
        """Return metric name -> number."""
        return self.table.values()

    def to_dict(self, *, per_user: bool = False) -> dict[str, Any]:
        """Return the table as plain JSON types."""
        return self.table.to_dict(per_user=per_user)


def evaluate_next_item(
    model: Any,
    histories: Histories,
    targets: ArrayLike,
    ks: Sequence[int] = (5, 10, 20),
    *,
    metrics: Sequence[str | Metric] | None = None,
    exclude_seen: bool = True,
    seen: Histories | None = None,
    sampled: int | None = None,
    users: ArrayLike | None = None,
    batch_size: int = 256,
    max_length: int | None = None,
    through: Through = "scores",
    split: str = "test",
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> NextItemEvaluation:
    """Rank each user's hidden target after the history, and report metrics with intervals over users.

    Args:
        model: Has ``score(items [B, L], lengths [B]) -> [B, V + 1]`` (see ``palate.sequence.contract``), or, for
            ``through="lists"``, ``rank(items, lengths, k, exclude=[B, X])``.
        histories: What the model may look at.
        targets: The item to find, 1..V; 0 for users without one (they are skipped and counted).
        ks: Cut-offs of the default metrics, hr@k and ndcg@k; mrr joins them where ranks are complete.
        metrics: Names in place of the default ones, coverage@k among them.
        exclude_seen: Take all items of the history out of the race. A target among them can never be found; such users
            are counted in the notes. Say no where people come back to the same items.
        seen: Items to exclude in place of those of ``histories``.
        sampled: Let the target compete with so many sampled items only, the same for every model under one ``seed``.
            For comparison with older tables; not comparable with full ranking (Krichene and Rendle, 2020).
        users: Users to evaluate, all when ``None``; per-user results follow this order.
        batch_size: Users per batch; results do not depend on it.
        max_length: How many of the last items the model sees; its ``config.max_length`` when ``None``, else 50.
        through: Ranks from the ``scores`` of all items, or from ``lists`` of the ``max(k)`` best.
        split: Name of the part the targets come from, for the report.
        level: Coverage of the intervals.
        seed: Seed of the intervals and of the sampled candidates.
        resamples: Draws of the bootstrap.

    Shapes:
        targets: ``[U]``; the ranks in the result: ``[U]``, or ``[len(users)]``.

    Raises:
        ConfigError: For settings that contradict each other.
        DataError: If targets, histories or the shape of the scores do not fit the catalogue.
        NonFiniteError: If a score is NaN; names the batch and the user.
    """
    wanted = _wanted(metrics, ks, through, sampled)
    chosen, hidden = _users_and_targets(histories, targets, users)
    barred = (seen if seen is not None else histories) if exclude_seen else None
    for log, what in ((histories, "histories"), (barred, "seen")):
        if log is not None:
            check_histories(log, what, num_users=len(hidden), num_items=histories.num_items)
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size} is not valid: at least 1 is expected.")
    depth = max((metric.k or 0 for metric in wanted if through == "lists" or metric.name == "coverage"), default=0)
    race = _Race(model, histories, barred, hidden, depth, sampled, seed, _length(model, max_length), through)
    ranks, lost = np.full(len(chosen), np.nan), np.zeros(len(chosen), bool)
    lists = np.zeros((len(chosen), depth), np.int64)
    with _evaluation_mode(model) as device:
        for number, start in enumerate(range(0, len(chosen), batch_size)):
            part = slice(start, start + batch_size)
            ranks[part], lists[part], lost[part] = race.run(chosen[part], number, device)
    results = tuple(_result(metric, ranks, lists, histories.num_items, level, seed, resamples) for metric in wanted)
    return NextItemEvaluation(MetricTable(results, _setting(race, chosen, ranks, lost, split)), ranks)


@dataclass(frozen=True, slots=True)
class _Race:
    """What stays the same over all batches: who runs, who is out, and what is looked at."""

    model: Any
    histories: Histories
    barred: Histories | None
    targets: IntArray
    depth: int
    sampled: int | None
    seed: int
    length: int
    through: Through

    def run(self, users: IntArray, number: int, device: Any) -> tuple[FloatArray, IntArray, BoolArray]:
        """Return ranks ``[B]``, lists ``[B, depth]``, and whose target was out of the race ``[B]``."""
        import torch

        items, lengths = last_items(self.histories, users, self.length)
        hidden = self.targets[users]
        rows, columns = seen_pairs(self.barred, users)
        lost = np.zeros(len(users), bool)
        lost[rows[columns == hidden[rows]]] = True
        inputs = torch.from_numpy(items).to(device), torch.from_numpy(lengths).to(device)
        if self.through == "lists":
            lists = self._lists(*inputs, None if self.barred is None else wide_pairs(rows, columns, len(users)))
            hits = lists == hidden[:, None]
            ranks = np.where(hits.any(1) & ~lost, hits.argmax(1) + 1.0, np.inf)
        else:
            scores = self._scores(*inputs, users, number)
            out = np.arange(len(users)), np.zeros(len(users), np.int64)  # column 0 is padding
            out = np.concatenate([out[0], rows]), np.concatenate([out[1], columns])
            lists = self._best(scores, *out)
            if self.sampled is None:
                ranks = _ranks(scores, hidden, *out)
            else:
                ranks = np.where(lost, np.inf, self._among_sampled(scores, users, rows, columns))
        return np.where(hidden > 0, ranks, np.nan), lists, lost

    def _scores(self, items: Tensor, lengths: Tensor, users: IntArray, number: int) -> Tensor:
        scores: Tensor = self.model.score(items, lengths)
        expected = (len(users), self.histories.num_items + 1)
        if tuple(scores.shape) != expected:
            raise DataError(
                f"The model's scores have the shape {list(scores.shape)}; {list(expected)} is expected.",
                remedy="One column for each item, and column 0 for padding.",
            )
        wrong = rows_with_nan(scores)
        if bool(wrong.any()):
            user = int(users[int(wrong.int().argmax())])
            raise NonFiniteError(f"The model's scores are NaN in batch {number}, first for user {user}.")
        return scores

    def _best(self, scores: Tensor, rows: IntArray, columns: IntArray) -> IntArray:
        """Return the ``depth`` best items that are not out of the race, 0 where there are fewer."""
        import torch

        lists = np.zeros((len(scores), self.depth), np.int64)
        if self.depth:
            out = torch.from_numpy(rows).to(scores.device), torch.from_numpy(columns).to(scores.device)
            best = scores.index_put(out, scores.new_tensor(float("-inf"))).topk(min(self.depth, scores.shape[1]), dim=1)
            lists[:, : best.indices.shape[1]] = torch.where(best.values.isneginf(), 0, best.indices).cpu().numpy()
        return lists

    def _among_sampled(self, scores: Tensor, users: IntArray, rows: IntArray, columns: IntArray) -> FloatArray:
        import torch

        assert self.sampled is not None
        hidden = self.targets[users]
        drawn = sampled_candidates(
            users, hidden, self.histories.num_items, self.sampled, rows=rows, columns=columns, seed=self.seed
        )
        runners = np.concatenate([hidden[:, None], drawn], axis=1)
        table = scores.gather(1, torch.from_numpy(runners).to(scores.device))
        missing_rows, missing = np.nonzero(runners == 0)
        return _ranks(table, np.zeros(len(users), np.int64), missing_rows, missing)

    def _lists(self, items: Tensor, lengths: Tensor, exclude: IntArray | None) -> IntArray:
        import torch

        barred = None if exclude is None else torch.from_numpy(exclude).to(items.device)
        found = self.model.rank(items, lengths, self.depth, exclude=barred).items
        lists = np.zeros((len(items), self.depth), np.int64)
        lists[:, : found.shape[1]] = found.cpu().numpy()
        return lists


def _ranks(scores: Tensor, targets: IntArray, rows: IntArray, columns: IntArray) -> FloatArray:
    import torch

    moved = (torch.from_numpy(array).to(scores.device) for array in (targets, rows, columns))
    return np.asarray(rank_of_columns(scores, *moved).cpu().numpy(), np.float64)


def _wanted(
    metrics: Sequence[str | Metric] | None, ks: Sequence[int], through: Through, sampled: int | None
) -> tuple[Metric, ...]:
    if through not in ("scores", "lists"):
        raise ConfigError(f'Ranks cannot come through "{through}".', remedy='Choose "scores" or "lists".')
    default = [f"{name}@{k}" for name in ("hr", "ndcg") for k in ks] + (["mrr"] if through == "scores" else [])
    wanted = parse_metrics(default if metrics is None else metrics, "ranking")
    if through == "lists" and (sampled is not None or any(metric.k is None for metric in wanted)):
        raise ConfigError("Lists have an end: they allow neither sampled candidates nor metrics without a cut-off.")
    if sampled is not None and (sampled < 1 or any(metric.name == "coverage" for metric in wanted)):
        raise ConfigError(f"sampled = {sampled} needs at least 1 candidate, and allows no coverage.")
    return wanted


def _users_and_targets(histories: Histories, targets: ArrayLike, users: ArrayLike | None) -> tuple[IntArray, IntArray]:
    count = len(histories.offsets) - 1
    hidden = as_column(targets, "targets", count).astype(np.int64)
    if hidden.min() < 0 or hidden.max() > histories.num_items:
        raise DataError(
            f"targets run from {hidden.min()} to {hidden.max()}; the catalogue has 1 to {histories.num_items}.",
            remedy="Give 0 to a user without target.",
        )
    chosen = np.arange(count) if users is None else as_column(users, "users").astype(np.int64)
    if chosen.min() < 0 or chosen.max() >= count:
        raise DataError(f"users run from {chosen.min()} to {chosen.max()}; the histories have 0 to {count - 1}.")
    return chosen, hidden


def _length(model: Any, max_length: int | None) -> int:
    length = max_length if max_length is not None else getattr(getattr(model, "config", None), "max_length", 50)
    if not isinstance(length, int) or length < 1:
        raise ConfigError(f"max_length = {length} is not valid: at least 1 is expected.")
    return length


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[Any]:
    """Switch dropout and gradients off for a while; give the device of the model."""
    import torch

    training = bool(getattr(model, "training", False))
    first = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            yield torch.device("cpu") if first is None else first.device
    finally:
        if training:
            model.train()


def _setting(race: _Race, users: IntArray, ranks: FloatArray, lost: BoolArray, split: str) -> Setting:
    notes = [f"the model sees the last {race.length} items"]
    empty = int((np.diff(race.histories.offsets)[users] == 0).sum())
    for count, what in (
        (int(np.isnan(ranks).sum()), "without target, skipped"),
        (empty, "with an empty history"),
        (int(lost.sum()), "whose target was already seen, counted as misses"),
    ):
        if count:
            notes.append(f"{count:,} users {what}")
    items = f"{race.histories.num_items:,} items"
    candidates = f"full catalogue ({items})"
    if race.sampled is not None:
        candidates = f"sampled: the target and {race.sampled} of {items}, uniform, seed {race.seed}"
    if race.through == "lists":
        candidates += f", through lists of {race.depth}"
    ties = "as the lists have them" if race.through == "lists" else "equal scores share their mean rank"
    return Setting(split, candidates, "none" if race.barred is None else "items already seen", ties, notes=tuple(notes))


def _result(
    metric: Metric, ranks: FloatArray, lists: IntArray, num_items: int, level: float, seed: int, resamples: int
) -> MetricResult:
    if metric.name == "coverage":
        return MetricResult(str(metric), coverage(lists, num_items, metric.k), num_items, unit="items")
    values = metrics_of_ranks(ranks, [metric])[str(metric)]
    skipped = int(np.isnan(values).sum())
    mean = float(np.nanmean(values)) if skipped < len(values) else float("nan")
    interval = bootstrap_interval(values, level=level, seed=seed, resamples=resamples)
    return MetricResult(str(metric), mean, len(values) - skipped, skipped, "users", interval, values)
