"""Metrics of ranked lists: one value per user, for one target each or for any number of relevant items.

Two ways in. When every user has exactly one target, its rank says everything (:func:`ranks_of_targets`,
:func:`metrics_of_ranks`). When a user may have several relevant items, the ranked items are compared with them
(:class:`Relevance`, :func:`metrics_of_lists`). Both give the same numbers for one target.

With ``r_i`` the gain of place ``i``, ``h_i = [r_i > 0]``, ``R`` the number of relevant items of the user::

    hr@k        [sum_{i<=k} h_i > 0]
    recall@k    sum_{i<=k} h_i / R
    precision@k sum_{i<=k} h_i / k
    mrr@k       1 / (first i <= k with h_i), or 0
    map@k       (1 / R) sum_{i<=k} h_i (sum_{j<=i} h_j) / i
    ndcg@k      sum_{i<=k} r_i / log2(1 + i), over the same sum of the k largest gains of the user
    coverage@k  share of the catalogue that appears in the first k places of anyone
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import ConfigError, DataError
from palate.evaluate.columns import AnyArray, BoolArray, FloatArray, IntArray, as_column
from palate.evaluate.names import Metric, parse_metric, parse_metrics
from palate.evaluate.ranks import ranks_of_targets

__all__ = [
    "Metric",
    "Relevance",
    "coverage",
    "metrics_of_lists",
    "metrics_of_ranks",
    "parse_metric",
    "parse_metrics",
    "ranks_of_targets",
]


@dataclass(frozen=True, slots=True)
class Relevance:
    """The relevant items of each user in compressed rows: user ``u`` owns ``items[offsets[u]:offsets[u + 1]]``.

    Attributes:
        items: int64 ``[nnz]``, each item at most once per user.
        offsets: int64 ``[U + 1]``.
        gains: float64 ``[nnz]``, positive; ``None`` means 1 each. For Burges' NDCG give ``2 ** grade - 1``.
    """

    items: IntArray
    offsets: IntArray
    gains: FloatArray | None = None

    def __post_init__(self) -> None:
        offsets, items, gains = self.offsets, self.items, self.gains
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
            raise DataError(
                "The offsets of the relevant items do not fit them.",
                remedy=f"They must start at 0, never fall, and end at {len(items)}.",
            )
        if gains is not None and (len(gains) != len(items) or not (np.isfinite(gains) & (gains > 0)).all()):
            raise DataError("gains must be one positive finite number for each relevant item.")
        if (np.diff(np.sort(_keys(np.repeat(np.arange(len(self)), self.counts), items, _span(items)))) == 0).any():
            raise DataError("A user has the same relevant item twice.", remedy="Name each relevant item once.")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> IntArray:
        """Relevant items per user, int64 ``[U]``."""
        return np.diff(self.offsets)

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]], gains: Sequence[Sequence[float]] | None = None) -> Self:
        """Return the relevance of a list of item lists, one for each user.

        Example:
            >>> Relevance.from_lists([[3, 1], [], [2]]).offsets.tolist()
            [0, 2, 2, 3]
        """
        offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists], dtype=np.int64)])
        flat = np.fromiter((item for items in lists for item in items), np.int64, int(offsets[-1]))
        grades = None if gains is None else np.fromiter((gain for row in gains for gain in row), np.float64)
        return cls(flat, offsets.astype(np.int64), grades)

    @classmethod
    def from_pairs(cls, users: ArrayLike, items: ArrayLike, num_users: int, gains: ArrayLike | None = None) -> Self:
        """Return the relevance of (user, item) pairs in any order, users numbered from 0."""
        owner, flat = np.asarray(users, np.int64), np.asarray(items, np.int64)
        if len(owner) and (owner.min() < 0 or owner.max() >= num_users):
            raise DataError(f"users must be numbered 0 to {num_users - 1}; {owner.min()} to {owner.max()} came.")
        order = np.argsort(owner, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=num_users))])
        return cls(flat[order], offsets, None if gains is None else np.asarray(gains, np.float64)[order])


def metrics_of_ranks(ranks: ArrayLike, metrics: Iterable[str | Metric]) -> dict[str, FloatArray]:
    """Return each metric per user from the rank of the one target.

    A rank counts from 1 and may be fractional (ties share their mean rank); an infinite rank is a target that was
    never ranked and scores 0; NaN is a user without target and stays NaN in every metric.

    Args:
        ranks: Ranks of the targets.
        metrics: Names such as ``"ndcg@10"``; all but coverage, which has no value per user.

    Shapes:
        ranks: ``[U]``; each result: float64 ``[U]``.

    Raises:
        DataError: For a rank below 1.
        UnknownNameError: For a name that is no ranking metric.

    Example:
        >>> metrics_of_ranks([1.0, 3.0, 20.0], ["ndcg@10"])["ndcg@10"].tolist()
        [1.0, 0.5, 0.0]
    """
    column = as_column(ranks, "ranks").astype(np.float64)
    if (column < 1.0).any():
        raise DataError(f"A rank of {np.nanmin(column)} came; ranks count from 1.")
    values = {}
    for metric in parse_metrics(metrics, "ranking"):
        if metric.name == "coverage":
            raise ConfigError(f"{metric} has no value per user.", remedy="Use coverage(ranked, num_items, k).")
        cut = np.inf if metric.k is None else metric.k
        if metric.name in ("hr", "recall"):
            gained = np.ones_like(column)
        elif metric.name == "precision":
            gained = np.full_like(column, 1.0 / cut)
        elif metric.name == "ndcg":
            gained = 1.0 / np.log2(1.0 + column)
        else:  # mrr and map agree for one target
            gained = 1.0 / column
        values[str(metric)] = np.where(np.isnan(column), np.nan, np.where(column <= cut, gained, 0.0))
    return values


def metrics_of_lists(
    ranked: ArrayLike, relevant: Relevance | ArrayLike, metrics: Iterable[str | Metric]
) -> dict[str, FloatArray]:
    """Return each metric per user from the ranked items and the relevant ones.

    Args:
        ranked: Item ids, best first; places that stay empty hold an id that is nobody's item (0 or negative).
        relevant: The relevant items, or an array with one target for each user (0 or negative = none).
        metrics: Names such as ``"recall@10"``; no cut-off may exceed ``K``.

    Shapes:
        ranked: int ``[U, K]``; an array of targets: int ``[U]``; each result: float64 ``[U]``, NaN for a user
        without relevant items.

    Raises:
        DataError: If shapes differ, or a list names a relevant item twice.
        ConfigError: If a cut-off exceeds ``K``, or the metric has no value per user.
        UnknownNameError: For a name that is no ranking metric.

    Example:
        >>> lists = [[5, 2, 9], [1, 2, 3]]
        >>> metrics_of_lists(lists, Relevance.from_lists([[2, 7], [1]]), ["recall@3", "mrr@3"])
        {'recall@3': array([0.5, 1. ]), 'mrr@3': array([0.5, 1. ])}
    """
    items = _lists(ranked)
    wanted = parse_metrics(metrics, "ranking")
    for metric in wanted:
        if metric.name == "coverage":
            raise ConfigError(f"{metric} has no value per user.", remedy="Use coverage(ranked, num_items, k).")
        if metric.k is not None and metric.k > items.shape[1]:
            raise ConfigError(
                f"{metric} needs lists of {metric.k} items; {items.shape[1]} came.", remedy="Rank more items."
            )
    truth = relevant if isinstance(relevant, Relevance) else _one_each(relevant, len(items))
    if len(truth) != len(items):
        raise DataError(f"{len(items):,} ranked lists came for {len(truth):,} users.")
    deepest = max(items.shape[1] if metric.k is None else metric.k for metric in wanted)
    gains = _gains(items[:, :deepest], truth)
    counts = truth.counts.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {str(metric): _metric_of_gains(metric, gains, counts, truth) for metric in wanted}
    return {name: np.where(counts > 0, value, np.nan) for name, value in values.items()}


def coverage(ranked: ArrayLike, num_items: int, k: int | None = None) -> float:
    """Return the share of the catalogue (items 1 to ``num_items``) that someone sees in the first ``k`` places.

    Raises:
        DataError: If an item above ``num_items`` appears.

    Example:
        >>> coverage([[1, 2], [2, 3], [2, 0]], num_items=4)
        0.75
    """
    items = _lists(ranked)[:, :k]
    if items.size and items.max() > num_items:
        raise DataError(f"Item {items.max()} is ranked, but the catalogue ends at {num_items}.")
    return float(np.count_nonzero(np.bincount(items[items > 0].ravel(), minlength=1)) / num_items)


def _lists(ranked: ArrayLike) -> IntArray:
    array: AnyArray = np.asarray(ranked.detach().cpu() if hasattr(ranked, "detach") else ranked)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise DataError(
            f"ranked has the shape {list(array.shape)} and type {array.dtype}; item ids [U, K] are expected."
        )
    return array.astype(np.int64, copy=False)


def _one_each(targets: ArrayLike, users: int) -> Relevance:
    column = as_column(targets, "targets", users).astype(np.int64)
    real = column > 0
    return Relevance(column[real], np.concatenate([[0], np.cumsum(real)]))


def _span(*arrays: IntArray) -> tuple[int, int]:
    """Return the lowest id and the number of ids up to the highest."""
    ends = [(int(array.min()), int(array.max())) for array in arrays if array.size]
    low, high = min((end[0] for end in ends), default=0), max((end[1] for end in ends), default=0)
    return low, high - low + 1


def _keys(users: IntArray, items: IntArray, span: tuple[int, int]) -> IntArray:
    """Return one integer for each (user, item), ordered by user."""
    return users * span[1] + (items - span[0])


def _gains(items: IntArray, truth: Relevance) -> FloatArray:
    """Return the gain of each place of each list, float64 ``[U, K]``."""
    users = np.arange(len(items))
    if len(truth.items) == 0:
        return np.zeros(items.shape)
    if truth.gains is None and len(truth.items) == len(items) and (truth.counts == 1).all():
        hits: BoolArray = items == truth.items[:, None]
        if (hits.sum(1) > 1).any():
            raise _twice(int((hits.sum(1) > 1).argmax()))
        return hits.astype(np.float64)
    span = _span(items, truth.items)
    known = _keys(np.repeat(users, truth.counts), truth.items, span)
    order = np.argsort(known)
    known = known[order]
    asked = _keys(users[:, None], items, span)
    place = np.minimum(np.searchsorted(known, asked.ravel()), len(known) - 1).reshape(asked.shape)
    hits = known[place] == asked
    found = np.sort(asked[hits])
    if (found[1:] == found[:-1]).any():
        raise _twice(int(found[:-1][found[1:] == found[:-1]][0] // span[1]))
    return hits.astype(np.float64) if truth.gains is None else np.where(hits, truth.gains[order][place], 0.0)


def _twice(user: int) -> DataError:
    return DataError(
        f"The list of user {user} (counted from 0) names a relevant item twice.", remedy="Rank each item once."
    )


def _metric_of_gains(metric: Metric, gains: FloatArray, counts: FloatArray, truth: Relevance) -> FloatArray:
    gains = gains[:, : metric.k]
    hits = gains > 0.0
    places = np.arange(1, gains.shape[1] + 1, dtype=np.float64)
    if metric.name == "ndcg":
        discount = 1.0 / np.log2(1.0 + places)
        return np.asarray((gains * discount).sum(1) / _ideal(truth, metric.k))
    if metric.name == "mrr":
        return np.where(hits.any(1), 1.0 / (hits.argmax(1) + 1.0), 0.0)
    if metric.name == "map":
        return np.asarray((np.cumsum(hits, axis=1) * hits / places).sum(1) / counts)
    found: FloatArray = hits.sum(1, dtype=np.float64)
    if metric.name == "hr":
        return (found > 0).astype(np.float64)
    return np.asarray(found / (counts if metric.name == "recall" else gains.shape[1]))


def _ideal(truth: Relevance, k: int | None) -> FloatArray:
    """Return the best DCG that each user allows in ``k`` places."""
    most = int(truth.counts.max(initial=0))
    best = most if k is None else min(k, most)
    discount = 1.0 / np.log2(np.arange(2, best + 2, dtype=np.float64))
    if truth.gains is None:
        reached = np.concatenate([[0.0], np.cumsum(discount)])
        return np.asarray(reached[np.minimum(truth.counts, best)])
    users = np.repeat(np.arange(len(truth)), truth.counts)
    order = np.lexsort((-truth.gains, users))
    place = np.arange(len(users)) - truth.offsets[:-1][users]
    kept = place < best
    gained = truth.gains[order][kept] * discount[place[kept]]
    return np.bincount(users[kept], gained, minlength=len(truth)).astype(np.float64)
