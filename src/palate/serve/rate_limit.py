"""So many requests a second for each key, with a reserve for bursts; keys are not kept in the clear."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from palate.errors import ServiceError

__all__ = ["LimitedError", "RateLimit"]


class LimitedError(ServiceError):
    """Too many requests; ``seconds`` says when the next one is welcome."""

    code = "P508"

    def __init__(self, message: str, *, seconds: float, remedy: str = "") -> None:
        self.seconds = seconds
        super().__init__(message, remedy=remedy)


class RateLimit:
    """A bucket of ``burst`` requests for each key, refilled at ``rate`` a second.

    What is kept, in memory only: a keyed hash of each of the last ``max_keys`` keys, a number and a time. A key that
    was forgotten starts with a full bucket.

    Args:
        rate: Requests a second; 0 for no limit.
        burst: Requests that may come at once.
        max_keys: Keys that are remembered.
        clock: Where the time comes from.

    Example:
        >>> limit = RateLimit(1.0, burst=2, clock=lambda: 0.0)
        >>> [limit.wait("a"), limit.wait("a"), limit.wait("a"), limit.wait("b")]
        [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(
        self, rate: float, *, burst: int, max_keys: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._max_keys, self._clock = rate, burst, max_keys, clock
        self._secret = secrets.token_bytes(32)
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Take one request of ``key`` and return 0, or return the seconds until there is one to take."""
        if not self._rate:
            return 0.0
        name = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=16).digest()
        now = self._clock()
        left, then = self._buckets.pop(name, (float(self._burst), now))
        left = min(left + (now - then) * self._rate, float(self._burst))
        missing = max(1.0 - left, 0.0)
        self._buckets[name] = (left if missing else left - 1.0, now)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return missing / self._rate

    def check(self, key: str, what: str) -> None:
        """Take one request of ``key``.

        Raises:
            LimitedError: If there is none to take.
        """
        seconds = self.wait(key)
        if seconds > 0:
            raise LimitedError(
                f"More than {self._rate:g} requests a second of one {what}.",
                seconds=seconds,
                remedy="Wait for the seconds of Retry-After.",
            )
