"""Progress of anything that takes a while: a bar on a terminal, plain lines elsewhere, or silence.

    with progress.task("reading", total=files, unit="files") as task:
        for file in files:
            ...
            task.advance()

A task costs next to nothing per call: it shows itself only every ``interval`` seconds.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["BarProgress", "LineProgress", "Progress", "SilentProgress", "Snapshot", "Task", "progress_for"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What can be said of a task at one moment.

    Attributes:
        label: What is being done.
        done: Units done, those before a resume included.
        total: Units in all, or ``None`` when unknown.
        unit: Name of the units, in the plural.
        seconds: Time since the task began.
        rate: Units per second since then.
        facts: Latest named values, for example a loss.
        finished: Whether this is the last word.
    """

    label: str
    done: int
    total: int | None
    unit: str
    seconds: float
    rate: float
    facts: Mapping[str, float | str] = field(default_factory=dict)
    finished: bool = False

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest takes at this rate, or ``None`` when it cannot be told."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate > 0 else None

    def __str__(self) -> str:
        parts = [f"{self.done:,} {self.unit}"]
        if self.total:
            parts = [f"{self.done:,}/{self.total:,} {self.unit} ({100 * self.done // self.total}%)"]
        parts.append(f"{self.rate:,.{0 if self.rate >= 100 else 1}f} {self.unit}/s")
        if self.finished:
            parts.append(f"{_clock(self.seconds)} in all")
        elif self.seconds_left is not None:
            parts.append(f"{_clock(self.seconds_left)} left")
        parts += [f"{name} {_short(value)}" for name, value in self.facts.items()]
        return f"{self.label}: {', '.join(parts)}"


class Task:
    """A piece of work under way; made by :meth:`Progress.task`."""

    def __init__(
        self, progress: Progress, label: str, total: int | None, unit: str, done: int, clock: Callable[[], float]
    ) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self._progress, self._clock, self._before = progress, clock, done
        self._begun = self._shown = clock()
        self._facts: dict[str, float | str] = {}
        self._closed = False

    def advance(self, count: int = 1, **facts: float | str) -> None:
        """Count ``count`` more units as done; ``facts`` are shown beside them until replaced."""
        self.done += count
        if facts:
            self._facts.update(facts)
        now = self._clock()
        if now - self._shown >= self._progress.interval:
            self._shown = now
            self._progress.show(self, self._snapshot(now))

    def close(self) -> None:
        """Say the last word; further calls do nothing."""
        if not self._closed:
            self._closed = True
            self._progress.show(self, self._snapshot(self._clock(), finished=True))

    def _snapshot(self, now: float, *, finished: bool = False) -> Snapshot:
        seconds = now - self._begun
        rate = (self.done - self._before) / seconds if seconds > 0 else 0.0
        return Snapshot(self.label, self.done, self.total, self.unit, seconds, rate, dict(self._facts), finished)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Progress(ABC):
    """Shows tasks.

    Args:
        interval: Seconds between two showings of a task.
        clock: Gives the time in seconds.
    """

    def __init__(self, *, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval
        self._clock = clock

    def task(self, label: str, total: int | None = None, *, unit: str = "steps", done: int = 0) -> Task:
        """Begin a task.

        Args:
            label: What is being done.
            total: How many units it has, or ``None``.
            unit: Name of the units, in the plural.
            done: Units done before (after a resume); they do not count in the rate.
        """
        return Task(self, label, total, unit, done, self._clock)

    @abstractmethod
    def show(self, task: Task, snapshot: Snapshot) -> None:
        """Show ``task`` as it stands."""

    def close(self) -> None:  # noqa: B027 - most have nothing to leave behind
        """Leave the terminal as it was."""


class SilentProgress(Progress):
    """Shows nothing."""

    def __init__(self) -> None:
        super().__init__(interval=float("inf"))

    def show(self, task: Task, snapshot: Snapshot) -> None:
        """Do nothing."""


class LineProgress(Progress):
    """Writes a plain line every ``interval`` seconds and one at the end of each task, for logs and pipes.

    Args:
        stream: Where to write; standard error when ``None``.
        interval: Seconds between two lines of a task.
        clock: Gives the time in seconds.

    Example:
        >>> with LineProgress(sys.stdout).task("reading", 2, unit="files") as task:
        ...     task.advance(2)  # doctest: +ELLIPSIS
        reading: 2/2 files (100%), ... files/s, 0:00 in all
    """

    def __init__(
        self, stream: TextIO | None = None, *, interval: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(interval=interval, clock=clock)
        self._stream = stream

    def show(self, task: Task, snapshot: Snapshot) -> None:
        """Write one line."""
        stream = self._stream or sys.stderr
        stream.write(f"{snapshot}\n")
        stream.flush()


class BarProgress(Progress):
    """Draws a bar per running task with rate and time left, and keeps one line of each finished task.

    Args:
        stream: A terminal; standard error when ``None``.
        interval: Seconds between two updates.
    """

    def __init__(self, stream: TextIO | None = None, *, interval: float = 0.1) -> None:
        super().__init__(interval=interval)
        self._stream = stream
        self._live: RichProgress | None = None
        self._bars: dict[Task, TaskID] = {}

    def show(self, task: Task, snapshot: Snapshot) -> None:
        """Draw the bar, or the last line."""
        live = self._started()
        if snapshot.finished:
            if task in self._bars:
                live.remove_task(self._bars.pop(task))
            live.console.print(str(snapshot), highlight=False, markup=False)
            if not self._bars:
                self.close()
            return
        if task not in self._bars:
            self._bars[task] = live.add_task(snapshot.label, total=snapshot.total, words="")
        # The label stands before the bar already.
        words = str(snapshot).removeprefix(f"{snapshot.label}: ")
        live.update(self._bars[task], completed=snapshot.done, words=words, refresh=True)

    def close(self) -> None:
        """Remove the bars and give the cursor back."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._bars = {}

    def _started(self) -> RichProgress:
        if self._live is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            console = Console(file=self._stream or sys.stderr)
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[words]}", markup=False),
            )
            # Drawn when a task shows itself: that is often enough, and needs no thread.
            self._live = RichProgress(*columns, console=console, transient=True, auto_refresh=False)
            self._live.start()
        return self._live


def progress_for(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """Return what suits ``stream`` (standard error when ``None``): a bar on a terminal, otherwise plain lines.

    Args:
        stream: Where progress goes.
        quiet: Show nothing at all.
    """
    if quiet:
        return SilentProgress()
    target = stream or sys.stderr
    return BarProgress(stream) if target.isatty() else LineProgress(stream)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"
