"""A split: which rows train, which choose, and which judge."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from palate.errors import SavedFolderError, UnknownNameError
from palate.saving import load_folder, save_folder

__all__ = ["PARTS", "Part", "Split", "fingerprint_rows"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


def fingerprint_rows(rows: IntArray) -> str:
    """Return the SHA-256 of a set of row ids; the order in which they are given does not matter."""
    ordered = np.sort(np.asarray(rows, dtype=np.int64)).astype("<i8")
    return hashlib.sha256(ordered.tobytes()).hexdigest()


@dataclass(frozen=True)
class Split:
    """Row ids of the three parts, and how they came about.

    Attributes:
        train: int64, rows to learn from.
        validation: int64, rows to choose settings and the stopping point by.
        test: int64, rows to judge by, once.
        how: ``time``, ``ratio``, ``user``, ``column`` or ``leave-one-out``.
        settings: The settings that made it.

    Example:
        >>> Split(np.array([0, 1]), np.array([2]), np.array([3]), how="time")
        Split(time: 2 train, 1 validation, 1 test)
    """

    train: IntArray
    validation: IntArray
    test: IntArray
    how: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in PARTS:
            rows = np.array(getattr(self, part), dtype=np.int64)
            rows.setflags(write=False)
            object.__setattr__(self, part, rows)

    def part(self, name: str) -> IntArray:
        """Return the rows of ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: If there is no such part.
        """
        if name not in PARTS:
            raise UnknownNameError.among("part of a split", name, PARTS)
        rows: IntArray = getattr(self, name)
        return rows

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the rows of the three parts: two splits with the same one are the same split."""
        return hashlib.sha256("".join(fingerprint_rows(self.part(part)) for part in PARTS).encode()).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the split as a folder of safetensors and JSON."""
        return save_folder(
            path,
            kind="split",
            name=self.how,
            documents={"split": {"how": self.how, "settings": dict(self.settings), "fingerprint": self.fingerprint}},
            arrays={"rows": {part: self.part(part) for part in PARTS}},
        )

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read a split back.

        Raises:
            SavedFolderError: If the folder is missing, incomplete or altered.
        """
        folder = load_folder(path, kind="split")
        document, rows = folder.document("split"), folder.arrays("rows")
        train, validation, test = (rows[part] for part in PARTS)
        split = cls(train, validation, test, how=document["how"], settings=document["settings"])
        if split.fingerprint != document["fingerprint"]:
            raise SavedFolderError(f"The rows of {path} are not those that were saved.", remedy="Make the split again.")
        return split

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Split) and self.fingerprint == other.fingerprint and self.how == other.how

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Split({self.how}: " + ", ".join(f"{len(self.part(part)):,} {part}" for part in PARTS) + ")"
