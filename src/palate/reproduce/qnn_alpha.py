"""QNN-alpha: which quadratic layers win, whether activating inside the product and the self-ensemble loss help.

Two tables: a planted one with known probabilities (a seed draws rows and weights), and the promotion table of The
Complete Journey (split by time; a seed draws weights, order and masks). Every model has the same budget: L2 of the
embeddings is chosen on validation from the same grid with seed 0, then five seeds. The schedule is the published one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.evaluate import paired_t
from palate.rank.neuron_formats import NEURONS
from palate.reproduce.ctr_cells import Cell, CellStore, TableName, run_cells
from palate.reproduce.environment import environment_of
from palate.reproduce.qnn_alpha_claims import claims_of

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["SYSTEM", "Plan", "Row", "full_plan", "run", "run_plan", "smoke_plan"]

SYSTEM = "qnn-alpha"
TABLES: tuple[TableName, ...] = ("planted", "promotions")


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table: a model with its settings."""

    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is trained: rows, grids, seeds, and how long."""

    planted: tuple[Row, ...]
    promotions: tuple[Row, ...]
    sweep: tuple[Row, ...]
    planted_grid: tuple[float, ...] = (1e-4, 1e-3, 5e-3, 1e-2)
    sweep_grid: tuple[float, ...] = (1e-3, 5e-3)
    promotions_grid: tuple[float, ...] = (5e-3, 2e-2, 5e-2)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    epochs: int = 100
    shrink: int = 1

    def rows(self, table: TableName) -> tuple[Row, ...]:
        """Return the rows that are tuned and repeated on ``table``."""
        return self.planted if table == "planted" else self.promotions

    def grid(self, table: TableName) -> tuple[float, ...]:
        """Return the grid of ``table``."""
        return self.planted_grid if table == "planted" else self.promotions_grid

    @property
    def settings(self) -> dict[str, Any]:
        """What the document says about the plan."""
        return {
            "embedding_l2": {
                "planted": self.planted_grid,
                "promotions": self.promotions_grid,
                "sweep": self.sweep_grid,
            },
            "epochs": self.epochs,
            "shrink": self.shrink,
            "models": {f"{table}: {row.name}": dict(row.settings) for table in TABLES for row in self.rows(table)},
        }

    def best(
        self, table: TableName, row: Row, grid: Sequence[float], results: Mapping[str, Mapping[str, Any]]
    ) -> float:
        """Return the L2 with the highest validation AUC of the first seed (the smallest of equals)."""
        cells = {l2: self.cell(table, row, l2, self.seeds[0]) for l2 in sorted(grid)}
        return max(cells, key=lambda l2: results[cells[l2].key]["validation AUC"])

    def cell(self, table: TableName, row: Row, embedding_l2: float, seed: int) -> Cell:
        """Return one cell."""
        return Cell(
            table=table,
            model=row.model,
            settings=dict(row.settings),
            embedding_l2=embedding_l2,
            seed=seed,
            epochs=self.epochs,
            shrink=self.shrink,
        )


def quadratic(neuron: str, embedding_size: int, *, post_activation: str = "identity") -> Row:
    """Return a row of two layers of ``neuron``, BatchNorm inside the layer, dropout .1.

    T1, T2 and T6 run at a sixth of the width, as in the study (624 -> 100; here 96 -> 16).
    """
    after = "" if post_activation == "identity" else ", ReLU after"
    settings = {
        "neuron": neuron,
        "embedding_size": embedding_size,
        "num_layers": 2,
        "batch_norm": "inside",
        "post_activation": post_activation,
        "reduced_width": 16,
    }
    return Row(f"{neuron}{after}", "qnn", settings)


def alpha(embedding_size: int, loss: str) -> Row:
    """Return a row of QNN-alpha with two layers of three rows."""
    settings = {"embedding_size": embedding_size, "num_layers": 2, "num_rows": 3, "batch_norm": True, "loss": loss}
    return Row(
        "QNN-alpha, self-ensemble" if loss == "self-ensemble" else "QNN-alpha, cross-entropy", "qnn-alpha", settings
    )


def full_plan() -> Plan:
    """Return the reduced setting: 12 fields of width 8 on planted data, 19 fields of width 16 on promotions."""
    tower = {"hidden": (400, 400, 400), "dropout": 0.1}
    width = 12 * 8
    planted = (
        Row("LR", "lr"),
        Row("FM", "fm", {"embedding_size": 8}),
        Row("DNN of equal width", "dnn", {"embedding_size": 8, "hidden": (width, width), "dropout": 0.1}),
        Row("DNN 400 x 3", "dnn", {"embedding_size": 8, **tower}),
        quadratic("T9", 8),
        quadratic("T9", 8, post_activation="relu"),
        quadratic("T19", 8),
        alpha(8, "bce"),
        alpha(8, "self-ensemble"),
    )
    promotions = (
        alpha(16, "self-ensemble"),
        alpha(16, "bce"),
        Row("FinalMLP", "finalmlp"),
        Row("DCNv2", "dcnv2", {"embedding_size": 16, "num_layers": 3, **tower}),
        Row("DeepFM", "deepfm", {"embedding_size": 16, **tower}),
        Row("DNN 400 x 3", "dnn", {"embedding_size": 16, **tower}),
        quadratic("T19", 16),
        quadratic("T9", 16),
        Row("FM", "fm", {"embedding_size": 16}),
        Row("LR", "lr"),
    )
    sweep = tuple(quadratic(name, 8, post_activation=after) for name in NEURONS for after in ("identity", "relu"))
    return Plan(planted, promotions, sweep)


def smoke_plan() -> Plan:
    """Return the same in seconds: fewer rows, one point of each grid, two seeds, two epochs, six formats."""
    whole = full_plan()
    return Plan(
        planted=whole.planted,
        promotions=whole.promotions,
        sweep=tuple(row for row in whole.sweep if row.settings["neuron"] in ("T2", "T9", "T12", "T18", "T19", "T26")),
        planted_grid=(1e-3,),
        sweep_grid=(1e-3,),
        promotions_grid=(2e-2,),
        seeds=(0, 1),
        epochs=2,
        shrink=100,
    )


def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]:
    """Train what is missing and return the document; finished cells stay in ``out/cells/qnn-alpha``."""
    plan = smoke_plan() if smoke else full_plan()
    store = CellStore(out / "cells" / (f"{SYSTEM}-smoke" if smoke else SYSTEM))
    return {**run_plan(plan, store, workers=workers, progress=progress), "smoke": smoke}


def run_plan(plan: Plan, store: CellStore, *, workers: int, progress: Progress) -> dict[str, Any]:
    """Train what ``store`` does not have and return the document.

    L2 is chosen by the validation AUC of the first seed; the test part is looked at by no choice.
    """
    began = time.perf_counter()
    seed = plan.seeds[0]
    lines = [(table, row) for table in TABLES for row in plan.rows(table)]

    tuning = [plan.cell(table, row, l2, seed) for table, row in lines for l2 in plan.grid(table)]
    tuned = run_cells(tuning, store, workers=workers, progress=progress, label="choosing L2")
    best = {(table, row): plan.best(table, row, plan.grid(table), tuned) for table, row in lines}

    repeats = {line: [plan.cell(*line, best[line], seed) for seed in plan.seeds] for line in lines}
    cells = [cell for line in lines for cell in repeats[line]]
    repeated = run_cells(cells, store, workers=workers, progress=progress, label="all seeds")

    sweeping = [plan.cell("planted", row, l2, seed) for row in plan.sweep for l2 in plan.sweep_grid]
    swept = run_cells(sweeping, store, workers=workers, progress=progress, label="thirty formats")

    table = [
        _line(f"{line[0]}: {line[1].name}", [repeated[cell.key] for cell in repeats[line]], best[line])
        for line in lines
    ]
    for row in plan.sweep:
        l2 = plan.best("planted", row, plan.sweep_grid, swept)
        table.append(_line(f"sweep: {row.name}", [swept[plan.cell("planted", row, l2, seed).key]], l2))
    results = {**tuned, **repeated, **swept}
    return {
        "system": SYSTEM,
        "schema": 1,
        "settings": plan.settings,
        "seeds": list(plan.seeds),
        "environment": environment_of(workers),
        "seconds": time.perf_counter() - began,
        "seconds_of_training": sum(result["seconds"] for result in results.values()),
        "cells": len(results),
        "table": table,
        "claims": claims_of(table),
    }


def _line(name: str, cells: Sequence[Mapping[str, Any]], embedding_l2: float) -> dict[str, Any]:
    metrics = ("test AUC", "test log loss", "validation AUC")
    facts = ("epochs", "seconds", "rows per second", "movement")
    speeds = [key for key in cells[0] if key.endswith("ms")]

    def mean(key: str) -> float | None:
        values = [cell[key] for cell in cells if cell[key] is not None]
        return statistics.fmean(values) if values else None

    return {
        "row": name,
        **{metric: _metric([cell[metric] for cell in cells]) for metric in metrics},
        "embedding_l2": embedding_l2,
        "parameters": cells[0]["parameters"],
        **{key: mean(key) for key in (*facts, *speeds)},
    }


def _metric(values: list[float]) -> dict[str, Any]:
    found = paired_t(values, [0.0] * len(values)).interval
    return {
        "mean": statistics.fmean(values),
        "interval": None if found is None else [found.low, found.high],
        "per_seed": values,
    }
