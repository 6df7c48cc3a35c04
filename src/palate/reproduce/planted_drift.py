"""A planted log whose users change their taste in mid-sequence; clusters and true chances are known.

Every item belongs to two clusters and is followed by another item in each, so the last item alone does not say what
comes next: a model must know which cluster the user is in, and notice when that changes. Choices made here:

* Within a cluster, the next item is the last one's follower in that cluster with probability ``follow``, else any of
  the cluster's items, popular ones more often (Zipf); with probability ``noise`` it is any item at all.
* Some users switch to another cluster once; the test item lies 1 to ``max_since`` items after the switch. The others
  never do: they say what is lost by switching.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field

from palate.config import Config
from palate.data.sequences import IntArray, SequenceLog
from palate.evaluate import ranks_of_targets

__all__ = ["DriftConfig", "DriftLog", "DriftWorld"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


class DriftConfig(Config):
    """Settings of the world.

    Attributes:
        num_items: Items ``V``.
        num_clusters: Clusters ``C``, an even number; each holds ``2 V / C`` items.
        num_users: Users.
        length: Items of each user.
        follow: Probability that the follower of the last item comes next.
        noise: Probability that any item comes next.
        switching: Share of the users that switch.
        max_since: The test item is the 1st to this many-th after the switch.
        seed: Seed of world and users.
    """

    num_items: int = Field(400, ge=4)
    num_clusters: int = Field(20, ge=4, multiple_of=2)
    num_users: int = Field(2000, ge=1)
    length: int = Field(30, ge=6)
    follow: float = Field(0.6, ge=0, le=1)
    noise: float = Field(0.05, ge=0, le=1)
    switching: float = Field(0.75, ge=0, le=1)
    max_since: int = Field(12, ge=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True, eq=False)
class DriftLog:
    """What the users did, and what is true of them.

    Attributes:
        log: Their items.
        clusters: int64 ``[U, N]``, the cluster in which each item was chosen.
        since: int64 ``[U]``, how many items of the new cluster stand before the test item; -1 for who never switches.
    """

    log: SequenceLog
    clusters: IntArray
    since: IntArray


class DriftWorld:
    """Clusters, followers and chances, drawn from the seed.

    Equation:
        p(j | i, c) = noise / V + (1 - noise) (follow [j = follower_c(i)] + (1 - follow) zipf_c(j))
        (without the first term in the bracket where i is not of cluster c; its share goes to the second)

    Example:
        >>> world = DriftWorld(DriftConfig(num_items=8, num_clusters=4, num_users=3, length=6, max_since=2))
        >>> chances = world.chances(np.array([0]), np.array([0]))
        >>> chances.shape, round(float(chances.sum()), 6)
        ((1, 9), 1.0)
    """

    def __init__(self, config: DriftConfig) -> None:
        self.config = config
        rng = np.random.default_rng([config.seed, 0])
        # The catalogue is cut twice, so each item is in one cluster of either half.
        cuts = [rng.permutation(config.num_items) + 1 for _ in range(2)]
        parts = [part for cut in cuts for part in np.array_split(cut, config.num_clusters // 2)]
        self.members = parts
        self.follower = np.zeros((len(parts), config.num_items + 1), np.int64)
        self.taste = np.zeros((len(parts), config.num_items + 1))
        for cluster, items in enumerate(parts):
            ring = rng.permutation(items)
            self.follower[cluster, ring] = np.roll(ring, -1)
            zipf = 1.0 / np.arange(1, len(items) + 1)
            self.taste[cluster, items] = zipf / zipf.sum()

    def chances(self, clusters: IntArray, last: IntArray) -> FloatArray:
        """Return the true probability of every item after ``last [B]`` in ``clusters [B]``, ``[B, V + 1]``."""
        config, rows = self.config, np.arange(len(last))
        follower = self.follower[clusters, last]
        known = np.where(follower > 0, config.follow, 0.0)
        chances = (1.0 - known)[:, None] * self.taste[clusters]
        chances[rows, follower] += known
        chances *= 1.0 - config.noise
        chances[:, 1:] += config.noise / config.num_items
        chances[:, 0] = 0.0
        return chances

    @cached_property
    def drawn(self) -> DriftLog:
        """The users of this world."""
        config = self.config
        rng = np.random.default_rng([config.seed, 1])
        users, length = config.num_users, config.length
        first = rng.integers(config.num_clusters, size=users)
        second = (first + rng.integers(1, config.num_clusters, size=users)) % config.num_clusters
        since = rng.integers(0, config.max_since, size=users)
        since = np.where(rng.random(users) < config.switching, since, -1)
        start = np.where(since < 0, length, length - 1 - since)  # place of the first item of the new cluster
        clusters = np.where(np.arange(length) < start[:, None], first[:, None], second[:, None])
        items = np.zeros((users, length), np.int64)
        last = np.zeros(users, np.int64)
        for place in range(length):
            chances = self.chances(clusters[:, place], last).cumsum(1)
            last = (rng.random((users, 1)) * chances[:, -1:] > chances).sum(1)
            items[:, place] = last
        offsets = np.arange(users + 1, dtype=np.int64) * length
        return DriftLog(SequenceLog(items.ravel(), offsets, config.num_items), clusters, since)

    def best_ranks(self, back: int = 0) -> FloatArray:
        """Return the rank of each user's item ``back`` before the last under the true chances: no model does better."""
        drawn, place = self.drawn, self.config.length - 1 - back
        items = drawn.log.items.reshape(-1, self.config.length)
        chances = self.chances(drawn.clusters[:, place], items[:, place - 1])
        return np.asarray(ranks_of_targets(chances[:, 1:], items[:, place] - 1), np.float64)
