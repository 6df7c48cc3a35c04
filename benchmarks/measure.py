"""Fair timings: ours and the peer alternately in one run, and one JSON form for every benchmark.

A benchmark calls :func:`alternate` with two functions that do the same work, checks that both reach the same result,
turns the timings into rows with :func:`row`, and stores them with :func:`write`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palate.saving import write_json

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"
PACKAGES = ("palate", "torch", "numpy", "scipy", "scikit-learn", "polars", "pyarrow")


@dataclass(frozen=True)
class Timing:
    """How long one call took, what it returned and, where it was taken, the processor time of all its processes."""

    seconds: float
    result: Any
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class Alternation:
    """Timings of both sides, in the order in which they ran."""

    ours: tuple[Timing, ...]
    peer: tuple[Timing, ...]

    @property
    def ratios(self) -> list[float]:
        """Peer's seconds over ours, round by round: above one is better for us."""
        return [peer.seconds / ours.seconds for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same ratios of processor time, where both sides took it: a busy machine changes them less."""
        pairs = zip(self.ours, self.peer, strict=True)
        return [peer.cpu_seconds / ours.cpu_seconds for ours, peer in pairs if peer.cpu_seconds and ours.cpu_seconds]


def timed(work: Callable[[], Any]) -> Timing:
    """Run ``work`` once; work that is timed elsewhere (in a peer's process) returns a :class:`Timing` itself."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return result if isinstance(result, Timing) else Timing(seconds, result)


def alternate(ours: Callable[[], Any], peer: Callable[[], Any], *, repeats: int = 5, warmups: int = 1) -> Alternation:
    """Run both sides in turns, so that a slow minute of the machine hits both; who starts changes every round."""
    for _ in range(warmups):
        timed(ours)
        timed(peer)
    rounds = []
    for number in range(repeats):
        if number % 2:
            second = timed(peer)
            rounds.append((timed(ours), second))
        else:
            first = timed(ours)
            rounds.append((first, timed(peer)))
    return Alternation(tuple(mine for mine, _ in rounds), tuple(theirs for _, theirs in rounds))


def row(
    what: str,
    measured: Alternation,
    *,
    amount: float,
    unit: str,
    peer_name: str,
    target: float,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one row of the result: rates of both sides, their ratio, and whether the target is met.

    Args:
        what: The work.
        measured: Its timings.
        amount: How much one call gets done, in the numerator of ``unit``.
        unit: Unit of the rates, for example ``rows/s``; more is better.
        peer_name: Name and version of the other side.
        target: The median ratio to reach.
        facts: What else a reader should know (sizes, threads, how equal the results are).
    """
    ratios, of_cpu = measured.ratios, measured.cpu_ratios
    median = statistics.median(ratios)
    return {
        "what": what,
        "unit": unit,
        "ours": amount / statistics.median(timing.seconds for timing in measured.ours),
        "peer": amount / statistics.median(timing.seconds for timing in measured.peer),
        "peer_name": peer_name,
        "ratio": _spread(ratios),
        **({"cpu_ratio": _spread(of_cpu)} if of_cpu else {}),
        "repeats": len(ratios),
        "target": target,
        "met": median >= target,
        **(facts or {}),
    }


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return what the numbers depend on, without anything that names the machine."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in packages if (version := _version(name))},
    }


def write(name: str, rows: Sequence[Mapping[str, Any]], *, folder: Path = RESULTS) -> Path:
    """Write ``results/benchmarks/NAME.json`` and print the rows."""
    path = folder / f"{name}.json"
    write_json(path, {"name": name, "schema": 1, "environment": environment(), "rows": list(rows)})
    for entry in rows:
        ratio, met = entry["ratio"], "met" if entry["met"] else "MISSED"
        print(f"{entry['what']} ({entry['peer_name']})")
        print(f"  {entry['ours']:,.0f} against {entry['peer']:,.0f} {entry['unit']}:", end=" ")
        print(f"x{ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f}), target x{entry['target']:g} {met}")
    return path


def rows_written(name: str, beginnings: tuple[str, ...], *, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the rows that were written before and begin with one of these words."""
    path = folder / f"{name}.json"
    if not (beginnings and path.is_file()):
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["what"].startswith(beginnings)]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
