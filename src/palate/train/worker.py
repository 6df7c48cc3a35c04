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
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

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
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        # A daemon: after the second Ctrl-C a step that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name="palate-train", daemon=True)

    def _serve(self) -> None:
        torch.set_flush_denormal(True)
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)
        while (call := self._calls.get()) is not None:
            # An interrupt just after the call was handed over makes the main thread hand it over again.
            if not call.over:
                call.go()

    def run(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the thread and return what it returns or raise what it raises."""
        call, given = _Call(function), False
        while True:
            try:
                if not given:
                    self._calls.put(call)
                    given = True
                while not call.over:
                    # A wait without a limit cannot be interrupted on every platform.
                    call.lock.acquire(timeout=0.5)
                break
            except KeyboardInterrupt:
                if self.stop.is_set():
                    raise
                self.stop.set()
                logger.warning("Interrupted: the step is finished and saved first. Once more stops at once.")
        if call.error is not None:
            raise call.error
        value: T = call.value
        return value

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)
        # A thread that is still letting go of tensors when the interpreter shuts down is cut off inside torch, which
        # then aborts the process. Only a step that hangs (see above) is not waited for.
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self._thread.join()


class _Call:
    """A function on its way through the thread. Its lock is released when it is over.

    Events and futures wait in Python code, which an interrupt can leave half way; a plain lock waits in one C call.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.context = contextvars.copy_context()
        self.over = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.lock.acquire()

    def go(self) -> None:
        try:
            self.value = self.context.run(self.function)
        except BaseException as error:
            self.error = error
        self.over = True
        self.lock.release()
