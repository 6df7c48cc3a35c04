"""MCNet: bends as freely as isotonic regression, follows the context, keeps order, and treats field values evenly.

Planted worlds whose true probabilities are known (:mod:`planted_calibration`): sixty context values; rarer values with
more curved maps; three fields that interact. A seed draws the world, the rows and the weights, and the judge is 300,000
fresh rows. And real scores (:mod:`calibration_scores`): QNN-alpha on promotions, whose weeks drift, and on films;
fitted on the validation part, judged on the test part, a seed being a network.

Every method has the same budget: three settings (if it has any), of which the first seed's rows for choosing take the
best. The other worlds use what was chosen on the first. Neural methods keep a tenth of the calibration rows to pick
their epoch. The weights of MCNet's extra terms are the defaults of the specification, not tuned on these rows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palate.evaluate import bootstrap_ratio, paired_t
from palate.reproduce.calibration_cells import run_calibration_cells, run_scores
from palate.reproduce.environment import environment_of
from palate.reproduce.mcnet_claims import claims_of
from palate.reproduce.mcnet_plan import AWARE, FIELDS_WORLD, FREE, HARD, REAL, Plan, Row, full_plan, smoke_plan

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["SYSTEM", "run", "run_plan"]

SYSTEM = "mcnet"
# what the tables of the documentation show first; everything else follows as a fact
SHOWN = ("log loss", "KL to truth", "ECE", "PCOC", "F-RCE", "MF-RCE", "MVCE", "spread", "AUC", "GAUC")
FACTS = (
    *("RCE", "F-ECE", "F-RCE rows", "worst decile", "Brier", "base AUC"),
    *("new ties", "order changes", "edge violation", "bins", "seconds"),
)
Results = Mapping[str, Mapping[str, Any]]


def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]:
    """Fit what is missing and return the document; finished cells stay in ``out/cells/mcnet``."""
    plan = smoke_plan() if smoke else full_plan()
    folder = out / "cells" / (f"{SYSTEM}-smoke" if smoke else SYSTEM)
    return {**run_plan(plan, folder, workers=workers, progress=progress), "smoke": smoke}


def run_plan(plan: Plan, folder: Path, *, workers: int, progress: Progress) -> dict[str, Any]:
    """Fit what ``folder`` does not have and return the document."""
    began = time.perf_counter()
    shared: dict[str, Any] = {"workers": workers, "progress": progress}
    needed = [plan.cell(row, seed) for row in plan.rows for seed in plan.seeds_of(row)]
    run_scores(needed, folder, **shared)
    trials = {row.name: plan.trials(row) for row in plan.choosers()}
    tried = run_calibration_cells(
        (cell for cells in trials.values() for cell in cells), folder, label="choosing settings", **shared
    )
    chosen = {name: _best(plan, name, [tried[cell.key] for cell in cells]) for name, cells in trials.items()}
    cells = {
        row.name: [plan.cell(row, s, chosen.get(row.like or row.name)) for s in plan.seeds_of(row)] for row in plan.rows
    }
    results = run_calibration_cells(
        (cell for line in cells.values() for cell in line), folder, label="all seeds", **shared
    )
    table = [_line(name, [results[cell.key] for cell in line]) for name, line in cells.items()]
    compared = [line for name in REAL for line in _over_users(name, cells, results)]
    return {
        "system": SYSTEM,
        "schema": 1,
        "settings": _settings(plan, chosen),
        "seeds": list(plan.seeds),
        "environment": environment_of(workers),
        "seconds": time.perf_counter() - began,
        "seconds_of_fitting": sum(result["seconds"] for result in (*results.values(), *tried.values())),
        "cells": len(results) + len(tried),
        "table": table,
        "comparisons": compared,
        "claims": claims_of(table, compared),
    }


def _best(plan: Plan, name: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the setting of the lowest log loss on the rows for choosing (the first of equals)."""
    row = next(row for row in plan.rows if row.name == name)
    place = min(range(len(results)), key=lambda at: results[at]["log loss"])
    return dict(row.grid[place])


def _over_users(table: str, cells: Mapping[str, Sequence[Any]], results: Results) -> list[dict[str, Any]]:
    """Return how much higher the log loss of every other method is than MCNet's, with intervals over users.

    The losses of a user are averaged over the networks, then users are drawn again.
    """
    names = [name for name in (*FREE, *AWARE, "MCNet-None", "MCNet, strict") if f"{table}: {name}" in cells]
    if not names:
        return []

    def losses(name: str) -> np.ndarray[Any, Any]:
        line = [results[cell.key]["user log loss"] for cell in cells[f"{table}: {name}"]]
        return np.asarray(np.mean(line, axis=0))

    ours = losses("MCNet")
    rows = np.asarray(results[cells[f"{table}: MCNet"][0].key]["user rows"], dtype=np.float64)
    found = []
    for name in names:
        gap = losses(name) - ours
        interval = bootstrap_ratio(gap, rows, seed=0)
        found.append(
            {
                "table": table,
                "method": name,
                "log loss above MCNet": float(gap.sum() / rows.sum()),
                "interval": [interval.low, interval.high],
                "users": len(rows),
            }
        )
    return found


def _line(name: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    present = [metric for metric in (*SHOWN, *FACTS) if metric in cells[0]]
    return {"row": name, **{metric: _metric([float(cell[metric]) for cell in cells]) for metric in present}}


def _metric(values: list[float]) -> dict[str, Any]:
    found = paired_t(values, [0.0] * len(values)).interval
    interval = None if found is None else [found.low, found.high]
    return {"mean": statistics.fmean(values), "interval": interval, "per_seed": values}


def _settings(plan: Plan, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "test rows": plan.test_rows // plan.shrink,
        "rows": {row.name: row.rows // plan.shrink for row in plan.rows if row.table == "planted"},
        "seeds": {row.name: len(plan.seeds_of(row)) for row in plan.rows},
        "methods": {row.name: _method(row, chosen) for row in plan.rows},
        "grids": {row.name: [dict(setting) for setting in row.grid] for row in plan.choosers()},
        "hard world": HARD,
        "world of several fields": FIELDS_WORLD,
    }


def _method(row: Row, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"method": row.method, **chosen.get(row.like or row.name, {}), **row.settings}
