"""Where the numbers of a run go: files by default, or a service behind the same two methods."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["CsvTracker", "JsonlTracker", "Tracker", "Trackers", "file_trackers"]


@runtime_checkable
class Tracker(Protocol):
    """Takes named numbers as a run goes on.

    A tracker may also have ``rewind(step)``: forget what was logged after ``step``. The loop calls it when it goes on
    from a checkpoint, so that nothing stands twice.
    """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values after ``step`` optimiser steps."""
        ...

    def close(self) -> None:
        """Write out what is still held back."""
        ...


class JsonlTracker:
    """One JSON object per line: ``{"step": 100, "train/loss": 0.69}``; NaN and infinity become null.

    Args:
        path: The file; lines are appended.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line."""
        row = {"step": step, **{name: value if math.isfinite(value) else None for name, value in values.items()}}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the lines after ``step``, and a last line that was cut short."""
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            _replace(self.path, "".join(line for line in lines if _step_of(line) <= step))

    def close(self) -> None:
        """Do nothing: every line is written at once."""


class CsvTracker:
    """One row per call, one column per name; a name that appears later adds its column to the rows before.

    Args:
        path: The file; rows are appended.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._columns = self._rows()[0] if self.path.exists() else []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row."""
        row = {"step": str(step), **{name: repr(float(value)) for name, value in values.items()}}
        new = [name for name in row if name not in self._columns]
        if new:
            rows = self._rows()[1] if self._columns else []
            self._columns += new
            self._write(rows)
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            csv.DictWriter(stream, self._columns, restval="", lineterminator="\n").writerow(row)

    def rewind(self, step: int) -> None:
        """Drop the rows after ``step``, and a last row that was cut short."""
        if self._columns:
            text = self.path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]
            rows = [row for row in csv.DictReader(whole.splitlines()) if int(row["step"]) <= step]
            self._write(rows)

    def close(self) -> None:
        """Do nothing: every row is written at once."""

    def _rows(self) -> tuple[list[str], list[dict[str, str]]]:
        with self.path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            return list(reader.fieldnames or []), list(reader)

    def _write(self, rows: list[dict[str, str]]) -> None:
        lines = [self._columns, *([row.get(name) or "" for name in self._columns] for row in rows)]
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        _replace(self.path, text.getvalue())


class Trackers:
    """Several trackers as one.

    Args:
        trackers: Each gets every value.
    """

    def __init__(self, *trackers: Tracker) -> None:
        self.trackers = trackers

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand the values to each tracker."""
        for tracker in self.trackers:
            tracker.log(step, values)

    def rewind(self, step: int) -> None:
        """Rewind those that can."""
        for tracker in self.trackers:
            if hasattr(tracker, "rewind"):
                tracker.rewind(step)

    def close(self) -> None:
        """Close each tracker."""
        for tracker in self.trackers:
            tracker.close()


def file_trackers(folder: str | Path) -> Trackers:
    """Return the default: ``metrics.jsonl`` and ``metrics.csv`` in ``folder``."""
    return Trackers(JsonlTracker(Path(folder) / "metrics.jsonl"), CsvTracker(Path(folder) / "metrics.csv"))


def _step_of(line: str) -> float:
    """Return the step of a whole line; one that was cut short comes after everything."""
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)
