"""Checkpoints: folders that are whole or absent, the last few of them kept."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from palate.errors import CheckpointError, SavedFolderError
from palate.saving import SavedFolder, load_folder, restore_folder, save_folder

__all__ = ["CheckpointStore"]

KIND = "checkpoint"
logger = logging.getLogger(__name__)


class CheckpointStore:
    """The checkpoints of one run: ``checkpoint-000123`` is the state after 123 optimiser steps.

    A checkpoint appears under its name when all of it is on disk, and an older one goes only after that, so a kill at
    any moment leaves the newest whole one in place. One process writes to a folder at a time.

    Args:
        folder: The folder of the run; created when missing.
        keep: How many checkpoints stay.

    Example:
        >>> import tempfile, torch
        >>> store = CheckpointStore(Path(tempfile.mkdtemp()), keep=1)
        >>> for step in (10, 20):
        ...     _ = store.save(step, name="Model", documents={}, tensors={"model": {"w": torch.zeros(2)}})
        >>> [path.name for path in store.paths()]
        ['checkpoint-000020']
    """

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self.folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """Put back what a kill in the middle of a replacement set aside, and remove what a kill left half written."""
        self._put_back()
        for path in self.folder.glob(".checkpoint-*"):
            if re.fullmatch(r"\.checkpoint-\d+\.(new-[0-9a-f]+|old-[0-9a-f]+|previous)", path.name):
                shutil.rmtree(path, ignore_errors=True)

    def paths(self) -> list[Path]:
        """Return the checkpoints, newest last."""
        found = [path for path in self.folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
        return sorted(found, key=_step)

    def save(
        self,
        step: int,
        *,
        name: str,
        documents: Mapping[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
        facts: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write the checkpoint of ``step`` (it replaces one of the same step), then drop the oldest beyond ``keep``."""
        path = self.folder / f"checkpoint-{step:06d}"
        save_folder(path, kind=KIND, name=name, documents=documents, tensors=tensors, facts=facts)
        # Whatever is newer was passed over as damaged when the run went on from before it.
        for other in set(self.paths()) - set(self._up_to(step)[-self.keep :]):
            self._drop(other)
        return path

    def newest(self) -> SavedFolder | None:
        """Return the newest checkpoint that is whole, or ``None`` when there is none at all.

        Raises:
            CheckpointError: If there are checkpoints, but none of them can be read.
        """
        self._put_back()
        damaged: list[str] = []
        for path in reversed(self.paths()):
            try:
                return load_folder(path, kind=KIND)
            except SavedFolderError as error:
                logger.warning("%s is damaged and skipped: %s", path, error)
                damaged.append(path.name)
        if damaged:
            raise CheckpointError(
                f"None of the checkpoints in {self.folder} can be read: {', '.join(damaged)}.",
                remedy="Restore the folder from a copy, or start over with resume=False.",
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints of the folder."""
        for path in self.paths():
            self._drop(path)

    def _put_back(self) -> None:
        for path in self.folder.glob(".checkpoint-*.previous"):
            restore_folder(self.folder / path.name[1:].removesuffix(".previous"))

    def _up_to(self, step: int) -> list[Path]:
        return [path for path in self.paths() if _step(path) <= step]

    def _drop(self, path: Path) -> None:
        # Renamed first: a kill in the middle of the removal must not leave something that looks like a checkpoint.
        aside = path.with_name(f".{path.name}.old-{uuid.uuid4().hex[:12]}")
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])
