"""A bounded queue in front of the model: a full house says so at once instead of making everybody wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from palate.errors import ServiceError

__all__ = ["BusyError", "Gate", "TooSlowError"]

T = TypeVar("T")


class BusyError(ServiceError):
    """The queue is full; try again in a moment."""

    code = "P501"


class TooSlowError(ServiceError):
    """The answer did not come within the time limit."""

    code = "P502"


class Gate:
    """Run calls on a few threads, with at most ``max_queue`` waiting and a time limit for each.

    Args:
        workers: Threads that run the model.
        max_queue: Requests that may wait beside those that run.
        seconds: Time limit of one request, waiting included.

    Raises:
        BusyError: From :meth:`run`, when the queue is full.
        TooSlowError: From :meth:`run`, when the limit passes.
    """

    def __init__(self, *, workers: int = 1, max_queue: int = 64, seconds: float = 10.0) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._workers = workers
        self._room = workers + max_queue
        self._inside = 0
        self._seconds = seconds

    @property
    def inside(self) -> int:
        """Requests that run or wait now."""
        return self._inside

    @property
    def is_full(self) -> bool:
        """Whether one more request would be turned away."""
        return self._inside >= self._room

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` on a thread and return its result."""
        if self.is_full:
            raise BusyError(f"{self._inside} requests are waiting already.", remedy="Try again in a second.")
        self._inside += 1
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=self._workers, thread_name_prefix="palate-model")
        call_done = self._pool.submit(call)
        # The place is free when the call has ended, not when its client stopped waiting: a slow model
        # must not be given ever more work.
        call_done.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(call_done)), self._seconds)
        except TimeoutError:
            call_done.cancel()  # only what has not started can still be dropped
            remedy = "Ask for fewer rows or items."
            raise TooSlowError(f"No answer within {self._seconds:g} s.", remedy=remedy) from None

    def close(self) -> None:
        """Stop the threads; calls that wait are dropped. A later call starts threads again."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _leave(self) -> None:
        self._inside -= 1
