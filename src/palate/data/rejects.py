"""Bad rows: counted, listed, and on request written aside as they stood, so that nothing is lost.

Two forms, chosen by the ending of the file. ``.jsonl`` gets one object per row with ``file``, ``row``, ``reason``,
``column`` and ``raw``. Any other ending gets the rows in their own format, with ``reason`` and ``place`` in front.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from palate.data.readers.contract import Finding
from palate.errors import DataError, Problem

__all__ = ["Rejects"]


class Rejects:
    """Collects the defects found while files are read.

    Args:
        to: File for the bad rows; ``None`` when bad rows make the reading fail.
        listed: Rows listed one by one for each kind of defect; the rest are counted.
    """

    def __init__(self, to: str | Path | None = None, *, listed: int = 100) -> None:
        self.to = None if to is None else Path(to)
        self.rows = 0
        self._listed = listed
        self._problems: dict[tuple[str, str, str], list[Problem]] = {}
        self._counts: dict[tuple[str, str, str], int] = {}
        self._order: list[tuple[str, str, str]] = []
        self._out: IO[bytes] | None = None
        self._scratch = Path()

    def __enter__(self) -> Self:
        if self.to is not None:
            try:
                self.to.parent.mkdir(parents=True, exist_ok=True)
                self._scratch = self.to.with_name(f".{self.to.name}.new-{uuid.uuid4().hex[:12]}")
                self._out = self._scratch.open("wb")
            except OSError as error:
                raise DataError(f"{self.to} cannot be written: {error}.", remedy="Name another reject_to.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._out is not None and self.to is not None:
            self._out.close()
            if kind is None:
                self._scratch.replace(self.to)
            else:
                self._scratch.unlink(missing_ok=True)

    def mark(self) -> tuple[int, int, dict[tuple[str, str, str], int]]:
        """Remember this point, for :meth:`rewind`."""
        return self.rows, self._out.tell() if self._out is not None else 0, dict(self._counts)

    def rewind(self, mark: tuple[int, int, dict[tuple[str, str, str], int]]) -> None:
        """Forget everything since ``mark``: a file is read again from its start."""
        self.rows, place, self._counts = mark[0], mark[1], dict(mark[2])
        self._order = [key for key in self._order if key in self._counts]
        self._problems = {key: self._problems[key][: self._counts[key]] for key in self._order}
        if self._out is not None:
            self._out.seek(place)
            self._out.truncate()

    def add(self, file: Path, findings: Sequence[Finding], *, row_kind: str) -> None:
        """Take the defects of some rows; a row with several defects is one bad row."""
        for each in findings:
            key = (str(file), each.column, each.problem)
            if key not in self._counts:
                self._counts[key] = 0
                self._problems[key] = []
                self._order.append(key)
            self._counts[key] += 1
            if len(self._problems[key]) < self._listed:
                self._problems[key].append(
                    Problem(each.problem, each.remedy, key[0], each.row, each.column, each.value, row_kind=row_kind)
                )
        in_order = sorted(findings, key=lambda each: each.row)
        for _, group in groupby(in_order, key=lambda each: each.row):
            self.rows += 1
            self._write(file, list(group))

    def problems(self) -> tuple[Problem, ...]:
        """Return every problem: row by row up to the limit, then one line that counts the rest."""
        listed = [problem for key in self._order for problem in self._problems[key]]
        listed.sort(key=lambda problem: (problem.file, problem.row if problem.row is not None else -1))
        for key in self._order:
            more = self._counts[key] - len(self._problems[key])
            if more:
                remedy = self._problems[key][-1].remedy
                listed.append(Problem(f"more rows like this: {key[2]}", remedy, key[0], column=key[1], count=more))
        return tuple(listed)

    def raise_if_any(self) -> None:
        """Raise all problems as one error, unless bad rows are written aside.

        Raises:
            DataError: If a row is bad and there is no file for bad rows.
        """
        if self._counts and self.to is None:
            files = ", ".join(dict.fromkeys(Path(key[0]).name for key in self._order))
            count = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
            raise DataError(
                f"{count} of {files} cannot be used.",
                remedy="Mend them, or pass reject_to=FILE to set them aside and go on.",
                problems=self.problems(),
            )

    def _write(self, file: Path, findings: Sequence[Finding]) -> None:
        if self._out is None or self.to is None:
            return
        raw = findings[0].raw
        reason = "; ".join(f"{each.column}: {each.problem}" if each.column else each.problem for each in findings)
        if self.to.suffix == ".jsonl":
            entry = {"file": str(file), "row": findings[0].row, "reason": reason}
            entry |= {"column": next((each.column for each in findings if each.column), "")}
            try:
                entry["raw"] = raw.decode("utf-8")
            except UnicodeDecodeError:
                entry["raw_base64"] = base64.b64encode(raw).decode("ascii")
            self._out.write(json.dumps(entry, ensure_ascii=False).encode("utf-8") + b"\n")
            return
        if not self._out.tell():
            self._out.write(b"reason,place,row as it stood\n")
        place = f"{file.name}:{findings[0].row}"
        cells = ['"' + cell.replace('"', '""') + '"' for cell in (reason, place)]
        self._out.write(",".join(cells).encode("utf-8") + b"," + raw + b"\n")
