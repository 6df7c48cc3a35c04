"""One family of errors: each has a stable code, and a sentence that says what to do.

Every error that Palate raises on purpose is a :class:`PalateError`. The code (``P2xx`` for data, ``P3xx`` for
training, ...) never changes between releases, so scripts and services may rely on it; the words may improve.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "LeakageError",
    "MissingExtraError",
    "NonFiniteError",
    "NotFittedError",
    "PalateError",
    "Problem",
    "SavedFolderError",
    "SchemaError",
    "ServiceError",
    "TrainingError",
    "UnknownItemError",
    "UnknownNameError",
    "suggest",
]


def suggest(name: str, options: Iterable[str], *, limit: int = 3) -> str:
    """Return a sentence that proposes the nearest of ``options``, or lists them when none is near.

    Example:
        >>> suggest("learning_rte", ["learning_rate", "epochs"])
        'Did you mean "learning_rate"?'
    """
    known = sorted(set(options))
    folded = {option.lower().replace("-", "_"): option for option in known}
    near = difflib.get_close_matches(name.lower().replace("-", "_"), list(folded), n=limit, cutoff=0.6)
    if near:
        quoted = " or ".join(f'"{folded[match]}"' for match in near)
        return f"Did you mean {quoted}?"
    shown = ", ".join(f'"{option}"' for option in known[:12])
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return f"Known: {shown}{more}." if known else "Nothing is known by that kind of name."


class PalateError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What went wrong: the thing, where, what came and what was expected.
        remedy: What to do about it, as a sentence.
    """

    code: ClassVar[str] = "P000"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"[{self.code}] {message}" + (f" {remedy}" if remedy else ""))


class ConfigError(PalateError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    code = "P100"


class UnknownNameError(PalateError):
    """No component, data set, metric or command has this name."""

    code = "P101"

    @classmethod
    def among(cls, what: str, name: str, options: Iterable[str]) -> UnknownNameError:
        """Build the error for ``name`` with the nearest of ``options`` as the remedy."""
        return cls(f'There is no {what} called "{name}".', remedy=suggest(name, options))


class MissingExtraError(PalateError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    code = "P102"

    @classmethod
    def needs(cls, package: str, extra: str, purpose: str) -> MissingExtraError:
        """Build the error for a missing ``package`` that the extra ``extra`` installs."""
        return cls(
            f'{purpose} needs the package "{package}", which is not installed.',
            remedy=f"Install it with: pip install 'palate[{extra}]'",
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect of a table: where it stands, what was found, and how to mend it.

    ``row`` counts as a person does in an editor: the first line of the file is 1, header included; for formats
    without lines it is the index of the record, starting at 0, and ``row_kind`` says so.
    """

    problem: str
    remedy: str
    file: str = ""
    row: int | None = None
    column: str = ""
    value: str | None = None
    count: int = 1
    row_kind: str = "line"

    def __str__(self) -> str:
        where = [part for part in (self.file, f"{self.row_kind} {self.row}" if self.row is not None else "") if part]
        if self.column:
            where.append(f'column "{self.column}"')
        place = ", ".join(where)
        seen = f" (value {self.value!r})" if self.value is not None else ""
        more = f" [{self.count:,} rows]" if self.count > 1 else ""
        return f"{place + ': ' if place else ''}{self.problem}{seen}{more}. {self.remedy}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


class DataError(PalateError):
    """A table or a file cannot be used as it is; carries *all* its problems, not only the first.

    Args:
        message: A summary sentence.
        problems: Every defect that was found.
    """

    code = "P200"
    shown: ClassVar[int] = 20

    def __init__(self, message: str, *, remedy: str = "", problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        lines = [f"  - {problem}" for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"  ... and {len(self.problems) - self.shown} more problems")
        super().__init__("\n".join([message, *lines]), remedy=("\n" if lines else "") + remedy if remedy else "")


class SchemaError(DataError):
    """The columns of a table do not fit the roles that were declared for them."""

    code = "P201"


class LeakageError(DataError):
    """A split lets rows, targets or later times of the test part reach training."""

    code = "P202"


class UnknownItemError(DataError):
    """An item is asked for that neither the catalogue nor the log contains."""

    code = "P203"


class TrainingError(PalateError):
    """Training cannot go on."""

    code = "P300"


class NonFiniteError(TrainingError):
    """A loss, score or gradient is NaN or infinite; names the batch and the parameters concerned."""

    code = "P301"


class NotFittedError(PalateError):
    """The object must be fitted before this call."""

    code = "P302"


class SavedFolderError(PalateError):
    """A saved folder is missing, incomplete, altered, or of a newer format."""

    code = "P400"


class CheckpointError(SavedFolderError):
    """A checkpoint does not fit the run that wants to continue from it."""

    code = "P401"


class ServiceError(PalateError):
    """A request to or from a service cannot be answered."""

    code = "P500"
