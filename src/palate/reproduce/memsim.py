"""MemSim: keys that are right by construction, and the order of memory mechanisms as noise grows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scipy.stats import binomtest

from palate.memory.contract import Memory
from palate.memory.judging import Result, judge
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.memory.verify import disagreements
from palate.registry import find
from palate.saving import write_json

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["SYSTEM", "run"]

SYSTEM = "memsim"
MECHANISMS = ("none", "noise", "recent", "bm25", "dense", "hybrid", "fact-store", "temporal-graph", "full", "oracle")
LEVELS = (0, 9, 49, 99)
SETTINGS: dict[str, Any] = {"scenarios": ("person", "event", "hybrid")}
K = 5
Cell = tuple[str, str, int, int]  # memory, reader, noise, questions


def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]:
    """Run every mechanism at every noise level and return the claims; finished cells are kept."""
    began = time.perf_counter()
    folder = out / "cells" / SYSTEM / ("smoke" if smoke else "full")
    levels = LEVELS[:2] if smoke else LEVELS
    sizes = {noise: 18 if smoke else 600 if noise < 49 else 198 for noise in levels}
    cells = [(name, "symbolic", noise, sizes[noise]) for noise in levels for name in MECHANISMS]
    cells += [("none", "lexical", 0, sizes[0]), ("oracle", "lexical", 0, sizes[0])]
    todo = [(str(folder), cell) for cell in cells if not _file(folder, cell).is_file()]
    with progress.task("memsim", total=len(cells), unit="cells", done=len(cells) - len(todo)) as task:
        if workers == 1:
            for job in todo:
                _run_cell(job)
                task.advance()
        else:
            with ProcessPoolExecutor(workers) as pool:
                for _ in pool.map(_run_cell, todo):
                    task.advance()
    results = {cell: Result.from_document(json.loads(_file(folder, cell).read_text())) for cell in cells}
    checked = 30 if smoke else 3000
    wrong = _wrong_keys(checked)
    generation = _throughput(10 if smoke else 1500)
    return {
        "system": SYSTEM,
        "schema": 1,
        "settings": {
            "levels": list(levels),
            "questions": sizes,
            "k": K,
            "mix": "50 % chat, 30 % other people, 20 % same",
        },
        "seeds": [0],
        "seconds": time.perf_counter() - began,
        "table": [_row(cell, result) for cell, result in results.items()],
        "claims": _claims(results, levels, wrong, checked, generation),
    }


def _run_cell(job: tuple[str, Cell]) -> None:
    folder, cell = Path(job[0]), job[1]
    name, reader, noise, count = cell
    factory = cast("type[Memory]", find("memory", name).factory)
    answering = find("memory-reader", reader).factory()
    trajectories = Simulator(SimulatorConfig(noise=noise, **SETTINGS)).trajectories(count)
    result = judge(factory(), answering, trajectories, retriever=name, reader_name=reader, k=K, noise=noise)
    write_json(_file(folder, cell), result.to_document())


def _file(folder: Path, cell: Cell) -> Path:
    return folder / ("-".join(str(part) for part in cell) + ".json")


def _wrong_keys(count: int) -> int:
    simulator = Simulator(SimulatorConfig(seed=1))
    return sum(bool(disagreements(trajectory, simulator.grammar)) for trajectory in simulator.trajectories(count))


def _throughput(count: int) -> float:
    """Return messages per second of one core, with all checks, at nine noise messages per real one."""
    simulator = Simulator(SimulatorConfig(seed=2, noise=9))
    simulator.trajectory(0)
    began = time.process_time()
    messages = sum(len(trajectory.messages) for trajectory in simulator.trajectories(count))
    return messages / (time.process_time() - began)


def _row(cell: Cell, result: Result) -> dict[str, Any]:
    summary = result.summary()
    rows = summary["by type"]
    metrics = {
        f"accuracy {type}": {"mean": entry["accuracy"], "interval": entry["interval"]} for type, entry in rows.items()
    }
    for name in (f"recall@{K}", "normalised recall"):
        metrics[name] = {"mean": rows["all"][name], "interval": None}
    for name in ("add_seconds", "recall_seconds", "answer_seconds", "prompt_length", "abstained"):
        metrics[name] = {"mean": summary[name], "interval": None}
    return {"row": f"{cell[0]}, {cell[1]} reader, {cell[2]} noise", "metric": metrics}


def _claims(
    results: dict[Cell, Result], levels: tuple[int, ...], wrong: int, checked: int, throughput: float
) -> list[dict[str, Any]]:
    found = {cell[:3]: result for cell, result in results.items()}

    def of(name: str, noise: int = 0, reader: str = "symbolic") -> Result:
        return found[name, reader, noise]

    def accuracy(name: str, noise: int = 0, *types: str) -> float:
        rows = [o.correct for o in of(name, noise).outcomes if not types or o.type in types]
        return sum(rows) / len(rows)

    def recall(name: str, noise: int) -> float:
        return float(of(name, noise).column("recall").mean())

    def slower(name: str, column: str) -> float:
        return float(of(name, levels[-1]).column(column).mean() / of(name).column(column).mean())

    claims: list[dict[str, Any]] = []

    def claim(name: str, statement: str, value: float, target: str, holds: Callable[[float], bool]) -> None:
        entry = {"name": name, "statement": statement, "value": value, "interval": None, "target": target}
        claims.append({**entry, "holds": bool(holds(value))})

    last = levels[-1]
    plain = ("simple", "conditional")
    hybrid, single = accuracy("hybrid", 0, *plain), max(accuracy(name, 0, *plain) for name in ("bm25", "dense"))
    claim("keys", f"Wrong keys by an independent solver, of {checked}.", wrong, "0", lambda v: v == 0)
    claim("oracle", "Evidence alone and a reader by general patterns.", accuracy("oracle"), "1", lambda v: v == 1)
    guess = of("none", 0, "lexical").column("correct")
    ends = binomtest(int(guess.sum()), len(guess)).proportion_ci(0.95, method="wilson")
    inside = ends.low <= 0.25 <= ends.high
    claim("guessing", "A guessing reader without memory.", float(guess.mean()), "0.25", lambda _: inside)
    claims[-1]["interval"] = [ends.low, ends.high]
    claim("full", "Everything recalled, simple reader.", accuracy("full"), ">= 0.98", lambda v: v >= 0.98)
    gap = accuracy("full", 0, *plain) - hybrid
    claim("full-over-hybrid", "Full minus hybrid, simple and conditional.", gap, ">= 0", lambda v: v >= 0)
    claim("hybrid", "Hybrid minus the better of its parts.", hybrid - single, ">= -0.02", lambda v: v >= -0.02)
    ahead = single - accuracy("recent", 0, *plain)
    claim("search-over-recent", "Search minus recent.", ahead, ">= 0.2", lambda v: v >= 0.2)
    collapse = accuracy("recent", 9) - accuracy("none", 9)
    claim("recent-collapses", "Recent minus none at 9 noise.", collapse, "<= 0.03", lambda v: abs(v) <= 0.03)
    for name in ("bm25", "dense"):
        drop = recall(name, 0) - recall(name, last)
        claim(f"{name}-recall-falls", f"Recall@5 lost from 0 to {last} noise.", drop, "> 0", lambda v: v > 0)
    growth = slower("full", "answer_seconds") / (1 + last)
    claim("full-slows", "Answer time growth of full over 1 + r.", growth, "0.5 to 2", lambda v: 0.5 <= v <= 2)
    index = slower("bm25", "recall_seconds")
    claim("index-stays-quick", "Recall time growth of BM25.", index, "< 5", lambda v: v < 5)
    for type in ("comparative", "aggregative"):
        behind = accuracy("full", 9, type) - accuracy("hybrid", 9, type)
        claim(f"{type}-is-hard", "Full minus top five at 9 noise.", behind, "> 0", lambda v: v > 0)
    eights = [o.recall for o in of("bm25").outcomes if o.type == "aggregative" and o.scenario == "hybrid"]
    claim("ceiling", "Largest recall@5 of eight pieces of evidence.", max(eights), "<= 0.625", lambda v: v <= 0.625)
    claim("throughput", "Messages per core second, 9 noise.", throughput, ">= 100000", lambda v: v >= 1e5)
    return claims
