"""Cells of the comparison of memories: one memory, one reader, one set of questions; kept once finished.

Cells with a sentence encoder share a file of vectors, so that no text is encoded twice however often a run is cut.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from pydantic import Field

from palate.config import Config
from palate.memory.contract import Memory
from palate.memory.encoding import CachedEncoder
from palate.memory.judging import judge
from palate.memory.published import read_published
from palate.memory.retrieval import retrieve
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.memory.trajectory import Scenario
from palate.registry import find
from palate.represent.sentences import SentenceEncoder
from palate.represent.stored_vectors import StoredVectors
from palate.saving import write_json

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["VECTORS", "K", "MemoryCell", "run_memory_cells"]

K = 5
VECTORS = "vectors.sqlite"


class MemoryCell(Config):
    """What decides a cell's numbers.

    Attributes:
        memory: Public name of the memory.
        encoder: Encoder of a memory with vectors.
        reader: Public name of the reader; empty when only recall is measured (published data).
        data: ``simulated``, or a published format.
        digest: SHA-256 of the published file.
        noise: Noise messages per real one.
        questions: How many questions; 0 for all of a published file.
        seed: Seed of the simulator.
        scenarios: What is asked about.
    """

    memory: str
    encoder: Literal["", "words", "minilm"] = ""
    reader: str = ""
    data: Literal["simulated", "memdaily", "locomo"] = "simulated"
    digest: str = ""
    noise: int = Field(0, ge=0)
    questions: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
    scenarios: tuple[Scenario, ...] = ("person", "event", "hybrid")

    @property
    def key(self) -> str:
        """Name of the cell's file: readable first, then a digest of everything."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        digest = hashlib.sha256(document.encode()).hexdigest()[:16]
        return f"{self.data}-{self.memory}-{self.reader or 'recall'}-{self.noise}-{digest}"


def run_memory_cells(
    cells: Iterable[MemoryCell], folder: Path, files: dict[str, Path], *, workers: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return the results of ``cells`` by key, computing those that ``folder`` does not have, one by one.

    Args:
        cells: What to compute.
        folder: Where finished cells are kept.
        files: Published files by format.
        workers: Processes of one thread each.
        progress: Shows how far it is.
    """
    asked = {cell.key: cell for cell in cells}
    results = {
        key: json.loads(path.read_text(encoding="utf-8"))["result"]
        for key in asked
        if (path := folder / f"{key}.json").is_file()
    }
    missing = [cell for key, cell in asked.items() if key not in results]
    with progress.task("memsim", len(asked), unit="cells", done=len(results)) as task:
        for cell, result in _computed(_grouped(missing), folder, files, workers):
            write_json(folder / f"{cell.key}.json", {"cell": cell.model_dump(mode="json"), "result": result})
            results[cell.key] = result
            task.advance(memory=cell.memory)
    return results


def _grouped(cells: list[MemoryCell]) -> list[list[MemoryCell]]:
    """Keep together what encodes the same texts, so that two processes do not both encode them."""
    groups: dict[tuple[object, ...], list[MemoryCell]] = {}
    for cell in cells:
        alone = cell.encoder != "minilm"
        groups.setdefault((cell.key,) if alone else (cell.data, cell.noise), []).append(cell)
    return list(groups.values())


def _computed(
    groups: list[list[MemoryCell]], folder: Path, files: dict[str, Path], workers: int
) -> Iterator[tuple[MemoryCell, dict[str, Any]]]:
    if workers <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for cell in (cell for group in groups for cell in group):
                yield cell, _run_cell(cell, folder, files)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        waiting = [pool.submit(_run_group, group, folder, files) for group in groups]
        for done in as_completed(waiting):
            yield from done.result()


def _prepare_worker() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def _run_group(
    group: list[MemoryCell], folder: Path, files: dict[str, Path]
) -> list[tuple[MemoryCell, dict[str, Any]]]:
    return [(cell, _run_cell(cell, folder, files)) for cell in group]


def _run_cell(cell: MemoryCell, folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    memory = _memory(cell, folder)
    if cell.data == "simulated":
        config = SimulatorConfig(seed=cell.seed, noise=cell.noise, scenarios=cell.scenarios)
        answering = find("memory-reader", cell.reader).factory()
        asked = Simulator(config).trajectories(cell.questions)
        names = {"retriever": cell.memory, "reader_name": cell.reader}
        return judge(memory, answering, asked, k=K, noise=cell.noise, **names).to_document()
    trajectories = read_published(files[cell.data], cell.data)[: cell.questions or None]
    found = retrieve(memory, trajectories, K)
    return {
        "questions": len(found),
        "recall": [entry.recall for entry in found],
        "ceiling": [entry.ceiling for entry in found],
        "type": [entry.type for entry in found],
    }


def _memory(cell: MemoryCell, folder: Path) -> Memory:
    factory = cast("type[Memory]", find("memory", cell.memory).factory)
    if not cell.encoder:
        return factory()
    if cell.encoder == "words":
        return factory(factory.Config(encoder="words"))  # type: ignore[call-arg]
    return factory(encoder=_encoder(folder / VECTORS))  # type: ignore[call-arg]


@cache
def _encoder(path: Path) -> CachedEncoder:
    model = SentenceEncoder()
    return CachedEncoder(StoredVectors(model, path, name=model.name), size=20_000)
