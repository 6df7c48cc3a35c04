"""MemSim: keys that are right by construction, and the order of memory mechanisms as noise grows.

Ten memories answer simulated questions at four levels of mixed noise. Where the published files are at hand, four of
them are also asked the questions of MemDaily (Chinese) and LoCoMo (English); set ``PALATE_MEMDAILY`` and
``PALATE_LOCOMO`` to the files (plain or gzipped JSON). They are never part of this package.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palate.errors import DataError
from palate.evaluate.intervals import bootstrap_interval
from palate.memory.judging import Result
from palate.reproduce.environment import environment_of
from palate.reproduce.memsim_cells import VECTORS, K, MemoryCell, run_memory_cells
from palate.reproduce.memsim_claims import Generated, claims_of

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["FILES", "MECHANISMS", "SYSTEM", "run"]

SYSTEM = "memsim"
MECHANISMS = ("none", "noise", "recent", "bm25", "dense", "hybrid", "fact-store", "temporal-graph", "full", "oracle")
SEARCHED = ("recent", "bm25", "dense", "hybrid")
LEVELS = (0, 9, 49, 99)
QUESTIONS = {0: 600, 9: 600, 49: 198, 99: 108}  # encoding a hundred thousand texts takes a core eleven minutes
FILES = {"memdaily": "PALATE_MEMDAILY", "locomo": "PALATE_LOCOMO"}
LANGUAGES = {"memdaily": "Chinese", "locomo": "English"}


def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]:
    """Run every mechanism at every noise level and return the claims; finished cells are kept.

    Raises:
        DataError: If an environment variable names a file that is not there.
    """
    began = time.perf_counter()
    folder = out / "cells" / SYSTEM / ("smoke" if smoke else "full")
    folder.mkdir(parents=True, exist_ok=True)
    files = _files()
    cells = [*_simulated(smoke), *_published(files, smoke)]
    results = run_memory_cells(cells, folder, files, workers=workers, progress=progress)
    judged = {cell: Result.from_document(results[cell.key]) for cell in cells if cell.data == "simulated"}
    searched = {cell: results[cell.key] for cell in cells if cell.data != "simulated"}
    generated = Generated.check(keys=60 if smoke else 3000, guesses=100 if smoke else 1000, lives=10 if smoke else 1500)
    for leftover in folder.glob(VECTORS + "*"):
        leftover.unlink()
    return {
        "system": SYSTEM,
        "schema": 1,
        "settings": {
            "levels": {cell.noise: cell.questions for cell in judged},
            "k": K,
            "mix": "50 % chat, 30 % other people, 20 % same",
            "encoder": sorted({cell.encoder for cell in cells if cell.encoder}),
            "published": {
                name: f"{files[name].name}, SHA-256 {_digest(files[name])[:16]}"
                if name in files
                else f"absent: set {variable} to the file"
                for name, variable in FILES.items()
            },
        },
        "seeds": [0],
        "environment": environment_of(workers),
        "seconds": time.perf_counter() - began,
        "table": [
            *(_judged_row(cell, result) for cell, result in judged.items()),
            *(_searched_row(cell, found) for cell, found in searched.items()),
        ],
        "claims": claims_of(judged, searched, generated),
    }


def _simulated(smoke: bool) -> list[MemoryCell]:
    cells = []
    for noise in LEVELS[:2] if smoke else LEVELS:
        for name in MECHANISMS:
            # A smoke run encodes a few hundred texts with the sentence encoder, no more.
            encoder = "" if name not in ("dense", "hybrid") else "words" if smoke and noise else "minilm"
            count = 18 if smoke else QUESTIONS[noise]
            cells.append(MemoryCell(memory=name, encoder=encoder, reader="symbolic", noise=noise, questions=count))
    cells += [MemoryCell(memory=name, reader="lexical", questions=cells[0].questions) for name in ("none", "oracle")]
    return cells


def _published(files: dict[str, Path], smoke: bool) -> list[MemoryCell]:
    cells = []
    for name, path in files.items():
        common: dict[str, Any] = {"data": name, "digest": _digest(path), "questions": 30 if smoke else 0}
        cells += [
            MemoryCell(memory=memory, encoder="minilm" if memory in ("dense", "hybrid") else "", **common)
            for memory in SEARCHED
        ]
        # What hashed words and pairs of characters find, where the sentence encoder does not know the language.
        cells.append(MemoryCell(memory="dense", encoder="words", **common))
    return cells


def _files() -> dict[str, Path]:
    found = {name: Path(value) for name, variable in FILES.items() if (value := os.environ.get(variable))}
    for name, path in found.items():
        if not path.is_file():
            raise DataError(f"{FILES[name]} is {path}, where no file is.", remedy="Correct or unset the variable.")
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _judged_row(cell: MemoryCell, result: Result) -> dict[str, Any]:
    summary = result.summary()
    rows = summary["by type"]
    metrics: dict[str, Any] = {
        f"accuracy {type}": {"mean": entry["accuracy"], "interval": entry["interval"]} for type, entry in rows.items()
    }
    for name in (f"recall@{K}", "normalised recall"):
        metrics |= {f"{name} {type}": {"mean": entry[name], "interval": None} for type, entry in rows.items()}
    # With a file of vectors the time to add says nothing; benchmarks/memory.py measures it.
    timed = (
        ("recall_seconds", "answer_seconds") if cell.encoder else ("add_seconds", "recall_seconds", "answer_seconds")
    )
    for name in (*timed, "prompt_length", "messages", "abstained", "unparsed", "failed"):
        metrics[name] = {"mean": summary[name], "interval": None}
    encoder = f" ({cell.encoder})" if cell.encoder else ""
    return {"row": f"{cell.memory}{encoder}, {cell.reader} reader, {cell.noise} noise", **metrics}


def _searched_row(cell: MemoryCell, found: dict[str, Any]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    types = np.array(found["type"])
    for type in ["all", *dict.fromkeys(found["type"])]:
        recall = np.array(found["recall"])[(types == type) | (type == "all")]
        metrics[f"recall@{K} {type}"] = _mean(recall)
    encoder = {"": "", "words": " (hashed words)", "minilm": " (MiniLM, made for English)"}[cell.encoder]
    return {"row": f"{cell.data} ({LANGUAGES[cell.data]}): {cell.memory}{encoder}", **metrics}


def _mean(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, Any]:
    ends = bootstrap_interval(np.asarray(values, dtype=float))
    return {"mean": float(np.mean(values)), "interval": [ends.low, ends.high]}
