"""MCNet: bends as freely as isotonic regression, follows the context, keeps order, and treats field values evenly.

Planted worlds with sixty context values whose true probabilities are known (:mod:`planted_calibration`). A seed draws
the world, the rows and the weights. Every calibrator sees the same calibration rows and is judged on 300,000 fresh
ones; neural methods keep a tenth of the calibration rows to pick their epoch. The weights of the extra terms are the
defaults of the specification, not tuned on these worlds.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.evaluate import paired_t
from palate.reproduce.calibration_cells import CalibrationCell, run_calibration_cells
from palate.reproduce.mcnet_claims import claims_of

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["SYSTEM", "Plan", "Row", "full_plan", "run", "smoke_plan"]

SYSTEM = "mcnet"
HARD = {"concentration": 0.2, "bend": 2.0}
# what the tables of the documentation show first; everything else follows as a fact
SHOWN = ("log loss", "KL to truth", "ECE", "PCOC", "F-RCE", "MVCE", "spread", "AUC", "GAUC")
FACTS = ("RCE", "F-ECE", "worst decile", "Brier", "base AUC", "new ties", "order changes", "edge violation", "seconds")


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table: a method with its settings on a kind of world."""

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    use_context: bool = False
    rows: int = 100_000
    world: Mapping[str, Any] = field(default_factory=dict)
    thinned: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What is fitted: rows, seeds, and how much data."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    test_rows: int = 300_000
    shrink: int = 1

    def cell(self, row: Row, seed: int) -> CalibrationCell:
        """Return one cell."""
        return CalibrationCell(
            method=row.method,
            settings=dict(row.settings),
            use_context=row.use_context,
            rows=row.rows // self.shrink,
            test_rows=self.test_rows // self.shrink,
            world=dict(row.world),
            thinned=row.thinned,
            seed=seed,
        )


def mcnet(name: str, *, use_context: bool = True, rows: int = 100_000, hard: bool = False, **settings: Any) -> Row:
    """Return a row of MCNet."""
    return Row(name, "mcnet", settings, use_context, rows, HARD if hard else {})


def full_plan() -> Plan:
    """Return the reduced setting: all methods at 100,000 rows, ablations, sweeps at 40,000, and a harder world."""
    free = ("none", "histogram", "isotonic", "platt", "temperature", "beta", "gauss", "gamma", "sir")
    aware = ("platt-per-field", "neucalib", "sbcr", "desc", "umc", "adacalib", "mbct", "confcalib")
    rows = [Row(name, name) for name in free]
    rows += [Row(name, name, {}, use_context=True) for name in aware]
    rows += [
        mcnet("MCNet-None", use_context=False),
        mcnet("MCNet-None, strict", use_context=False, strict=True),
        mcnet("MCNet-Field"),
        mcnet("MCNet-Field, strict", strict=True),
        mcnet("MCNet-Field, alpha 0", order_weight=0.0),
        mcnet("MCNet-Field, alpha 1", order_weight=1.0),
        mcnet("MCNet-Field, context in offset only", context_use="offset"),
        mcnet("MCNet-Field, prob axis", axis="prob"),
    ]
    rows += [mcnet(f"MCNet-Field, K {bins}", bins=bins) for bins in (1, 5, 10, 50)]
    rows += [mcnet(f"MCNet-Field, beta {beta:g}", balance_weight=beta) for beta in (0.1, 0.3, 1.0)]
    rows += [mcnet("MCNet-Field, beta 0.3, no averages", balance_weight=0.3, balance_decay=0.0)]
    rows += [
        mcnet(f"40k: MCNet-Field, alpha {a:g}", order_weight=a, rows=40_000) for a in (0.0, 0.001, 0.01, 0.05, 0.1)
    ]
    rows += [mcnet("40k: MCNet-Field, strict", strict=True, rows=40_000)]
    rows += [mcnet("40k: MCNet-Field, beta 0.3", balance_weight=0.3, rows=40_000)]
    rows += [Row("40k: platt-per-field", "platt-per-field", {}, use_context=True, rows=40_000)]
    rows += [
        Row(f"hard: {name}", name, {}, use_context=True, world=HARD) for name in ("platt-per-field", "umc", "sbcr")
    ]
    rows += [mcnet("hard: MCNet-Field", hard=True), mcnet("hard: MCNet-Field, strict", hard=True, strict=True)]
    rows += [
        Row("thinned: none", "none", thinned=0.1),
        Row("thinned: correction, rate known", "prior-correction", {"rate": 0.1}, thinned=0.1),
        Row("thinned: correction, rate estimated", "prior-correction", thinned=0.1),
        Row("thinned: platt", "platt", thinned=0.1),
        Row("thinned: isotonic", "isotonic", thinned=0.1),
        Row("thinned: MCNet-None", "mcnet", thinned=0.1),
    ]
    return Plan(tuple(rows))


