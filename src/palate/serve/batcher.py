"""Requests that arrive together are answered together: at most so many, at most so many milliseconds apart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from palate.errors import ServiceError
from palate.serve.gate import BusyError, TooSlowError
from palate.serve.refusals import without_words

__all__ = ["Batcher"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collect calls, run them as one on a thread, and give each its own result.

    A batch starts when it is full, or when its oldest call has waited ``max_wait``; while one runs, the next collects.
    A call whose client gave up before its batch started is dropped.

    Args:
        work: Takes a list, returns one result for each; a result that is an exception is raised for its call.
        max_batch: Calls in a batch.
        max_wait: Seconds that the first call of a batch waits for others.
        max_queue: Calls that may wait.
        seconds: Time limit of one call, waiting included.

    Raises:
        BusyError: From :meth:`run`, when the queue is full.
        TooSlowError: From :meth:`run`, when the limit passes.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Sequence[R | Exception]],
        *,
        max_batch: int = 32,
        max_wait: float = 0.005,
        max_queue: int = 256,
        seconds: float = 1.0,
        noted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._work, self._noted = work, noted
        self._max_batch, self._max_wait, self._max_queue, self._seconds = max_batch, max_wait, max_queue, seconds
        self._waiting: deque[tuple[float, T, asyncio.Future[R]]] = deque()
        self._running = False
        self._timer: asyncio.TimerHandle | None = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def waiting(self) -> int:
        """Calls that wait now."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether one more call would be turned away."""
        return len(self._waiting) >= self._max_queue

    async def run(self, call: T) -> R:
        """Return the result of ``call``."""
        if self.is_full:
            self._forget_abandoned()
        if self.is_full:
            raise BusyError(f"{self.waiting} requests are waiting already.", remedy="Try again in a second.")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((time.monotonic(), call, future))
        self._consider()
        try:
            return await asyncio.wait_for(future, self._seconds)
        except TimeoutError:
            raise TooSlowError(f"No answer within {self._seconds:g} s.", remedy="Try again in a second.") from None

    def close(self) -> None:
        """Stop the thread; calls that wait are turned away. A later call starts a thread again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(BusyError("The service is stopping."))
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _consider(self) -> None:
        """Start a batch if one is due, or see to it that it will be looked at again."""
        if self._running or not self._waiting:
            return
        due = self._waiting[0][0] + self._max_wait
        left = due - time.monotonic()
        if len(self._waiting) >= self._max_batch or left <= 0:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(left, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._consider()

    def _start(self) -> None:
        self._forget_abandoned()
        batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
        if not batch:
            return
        self._running = True
        self._noted(len(batch))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="palate-batch")
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._pool, self._work, [call for _, call, _ in batch])
        done.add_done_callback(lambda finished: self._give_out([future for _, _, future in batch], finished))

    def _give_out(self, futures: list[asyncio.Future[R]], finished: asyncio.Future[Sequence[R | Exception]]) -> None:
        self._running = False
        error = None if finished.cancelled() else finished.exception()
        if finished.cancelled() or error is not None:
            if error is not None:
                logger.error("A batch of %d failed.", len(futures), exc_info=without_words(error))
            results: Sequence[R | Exception] = [ServiceError("The batch failed.")] * len(futures)
        else:
            results = finished.result()
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue  # its client gave up meanwhile
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._consider()

    def _forget_abandoned(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry[2].done())
