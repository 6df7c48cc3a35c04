"""A thread for the steps, so that Ctrl-C never tears one apart.

Python raises ``KeyboardInterrupt`` between any two bytecodes of the *main* thread: also in the middle of an optimiser
update, after which no checkpoint could be exact. A library installs no signal handlers, so the steps run on a thread
of their own, where the exception is never raised, while the main thread waits for them and passes the wish on.

The thread also flushes denormal numbers to zero. The moments of rows that no batch touches decay into denormals, on
which a dense update is more than ten times slower; the caller's own thread keeps its setting.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import Self, TypeVar

import torch

__all__ = ["Worker"]

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Worker:
    """Runs calls one after another on one thread of its own.

    The first Ctrl-C while a call runs sets :attr:`stop`, which the call looks at where it may stop; the second one is
    raised in the main thread at once.

    Args:
        device: The device that is current on the thread.

    Example:
        >>> with Worker() as worker:
        ...     worker.run(lambda: 6 * 7)
        42
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.stop = threading.Event()
        self._device = torch.device(device)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="palate-train", initializer=self._prepare)

    def _prepare(self) -> None:
        torch.set_flush_denormal(True)
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` on the thread and return what it returns or raise what it raises."""
        future = self._pool.submit(contextvars.copy_context().run, call)
        while True:
            try:
                return _wait(future)
            except KeyboardInterrupt:
                if future.done() and isinstance(future.exception(), KeyboardInterrupt):
                    raise
                if self.stop.is_set():
                    raise
                logger.warning("Interrupted: the step is finished and saved first. Once more stops at once.")
                self.stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _wait(future: Future[T]) -> T:
    while True:
        try:
            # A wait without a limit cannot be interrupted on every platform.
            return future.result(timeout=0.5)
        except NotYet:
            if future.done():
                return future.result()