def smoke_plan() -> Plan:
    """Return the same rows in seconds: a fiftieth of the data, two seeds, small networks."""
    whole = full_plan()
    quick: dict[str, dict[str, Any]] = {
        "mcnet": {"hidden_size": 8, "epochs": 1},
        "neucalib": {"hidden_sizes": (8,), "epochs": 1},
        "sbcr": {"segments": 10, "hidden_sizes": (8,), "epochs": 1},
        "desc": {"hidden_sizes": (8,), "epochs": 1},
        "umc": {"hidden_size": 8, "hidden_sizes": (8,), "epochs": 1},
        "adacalib": {"bin_numbers": (2, 4), "hidden_sizes": (8,), "epochs": 1},
        "mbct": {"trees": 3, "views": 5},
    }
    rows = (
        Row(r.name, r.method, {**r.settings, **quick.get(r.method, {})}, r.use_context, r.rows, r.world, r.thinned)
        for r in whole.rows
    )
    return Plan(tuple(rows), seeds=(0, 1), shrink=50)


def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]:
    """Fit what is missing and return the document; finished cells stay in ``out/cells/mcnet``."""
    began = time.perf_counter()
    plan = smoke_plan() if smoke else full_plan()
    cells = [plan.cell(row, seed) for seed in plan.seeds for row in plan.rows]
    folder = out / "cells" / (f"{SYSTEM}-smoke" if smoke else SYSTEM)
    results = run_calibration_cells(cells, folder, workers=workers, progress=progress)
    table = [_line(row.name, [results[plan.cell(row, seed).key] for seed in plan.seeds]) for row in plan.rows]
    return {
        "system": SYSTEM,
        "schema": 1,
        "smoke": smoke,
        "settings": {
            "test rows": plan.test_rows // plan.shrink,
            "rows": {row.name: row.rows // plan.shrink for row in plan.rows},
            "methods": {row.name: {"method": row.method, **row.settings} for row in plan.rows},
            "hard world": HARD,
        },
        "seeds": list(plan.seeds),
        "environment": _environment(workers),
        "seconds": time.perf_counter() - began,
        "seconds_of_fitting": sum(result["seconds"] for result in results.values()),
        "cells": len(results),
        "table": table,
        "claims": claims_of(table),
    }


def _line(name: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    present = [metric for metric in (*SHOWN, *FACTS) if metric in cells[0]]
    return {"row": name, **{metric: _metric([float(cell[metric]) for cell in cells]) for metric in present}}


def _metric(values: list[float]) -> dict[str, Any]:
    found = paired_t(values, [0.0] * len(values)).interval
    interval = None if found is None else [found.low, found.high]
    return {"mean": statistics.fmean(values), "interval": interval, "per_seed": values}


def _environment(workers: int) -> dict[str, Any]:
    import torch

    from palate import __version__

    return {
        "palate": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "workers": workers,
    }
