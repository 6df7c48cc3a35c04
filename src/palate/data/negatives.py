"""Negatives for a log of positives alone: sampled, counted, and corrected for.

Choices made here:

* A negative of a row is an item that its user is not known to have taken; which rows are known depends on the part.
  Training negatives avoid the user's training positives only: avoiding the held-out ones would tell training what
  the test holds.
* Items are drawn exactly, without trial and error: the user's positives are cut out of the line of cumulative
  weights, one number is drawn on what is left, and binary search finds its item.
* A model trained on sampled negatives sees a wrong share of positives. What was sampled is kept, so that its logits
  can be shifted back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from palate.data.item_index import ItemIndex
from palate.data.schema import Column, LabelRule, Role
from palate.data.split import PARTS, Split
from palate.data.tokens import TokenIndex
from palate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["NegativeSampling", "WithNegatives", "correct_logits", "sample_negatives", "with_negatives"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

# Weights by popularity are rounded to whole numbers that sum to about this.
_RESOLUTION = 1 << 31


@dataclass(frozen=True)
class NegativeSampling:
    r"""What was sampled, and what it does to a probability.

    The world that the rates speak of: for each positive row, every item that its user is not known to have taken is
    a negative once. Of these, a share ``rate`` was kept (of item ``i``, a share ``item_rates[i]``):

    .. math:: \text{rate} = \frac{k P}{\sum_p (V - n_{u(p)})}, \qquad
        \text{rate}_i = k\,w_i\, \frac{\sum_{p: i \notin I_{u(p)}} 1 / W_{u(p)}}{\sum_{p: i \notin I_{u(p)}} 1}

    with :math:`n_u` the number of items :math:`I_u` that user u is known to have taken, and :math:`W_u` the weight of
    all others.

    Attributes:
        positives: Rows that were there, ``P``.
        negatives: Rows that were sampled, ``k P``.
        num_items: Items to choose from, ``V``.
        per_positive: Negatives for each positive, ``k``.
        popularity: Exponent of an item's number of positives in its weight; 0 is uniform.
        seed: Seed of the draw.
        rate: Share of all negatives that was kept.
        item_rates: float64 ``[V + 1]``, the share by item (place 0 is unused), or ``None`` when it is uniform.
    """

    positives: int
    negatives: int
    num_items: int
    per_positive: int
    popularity: float
    seed: int
    rate: float
    item_rates: FloatArray | None = None

    def to_saved(self) -> tuple[dict[str, Any], dict[str, FloatArray]]:
        """Return the facts as a JSON document and arrays."""
        document = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "item_rates"}
        return document, {} if self.item_rates is None else {"item_rates": self.item_rates}

    @classmethod
    def from_saved(cls, document: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> Self:
        """Rebuild the facts from what :meth:`to_saved` returned."""
        return cls(**document, item_rates=arrays.get("item_rates"))


class WithNegatives(NamedTuple):
    """A data set with sampled negatives, its split (if one was given), and the facts by part (``all`` without one)."""

    dataset: Dataset
    split: Split | None
    sampling: dict[str, NegativeSampling]


def correct_logits(logits: ArrayLike, sampling: NegativeSampling, items: IntArray | None = None) -> FloatArray:
    r"""Return the logits that a model would have learned without sampling.

    .. math:: z' = z + \ln \text{rate}

    because keeping a share of the negatives divides the odds of a positive by that share.

    Args:
        logits: Logits of a model that was trained on sampled negatives.
        sampling: What was sampled for its training.
        items: Index 1..V of the item of each logit; needed when negatives were drawn by popularity.

    Shapes:
        logits, items: ``[N]`` -> float64 ``[N]``.

    Raises:
        ConfigError: If ``items`` is needed and not given.

    Example:
        >>> facts = NegativeSampling(10, 10, 100, 1, 0.0, 0, rate=0.01)
        >>> correct_logits([0.0], facts).round(4).tolist()  # even odds among the samples: 1 to 100 in truth
        [-4.6052]
    """
    z: FloatArray = np.asarray(logits, dtype=np.float64)
    if sampling.item_rates is None:
        return z + float(np.log(sampling.rate))
    if items is None:
        raise ConfigError(
            "Negatives were drawn by popularity, so the correction depends on the item.",
            remedy="Pass items=, the index of the item of each logit.",
        )
    corrected: FloatArray = z + np.log(sampling.item_rates[items])
    return corrected


def sample_negatives(
    users: IntArray,
    items: IntArray,
    num_items: int,
    *,
    per_positive: int = 4,
    popularity: float = 0.0,
    seed: int = 0,
    known: tuple[IntArray, IntArray] | None = None,
    counts: IntArray | None = None,
) -> tuple[IntArray, NegativeSampling]:
    """Draw negatives for positive rows, with replacement, from the items that each user is not known to have taken.

    Args:
        users: Number of each row's user, from 0.
        items: Index 1..V of each row's item.
        num_items: ``V``.
        per_positive: Negatives for each row, at least 1.
        popularity: Exponent alpha of the weight ``count ** alpha``; 0 draws uniformly, .75 is a common choice.
        seed: Seed of the draw, at least 0.
        known: Users and items of all positives that must not be drawn; the rows themselves when left out.
        counts: How many positives each item has, ``[V + 1]``; counted in the rows when left out. An item without any
            weighs as one with one.

    Shapes:
        users, items: int64 ``[P]`` -> int64 ``[P, per_positive]``.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If a user is known to have taken every item.
    """
    for name, value, least in (("per_positive", per_positive, 1), ("seed", seed, 0), ("popularity", popularity, 0)):
        if value < least:
            raise ConfigError(f"{name} is {value}.", remedy=f"It must be at least {least}.")
    known_users, known_items = (users, items) if known is None else known
    for numbers in (items, known_items):
        if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= num_items:
            raise DataError(
                f"Items are numbered from {numbers.min()} to {numbers.max()}; 1 to {num_items} is expected."
            )
    if counts is None:
        counts = np.bincount(items, minlength=num_items + 1)
    num_users = 1 + int(max(users.max(initial=-1), known_users.max(initial=-1)))
    line = _Line.build(_weights(counts[1:], popularity), known_users, known_items, num_users)
    room = line.room(users)
    if len(room) and room.min() == 0:
        raise DataError(
            f"User number {int(users[np.argmin(room)])} has taken every one of the {num_items:,} items.",
            remedy="There is no negative for such a user: leave it out.",
        )
    places = np.random.default_rng(seed).integers(0, room[:, None], size=(len(users), per_positive))
    drawn = line.items_at(np.repeat(users, per_positive), places.ravel()).reshape(len(users), per_positive)
    rate, item_rates = line.rates(users, per_positive)
    facts = NegativeSampling(
        positives=len(users),
        negatives=drawn.size,
        num_items=num_items,
        per_positive=per_positive,
        popularity=popularity,
        seed=seed,
        rate=rate,
        item_rates=None if popularity == 0 else item_rates,
    )
    return drawn, facts


def with_negatives(
    dataset: Dataset,
    split: Split | None = None,
    *,
    per_positive: int = 4,
    popularity: float = 0.0,
    seed: int = 0,
    index: ItemIndex | None = None,
) -> WithNegatives:
    """Return the data set with a label column: each positive is followed by its negatives.

    A negative has the user, the time and the context of its positive and another item. With a split, negatives of
    train avoid the user's items of train, those of validation also its items of validation, those of test all its
    items; popularity is counted in train. Rows follow their positive into its part.

    Args:
        dataset: A log of positives alone.
        split: A split of its rows.
        per_positive: Negatives for each positive.
        popularity: Exponent of the popularity in the weight of an item; 0 draws uniformly.
        seed: Seed of the draw.
        index: The items to choose from; those of catalogue and log when left out.

    Raises:
        ConfigError: If the data set has labels already.
        DataError: If rows have no user or no item, or a user has taken every item.
    """
    if dataset.has_labels:
        raise ConfigError(
            f'"{dataset.name}" has labels ({dataset.schema.label}), so it has negatives of its own.',
            remedy="Sample negatives for a log of positives alone: dataset.replace(...) without a label.",
        )
    index = ItemIndex.from_dataset(dataset) if index is None else index
    log = dataset.interactions
    item_name = dataset.schema.name_of("interactions", Role.ITEM)
    users, items = _codes(dataset, index)
    parts = {"all": np.arange(len(log))} if split is None else {part: split.part(part) for part in PARTS}
    counts = np.bincount(items[next(iter(parts.values()))], minlength=len(index) + 1)
    chosen = np.zeros((len(log), 1 + per_positive), dtype=np.int64)
    chosen[:, 0] = items
    sampling: dict[str, NegativeSampling] = {}
    known = np.empty(0, dtype=np.int64)
    for place, (part, rows) in enumerate(parts.items()):
        known = np.concatenate([known, rows])
        if not len(rows):
            continue
        chosen[rows, 1:], sampling[part] = sample_negatives(
            users[rows],
            items[rows],
            len(index),
            per_positive=per_positive,
            popularity=popularity,
            seed=seed * len(parts) + place,
            known=(users[known], items[known]),
            counts=counts,
        )
    kept = np.sort(known)
    frame = _grown(log, kept, chosen[kept], index, item_name)
    label = _free_name("label", log.columns)
    frame = frame.with_columns(pl.Series(label, np.tile([1] + [0] * per_positive, len(kept)), dtype=pl.Int8))
    schema = dataset.schema.replace(
        interactions=(*dataset.schema.interactions, Column(name=label, role=Role.LABEL)), label=LabelRule(column=label)
    )
    return WithNegatives(
        dataset.replace(interactions=frame, schema=schema),
        None if split is None else _grown_split(split, kept, per_positive),
        sampling,
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """Items as intervals on a line of whole numbers, and for each user what is left when its items are cut out.

    The cuts of user u are the items it has taken, in order; ``keys`` holds, for each cut, ``u * (W + 1)`` plus the
    place on the *shortened* line where it lies.
    """

    weights: IntArray
    starts: IntArray
    first: IntArray
    keys: IntArray
    removed: IntArray
    cut_users: IntArray
    cut_items: IntArray

    @classmethod
    def build(cls, weights: IntArray, users: IntArray, items: IntArray, num_users: int) -> _Line:
        """Lay out ``weights [V]`` and cut the taken items (1..V) out for each user."""
        total = int(weights.sum())
        starts = np.concatenate([[0], np.cumsum(weights)[:-1]])
        pairs = np.unique(users * len(weights) + (items - 1))
        cut_users, cut_items = np.divmod(pairs, len(weights))
        first = np.searchsorted(cut_users, np.arange(num_users + 1))
        removed = np.concatenate([[0], np.cumsum(weights[cut_items])])
        before = removed[:-1] - removed[first[cut_users]]
        keys = cut_users * (total + 1) + starts[cut_items] - before
        return cls(weights, starts, first, keys, removed, cut_users, cut_items)

    def room(self, users: IntArray) -> IntArray:
        """Return the length of what is left of the line for each user."""
        left: IntArray = int(self.weights.sum()) - (
            self.removed[self.first[users + 1]] - self.removed[self.first[users]]
        )
        return left

    def items_at(self, users: IntArray, places: IntArray) -> IntArray:
        """Return the item 1..V at each place of the shortened lines."""
        cuts = np.searchsorted(self.keys, users * (int(self.weights.sum()) + 1) + places, side="right")
        whole = places + self.removed[cuts] - self.removed[self.first[users]]
        found: IntArray = np.searchsorted(self.starts, whole, side="right").astype(np.int64, copy=False)
        return found

    def rates(self, users: IntArray, per_positive: int) -> tuple[float, FloatArray]:
        """Return the share of all negatives that is drawn on average, and the same item by item."""
        num_items = len(self.weights)
        events = np.bincount(users, minlength=len(self.first) - 1).astype(np.float64)
        taken = np.diff(self.first)
        rate = per_positive * events.sum() / max(float((events * (num_items - taken)).sum()), 1.0)
        shares = np.divide(1.0, self.room(np.arange(len(events))), out=np.zeros(len(events)), where=events > 0)
        drawn = (events * shares).sum() - np.bincount(
            self.cut_items, (events * shares)[self.cut_users], minlength=num_items
        )
        possible = events.sum() - np.bincount(self.cut_items, events[self.cut_users], minlength=num_items)
        by_item = per_positive * self.weights * np.divide(drawn, possible, out=np.zeros(num_items), where=possible > 0)
        return float(rate), np.concatenate([[np.nan], by_item])


def _weights(counts: IntArray, popularity: float) -> IntArray:
    if popularity == 0:
        return np.ones(len(counts), dtype=np.int64)
    real = np.maximum(counts, 1).astype(np.float64) ** popularity
    whole: IntArray = np.maximum(np.rint(real * (_RESOLUTION / real.sum())), 1).astype(np.int64)
    return whole


def _codes(dataset: Dataset, index: ItemIndex) -> tuple[IntArray, IntArray]:
    user, item = (dataset.schema.name_of("interactions", role) for role in (Role.USER, Role.ITEM))
    log = dataset.scan().select(user, item).collect()
    users = TokenIndex.of(log.get_column(user)).positions(log.get_column(user)).astype(np.int64)
    items = index.encode(log.get_column(item))
    lost = int(((users < 0) | (items == 0)).sum())
    if lost:
        raise DataError(f"{lost:,} rows have no user, or an item that the index does not have.", remedy="Drop them.")
    return users, items


def _grown(log: pl.DataFrame, rows: IntArray, items: IntArray, index: ItemIndex, item_name: str) -> pl.DataFrame:
    """Return ``rows`` of the log, each as often as ``items [P, 1 + k]`` has columns, with these items."""
    repeated = log[np.repeat(rows, items.shape[1])]
    ids = index.decode(items.ravel()).cast(log.schema[item_name]).alias(item_name)
    return repeated.with_columns(ids)


def _grown_split(split: Split, rows: IntArray, per_positive: int) -> Split:
    def grown(part: IntArray) -> IntArray:
        first = np.searchsorted(rows, part) * (1 + per_positive)
        return (first[:, None] + np.arange(1 + per_positive)).ravel()

    settings = {**split.settings, "negatives_per_positive": per_positive}
    return Split(grown(split.train), grown(split.validation), grown(split.test), how=split.how, settings=settings)


def _free_name(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name
