"""Shuffled batches of a table, each a pure function of (seed, epoch, step).

Choices made here:

* Every row comes exactly once per epoch. A tiny last batch is merged into the one before it, because batch
  normalisation fails on one row; it can be dropped instead.
* A table of up to ``pool_rows`` rows is shuffled as a whole. A larger one is cut into chunks that lie together on
  disk; the chunks are shuffled, dealt into pools of about ``pool_rows`` rows, and each pool is shuffled by itself. So
  a pool is a sample of the whole table, not of one moment of a log in time order, and disk is read in long runs.
* Processes that train together ask for the same joint batch and keep their slice of it, so the order of the rows does
  not depend on how many they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from palate.data.features import RankBatch
from palate.data.rank_table import RankTable
from palate.errors import ConfigError, DataError

__all__ = ["RankSource", "ShuffledRows"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
T = TypeVar("T")

_CHUNKS_PER_POOL = 64


class RankSource:
    """Batches of ``table`` for training; a :class:`~palate.train.contract.BatchSource`.

    Args:
        table: Encoded rows with labels.
        batch_size: Rows of a joint batch, at least 1.
        seed: Seed of the order, at least 0.
        shuffle: Whether to shuffle in each epoch; the order of the table otherwise.
        last: What becomes of a last batch below a sixteenth of ``batch_size`` (or of one row): ``merge`` it into
            the one before, or ``drop`` it.
        pool_rows: Largest number of rows that are shuffled together.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If the table is empty or has no labels.

    Example:
        >>> table = RankTable(ids=np.arange(10, dtype=np.int32)[:, None], labels=np.zeros(10, np.float32))
        >>> source = RankSource(table, batch_size=4, seed=0)
        >>> [len(source.batch(epoch=0, step=step)) for step in range(source.steps(0))]
        [4, 4, 2]
    """

    def __init__(
        self,
        table: RankTable,
        batch_size: int,
        seed: int = 0,
        *,
        shuffle: bool = True,
        last: Literal["merge", "drop"] = "merge",
        pool_rows: int = 1 << 20,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("pool_rows", pool_rows, 1)):
            if value < least:
                raise ConfigError(f"{name} is {value}.", remedy=f"It must be at least {least}.")
        if last not in ("merge", "drop"):
            raise ConfigError(f'last is "{last}".', remedy='Choose "merge" or "drop".')
        if not len(table) or table.labels is None:
            missing = "rows" if not len(table) else "labels"
            raise DataError(f"The table has no {missing}.", remedy="Train on encoded rows that carry labels.")
        self.table = table
        self.batch_size = batch_size
        self.seed = seed
        self._last = last
        self._order = ShuffledRows(len(table), seed, pool_rows) if shuffle else None
        self._rank, self._world = 0, 1

    def steps(self, epoch: int) -> int:
        """Return the number of batches of ``epoch``, the same for every epoch."""
        whole, rest = divmod(len(self.table), self.batch_size)
        tiny = max(2, self.batch_size // 16)
        return whole + (rest >= tiny or (not whole and rest > 0))

    def batch(self, epoch: int, step: int) -> RankBatch:
        """Return batch ``step`` of ``epoch`` (this process's slice of it).

        Raises:
            ConfigError: If the epoch has no such step.
        """
        start, stop = self._bounds(epoch, step)
        if self._order is None:
            return self.table.batch(slice(start, stop))
        return self.table.batch(self._order.rows(epoch, start, stop))

    def rows(self, epoch: int, step: int) -> IntArray:
        """Return the row ids of a batch (this process's slice of it)."""
        start, stop = self._bounds(epoch, step)
        return np.arange(start, stop) if self._order is None else self._order.rows(epoch, start, stop)

    def shard(self, rank: int, world: int) -> RankSource:
        """Return the source of process ``rank`` of ``world``: its slice of the same joint batches.

        Raises:
            ConfigError: If ``rank`` is not one of the processes, or the smallest batch has fewer rows than processes.
        """
        if not 0 <= rank < world:
            raise ConfigError(f"rank is {rank} of {world} processes.", remedy=f"It must be from 0 to {world - 1}.")
        smallest = min(stop - start for start, stop in (self._joint(0), self._joint(self.steps(0) - 1)))
        if smallest < world:
            raise ConfigError(
                f"The smallest batch has {smallest} rows for {world} processes.", remedy="Make batch_size larger."
            )
        shard = object.__new__(RankSource)
        shard.__dict__.update(self.__dict__)
        shard._rank, shard._world = rank, world
        return shard

    def _joint(self, step: int) -> tuple[int, int]:
        """Return the places in the epoch's order that the joint batch covers."""
        start, stop = step * self.batch_size, (step + 1) * self.batch_size
        rows = len(self.table)
        ends = step == self.steps(0) - 1 and self._last == "merge"
        return start, rows if ends else min(stop, rows)

    def _bounds(self, epoch: int, step: int) -> tuple[int, int]:
        steps = self.steps(epoch)
        if epoch < 0 or not 0 <= step < steps:
            raise ConfigError(f"There is no step {step} in epoch {epoch}; an epoch has {steps} steps from 0.")
        start, stop = self._joint(step)
        size = stop - start
        return start + size * self._rank // self._world, start + size * (self._rank + 1) // self._world


@dataclass
class ShuffledRows:
    """The order of ``num_rows`` rows in each epoch, computed pool by pool.

    Example:
        >>> order = ShuffledRows(num_rows=10, seed=0, pool_rows=4)
        >>> sorted(order.rows(epoch=3, start=0, stop=10).tolist()) == list(range(10))
        True
    """

    num_rows: int
    seed: int
    pool_rows: int
    _pools: _Recent[IntArray] = field(default_factory=lambda: _Recent(2), repr=False)
    _plans: _Recent[tuple[IntArray, IntArray]] = field(default_factory=lambda: _Recent(2), repr=False)

    def rows(self, epoch: int, start: int, stop: int) -> IntArray:
        """Return the rows at places ``start`` to ``stop`` of the order of ``epoch``."""
        _, bounds = self._plan(epoch)
        first = int(np.searchsorted(bounds, start, side="right")) - 1
        parts = []
        while start < stop:
            begin, end = int(bounds[first]), int(bounds[first + 1])
            parts.append(self._pool(epoch, first)[start - begin : min(stop, end) - begin])
            start, first = min(stop, end), first + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def _chunk(self) -> int:
        return max(1, self.pool_rows // _CHUNKS_PER_POOL)

    def _plan(self, epoch: int) -> tuple[IntArray, IntArray]:
        """Return the order of the chunks and where in the epoch each pool begins."""

        def make() -> tuple[IntArray, IntArray]:
            chunks = -(-self.num_rows // self._chunk)
            order = self._generator(epoch, 0).permutation(chunks)
            sizes = np.minimum((order + 1) * self._chunk, self.num_rows) - order * self._chunk
            per_pool = max(1, self.pool_rows // self._chunk)
            bounds = np.append(np.cumsum(sizes)[per_pool - 1 :: per_pool], self.num_rows)
            return order, np.unique(np.concatenate([[0], bounds]))

        return self._plans.get((epoch, 0), make)

    def _pool(self, epoch: int, pool: int) -> IntArray:
        def make() -> IntArray:
            per_pool = max(1, self.pool_rows // self._chunk)
            chunks = self._plan(epoch)[0][pool * per_pool : (pool + 1) * per_pool]
            rows = (chunks[:, None] * self._chunk + np.arange(self._chunk)).ravel()
            rows = rows[rows < self.num_rows]
            self._generator(epoch, 1 + pool).shuffle(rows)
            return rows

        return self._pools.get((epoch, pool), make)

    def _generator(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, stream])


class _Recent(Generic[T]):
    """The last few results; they can be made again at any time, so forgetting one changes nothing but time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[tuple[int, int], T] = {}

    def get(self, key: tuple[int, int], make: Callable[[], T]) -> T:
        value = self._kept.get(key)
        if value is None:
            value = make()
            for old in list(self._kept)[: 1 - self._size]:
                self._kept.pop(old, None)
            self._kept[key] = value
        return value
