"""A training of ours that goes on by one epoch whenever it is asked to, so that others can train in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from measure import Timing
from palate.train.contract import BatchSource, TrainConfig
from palate.train.loop import fit

__all__ = ["Turns"]


class Turns:
    """Runs :func:`palate.train.loop.fit` on a thread that waits after every epoch.

    Args:
        model: What is trained.
        source: Its batches.
        config: Settings of the loop; ``epochs`` is the number of turns.
        validate: Judges the model after the last turn, outside the clock.
    """

    def __init__(
        self, model: nn.Module, source: BatchSource[Any], config: TrainConfig, validate: Callable[[nn.Module], float]
    ) -> None:
        self.quality = float("nan")
        self.left = config.epochs
        self._validate = validate
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._timing: Timing | BaseException | None = None
        self._began = 0.0, 0.0
        self._thread = threading.Thread(target=self._run, args=(model, source, config), daemon=True)
        self._thread.start()

    def turn(self) -> Timing:
        """Train one epoch; what takes the time is the loop, from the first batch to the last update."""
        self._go.release()
        self._done.acquire()
        if isinstance(self._timing, BaseException):
            raise self._timing
        assert self._timing is not None
        return self._timing

    def end(self) -> float:
        """Let the training end, and return what ``validate`` found."""
        self._go.release()
        self._thread.join()
        return self.quality

    def _run(self, model: nn.Module, source: BatchSource[Any], config: TrainConfig) -> None:
        self._wait()
        try:
            fit(model, source, config, validate=self._between)
        except BaseException as error:  # the thread that asked for the turn raises it
            self._timing = error
            self._done.release()

    def _between(self, model: nn.Module) -> dict[str, float]:
        wall, cpu = self._began
        self._timing = Timing(time.perf_counter() - wall, None, time.process_time() - cpu)
        self.left -= 1
        if not self.left:
            self.quality = self._validate(model)
        self._done.release()
        self._wait()
        return {"auc": self.quality if not self.left else 0.5}

    def _wait(self) -> None:
        self._go.acquire()
        self._began = time.perf_counter(), time.process_time()
