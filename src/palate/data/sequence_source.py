"""Training batches of sequences that waste no padding: users of similar length share a batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from palate.data.sequences import IntArray, SequenceBatch, SequenceLog
from palate.errors import ConfigError, DataError, suggest

__all__ = ["SequenceSource"]

Windows = Literal["last", "all"]
Negatives = Literal["each", "shared"]
Sampler = Literal["uniform", "popularity"]

# How many batches are sorted by length together: enough for nearly full batches, few enough to stay random.
_BUCKET = 64
_NEGATIVES = 1  # stream of the random numbers that draw negatives; the plan of an epoch uses stream 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which stretch of the log each row of an epoch is, and which rows make each batch."""

    starts: IntArray
    lengths: IntArray
    users: IntArray
    batches: tuple[IntArray, ...]


@dataclass(frozen=True, eq=False)
class SequenceSource:
    """Inputs and next items of every user, as batches that are a pure function of (seed, epoch, step).

    Rows are shuffled, then sorted by length inside windows of 64 batches, and the order of batches is shuffled
    again: ``[B, L]`` is nearly full, where ``L`` is the longest row of the batch. Users with fewer than two items
    have nothing to predict and are left out.

    Args:
        log: The training log.
        batch_size: Rows per batch at most; batches are equal to within one row.
        max_length: Longest input; the row then spans ``max_length + 1`` items.
        seed: Seed of the order and of what is sampled.
        windows: ``last`` takes the last ``max_length + 1`` items of each user; ``all`` cuts longer histories into
            stretches at places that move from epoch to epoch, so that every item is a target once per epoch.
        num_negatives: Negatives per position (``each``) or per batch (``shared``); 0 for none.
        negatives: ``each`` draws for every position; ``shared`` draws one list for the batch.
        sampler: ``uniform`` over all items, or ``popularity`` in proportion to count^power.
        power: Exponent of ``popularity``.
        rank: Which share of every batch this process takes, see :meth:`shard`.
        world: Number of processes.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If no user has two items.

    Shapes:
        batch: items, targets int64 ``[B, L]``; lengths, users int64 ``[B]``; negatives int64 ``[B, L, N]`` or
            ``[N]``, never equal to the target of their position when drawn uniformly for ``each``.

    Example:
        >>> log = SequenceLog(np.array([4, 5, 6, 7, 8]), np.array([0, 3, 5]), num_items=8)
        >>> batch = SequenceSource(log, batch_size=2).batch(epoch=0, step=0)
        >>> sorted(batch.targets.tolist())
        [[5, 6], [8, 0]]
    """

    log: SequenceLog
    batch_size: int = 128
    max_length: int = 50
    seed: int = 0
    windows: Windows = "last"
    num_negatives: int = 0
    negatives: Negatives = "each"
    sampler: Sampler = "uniform"
    power: float = 0.75
    rank: int = 0
    world: int = 1
    _plans: dict[int, _Plan] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("max_length", 1), ("num_negatives", 0), ("world", 1), ("rank", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"SequenceSource: {name} is {getattr(self, name)}; it must be at least {least}.")
        _one_of("windows", self.windows, ("last", "all"))
        _one_of("negatives", self.negatives, ("each", "shared"))
        _one_of("sampler", self.sampler, ("uniform", "popularity"))
        if self.rank >= self.world:
            raise ConfigError(f"SequenceSource: rank is {self.rank}; with world={self.world} it must be less.")
        if self.num_negatives and self.log.num_items < 2:
            raise ConfigError("A log with one item has no negatives.", remedy="Use a loss without negatives.")
        if not (self.log.lengths >= 2).any():
            raise DataError(
                f"None of the {self.log.num_users:,} users has two items, so there is no next item to learn from.",
                remedy="Check that the log is sorted by user and was not cut too short.",
            )

    def shard(self, rank: int, world: int) -> SequenceSource:
        """Return the source of one of ``world`` processes: every ``world``-th row of the same batches."""
        return replace(self, rank=rank, world=world)

    def steps(self, epoch: int) -> int:
        """Return the number of batches of ``epoch``."""
        return len(self._plan(epoch).batches)

    def batch(self, epoch: int, step: int) -> SequenceBatch:
        """Return batch ``step`` of ``epoch``."""
        plan = self._plan(epoch)
        rows = plan.batches[step]
        starts, lengths = plan.starts[rows], plan.lengths[rows]
        column = np.arange(int(lengths.max()) + 1)[None, :]
        place = starts[:, None] + np.minimum(column, lengths[:, None])
        stretch = self.log.items[place]
        real = column[:, :-1] < lengths[:, None]
        items, targets = np.where(real, stretch[:, :-1], 0), np.where(real, stretch[:, 1:], 0)
        negatives, log_q = self._draw(epoch, step, targets)
        return self._share(items, lengths, targets, plan.users[rows], negatives, log_q)

    def _plan(self, epoch: int) -> _Plan:
        # Equal (seed, epoch) give equal plans, so keeping the last one changes nothing but time.
        if epoch not in self._plans:
            self._plans.clear()
            self._plans[epoch] = self._make_plan(epoch)
        return self._plans[epoch]

    @cached_property
    def _shares(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probability of each item 1..V under ``popularity``."""
        weights = np.bincount(self.log.items, minlength=self.log.num_items + 1)[1:] ** self.power
        return np.asarray(weights / weights.sum())

    def _make_plan(self, epoch: int) -> _Plan:
        generator = np.random.default_rng([self.seed, 0, epoch])
        starts, lengths, users = self._rows(generator)
        order = generator.permutation(len(starts))
        count = -(-len(order) // self.batch_size)
        if len(order) // count < self.world:
            raise ConfigError(
                f"A batch of {len(order) // count} rows cannot be shared by {self.world} processes.",
                remedy="Raise batch_size, or use fewer processes.",
            )
        sizes = [len(part) for part in np.array_split(order, count)]  # equal to within one row: no crumb at the end
        window = np.repeat(np.arange(count) // _BUCKET, sizes)
        order = order[np.lexsort((lengths[order], window))]
        batches = np.split(order, np.cumsum(sizes)[:-1])
        mixed = generator.permutation(len(batches))
        return _Plan(starts, lengths, users, tuple(batches[place] for place in mixed))

    def _rows(self, generator: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
        """Return where each row starts in the log, how many inputs it has, and whose it is."""
        users = np.flatnonzero(self.log.lengths >= 2)
        inputs = self.log.lengths[users] - 1
        begin, end = self.log.offsets[users], self.log.offsets[users + 1]
        if self.windows == "last":
            kept = np.minimum(inputs, self.max_length)
            return end - kept - 1, kept, users
        # The first stretch of a long history has 1 to max_length inputs, at random; the others are full.
        first = np.where(inputs > self.max_length, generator.integers(1, self.max_length + 1, len(users)), inputs)
        count = 1 + -(-(inputs - first) // self.max_length)
        owner = np.repeat(np.arange(len(users)), count)
        turn = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        offset = np.where(turn == 0, 0, first[owner] + (turn - 1) * self.max_length)
        length = np.where(turn == 0, first[owner], np.minimum(inputs[owner] - offset, self.max_length))
        return begin[owner] + offset, length, users[owner]

    def _draw(
        self, epoch: int, step: int, targets: IntArray
    ) -> tuple[IntArray | None, np.ndarray[Any, np.dtype[np.float32]] | None]:
        if not self.num_negatives:
            return None, None
        generator = np.random.default_rng([self.seed, _NEGATIVES, epoch, step])
        shape = (*targets.shape, self.num_negatives) if self.negatives == "each" else (self.num_negatives,)
        if self.sampler == "popularity":
            cumulative = np.cumsum(self._shares)
            place = np.searchsorted(cumulative, generator.random(shape) * cumulative[-1], side="right")
            return place + 1, np.log(self._shares[place]).astype(np.float32)
        if self.negatives == "shared":
            return generator.integers(1, self.log.num_items + 1, shape), None
        drawn = generator.integers(1, self.log.num_items, shape)
        return drawn + (drawn >= np.maximum(targets, 1)[:, :, None]), None

    def _share(
        self,
        items: IntArray,
        lengths: IntArray,
        targets: IntArray,
        users: IntArray,
        negatives: IntArray | None,
        log_q: np.ndarray[Any, np.dtype[np.float32]] | None,
    ) -> SequenceBatch:
        """Return the rows of this process as tensors, cut to their own longest row."""
        mine = slice(self.rank, None, self.world)
        width = int(lengths[mine].max())

        def tensor(array: np.ndarray[Any, Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array))

        def drawn(array: np.ndarray[Any, Any] | None) -> Tensor | None:
            if array is None:
                return None
            return tensor(array if array.ndim == 1 else array[mine, :width])

        return SequenceBatch(
            items=tensor(items[mine, :width]),
            lengths=tensor(lengths[mine]),
            targets=tensor(targets[mine, :width]),
            users=tensor(users[mine]),
            negatives=drawn(negatives),
            log_q=drawn(log_q),
        )


def _one_of(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ConfigError(f'SequenceSource: {name} is "{value}".', remedy=suggest(value, options))
