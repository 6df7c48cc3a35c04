"""When to ask again: after failures the waiting time doubles, so that a cloud in trouble costs a device nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Breaker"]


class Breaker:
    """Closed while things go well; after the k-th failure in a row open for ``first * 2^(k - 1)`` seconds.

    Each wait is shortened by up to a quarter at random, so that devices that failed together do not return together.

    Args:
        first: Wait after the first failure, in seconds.
        longest: No wait is longer.
        clock: Where the time comes from.

    Example:
        >>> breaker = Breaker(first=1.0, clock=lambda: 0.0)
        >>> breaker.failed(); breaker.is_open
        True
        >>> breaker.succeeded(); breaker.is_open
        False
    """

    def __init__(self, *, first: float, longest: float = 300.0, clock: Callable[[], float]) -> None:
        self._first, self._longest, self._clock = first, longest, clock
        self._failures, self._until = 0, clock()
        self._random = random.Random()

    @property
    def is_open(self) -> bool:
        """Whether nothing should be asked now."""
        return self._clock() < self._until

    def failed(self, *, at_least: float = 0.0) -> None:
        """Note a failure; ``at_least`` is a wait that the other side asked for."""
        self._failures += 1
        wait = self._first * 2.0 ** min(self._failures - 1, 60)
        wait = max(wait * self._random.uniform(0.75, 1.0), at_least)
        self._until = self._clock() + min(wait, self._longest)

    def succeeded(self) -> None:
        """Note that things go well again."""
        self._failures, self._until = 0, self._clock()
