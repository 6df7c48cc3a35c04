"""Cells of a comparison, whatever they train: computed by one thread each, kept once finished, never computed twice.

A cell's file is named after everything that decides its numbers, so a cell that is asked for twice, also by two parts
of a plan, is computed once, and a changed setting never meets an old number.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from palate.config import Config
from palate.saving import write_json

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["AnyCell", "CellStore", "cell_key", "compute_cells", "computed", "one_thread"]


class AnyCell(Protocol):
    """What a cell needs to be: frozen settings with a key."""

    @property
    def key(self) -> str:
        """Name of the cell's file."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        ...


CellT = TypeVar("CellT", bound=AnyCell)
Job = TypeVar("Job")
Done = TypeVar("Done")


def cell_key(cell: Config, *readable: object) -> str:
    """Return the name of a cell's file: readable first, then a digest of all its settings."""
    document = json.dumps(cell.model_dump(mode="json"), sort_keys=True)
    digest = hashlib.sha256(document.encode()).hexdigest()[:16]
    return "-".join([*map(str, readable), digest])


class CellStore:
    """Finished cells as JSON files in a folder.

    Args:
        folder: Where they lie; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, cell: AnyCell) -> dict[str, Any] | None:
        """Return the cell's result, or ``None`` when it is not finished."""
        path = self.folder / f"{cell.key}.json"
        if not path.is_file():
            return None
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
        return result

    def put(self, cell: AnyCell, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        write_json(self.folder / f"{cell.key}.json", {"cell": cell.model_dump(mode="json"), "result": dict(result)})


def compute_cells(
    cells: Iterable[CellT],
    store: CellStore,
    work: Callable[[CellT], dict[str, Any]],
    *,
    workers: int = 1,
    progress: Progress,
    label: str,
    facts: Callable[[CellT, Mapping[str, Any]], Mapping[str, float | str]],
) -> dict[str, dict[str, Any]]:
    """Return the results of ``cells`` by key, computing those that ``store`` does not have.

    Each cell is computed by one thread, so that its numbers do not depend on ``workers``.

    Args:
        cells: What to compute; doubles are computed once.
        store: Where finished cells are kept, one by one as they finish.
        work: Computes a cell; a function of a module when there are several workers.
        workers: Processes.
        progress: Shows how far it is.
        label: What is being done.
        facts: What the progress says of a finished cell.
    """
    asked = {cell.key: cell for cell in cells}
    results = {key: found for key, cell in asked.items() if (found := store.get(cell)) is not None}
    missing = [cell for key, cell in asked.items() if key not in results]
    with progress.task(label, len(asked), unit="cells", done=len(results)) as task:
        for cell, result in computed(missing, work, workers=workers):
            store.put(cell, result)
            results[cell.key] = result
            task.advance(1, **facts(cell, result))
    return results


def computed(jobs: list[Job], work: Callable[[Job], Done], *, workers: int) -> Iterator[tuple[Job, Done]]:
    """Yield each job with its result as it finishes, each computed by one thread.

    Args:
        jobs: What to compute.
        work: Computes one; a function of a module when there are several workers.
        workers: Processes.
    """
    if workers <= 1 or len(jobs) <= 1:
        with one_thread():
            for job in jobs:
                yield job, work(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_prepare_worker) as pool:
        waiting = {pool.submit(work, job): job for job in jobs}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
