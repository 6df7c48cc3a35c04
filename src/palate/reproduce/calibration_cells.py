"""Cells of a comparison of calibrators: one method, one table, one seed; kept once finished."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field

from palate.calibrate.downsampling import PriorCorrection, PriorCorrectionConfig
from palate.calibrate.mcnet import MCNetModule
from palate.calibrate.metrics import field_errors, mvce, rce
from palate.config import Config
from palate.evaluate import auc, brier, ece, gauc, log_loss, pcoc
from palate.registry import find
from palate.reproduce.calibration_scores import RealScores, ScoredRows, planted_rows, real_rows, train_scores
from palate.reproduce.cell_store import CellStore, cell_key, compute_cells, computed
from palate.reproduce.planted_calibration import PlantedConfig

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["CalibrationCell", "calibrate_cell", "run_calibration_cells", "run_scores"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
CALIBRATION, TEST, CHOICE = 1, 2, 3  # seeds of the rows of a planted world
CHOICE_ROWS = 30_000


class CalibrationCell(Config):
    """What decides a cell's numbers.

    Attributes:
        method: Public name of the calibrator, ``none`` for the scores as they are, or ``prior-correction``.
        settings: Its settings.
        use_context: Whether it sees the context.
        table: ``planted``, ``promotions`` or ``movielens``.
        rows: Planted rows to calibrate on; neural methods keep a tenth of them to pick the epoch.
        test_rows: Fresh planted rows to judge on.
        world: Settings of the planted world (its seed is the cell's).
        thinned: Share of the negatives that the base model saw; below 1 its scores are biased accordingly.
        seed: Seed of world, rows and method, or of the network that made the real scores, and the method.
        views: Partitions in the multi-view error.
        shrink: Real tables are cut to ``1 / shrink`` of their rows.
        choosing: Only tell the log loss on rows that choose settings: 30,000 fresh ones of the planted world, or a
            third of the real calibration rows, which are then left out of the fit. The test rows are not touched.
    """

    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    use_context: bool = False
    table: Literal["planted", "promotions", "movielens"] = "planted"
    rows: int = Field(100_000, ge=10)
    test_rows: int = Field(300_000, ge=10)
    world: dict[str, Any] = Field(default_factory=dict)
    thinned: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0)
    views: int = Field(30, ge=1)
    shrink: int = Field(1, ge=1)
    choosing: bool = False

    @property
    def key(self) -> str:
        """Name of the cell's file: readable first, then a digest of everything."""
        return cell_key(self, self.table, self.method, self.seed)

    @property
    def scores(self) -> RealScores | None:
        """What made the scores of a real table."""
        if self.table == "planted":
            return None
        return RealScores(table=self.table, seed=self.seed, shrink=self.shrink)


def run_scores(cells: Iterable[CalibrationCell], folder: Path, *, workers: int, progress: Progress) -> float:
    """Train the networks whose scores the cells calibrate, where they are not kept yet; return the seconds it took."""
    asked = {cell.scores for cell in cells} - {None}
    wanted = [scores for scores in asked if scores is not None]
    missing = sorted((s for s in wanted if not s.folder(folder).is_dir()), key=lambda s: (s.table, s.seed))
    began = time.perf_counter()
    with progress.task("scores of QNN-alpha", len(wanted), unit="tables", done=len(wanted) - len(missing)) as task:
        for scores, _ in computed(missing, partial(train_scores, root=folder), workers=workers):
            task.advance(table=scores.table)
    return time.perf_counter() - began


def run_calibration_cells(
    cells: Iterable[CalibrationCell], folder: Path, *, workers: int, progress: Progress, label: str = "mcnet"
) -> dict[str, dict[str, Any]]:
    """Return the results of ``cells`` by key, computing those that ``folder`` does not have, one by one."""
    return compute_cells(
        cells,
        CellStore(folder),
        partial(calibrate_cell, folder=folder),
        workers=workers,
        progress=progress,
        label=label,
        facts=lambda cell, result: {"method": cell.method, "log_loss": result["log loss"]},
    )


def calibrate_cell(cell: CalibrationCell, folder: Path | None = None) -> dict[str, Any]:
    """Fit the method on the calibration rows and judge it on others, against labels and, where known, the truth.

    Args:
        cell: What to do.
        folder: Where the scores of real tables are kept.
    """
    rows, test = _rows(cell, folder)
    began = time.process_time()
    predicted, facts = _predict(cell, rows, test)
    seconds = time.process_time() - began
    if cell.choosing:
        return {"log loss": log_loss(_inside(predicted), test.labels), "seconds": seconds}
    return {**_measure(predicted, test, cell), **facts, "seconds": seconds}


def _rows(cell: CalibrationCell, folder: Path | None) -> tuple[ScoredRows, ScoredRows]:
    """Return the rows to fit on and those to judge on."""
    if cell.scores is not None:
        assert folder is not None
        rows, test = real_rows(cell.scores, folder)
        if not cell.choosing:
            return rows, test
        order = np.random.default_rng(0).permutation(len(rows))
        return rows.take(order[len(rows) // 3 :]), rows.take(order[: len(rows) // 3])
    world = PlantedConfig(seed=cell.seed, **cell.world)
    judged = (min(CHOICE_ROWS, cell.test_rows), CHOICE) if cell.choosing else (cell.test_rows, TEST)
    rows = planted_rows(world, cell.rows, CALIBRATION, thinned=cell.thinned)
    return rows, planted_rows(world, *judged, thinned=cell.thinned)


def _predict(cell: CalibrationCell, rows: ScoredRows, test: ScoredRows) -> tuple[FloatArray, dict[str, Any]]:
    if cell.method == "none":
        return test.scores, {}
    if cell.method == "prior-correction":
        known = PriorCorrection(PriorCorrectionConfig(**cell.settings)).fit(rows.scores, rows.labels)
        return known.predict(test.scores), {}
    factory: Any = find("calibrator", cell.method).factory
    seeded = {"seed": cell.seed} if "seed" in factory.Config.model_fields else {}
    calibrator = factory(factory.Config(**{**seeded, **cell.settings}))
    calibrator.fit(rows.scores, rows.labels, rows.context if cell.use_context else None)
    predicted = calibrator.predict(test.scores, test.context if cell.use_context else None)
    facts: dict[str, Any] = {}
    if cell.method == "mcnet":
        ids = calibrator.context_vocabulary.encode(rows.context if cell.use_context else None, len(rows))
        facts = {
            "bins": calibrator.module.monotone.bins,
            "edge violation": _edge_violation(calibrator.module, np.unique(ids, axis=0)),
        }
    return predicted, facts


@torch.no_grad()
def _edge_violation(module: MCNetModule, ids: np.ndarray[Any, Any], most: int = 2000) -> float:
    """Return how far the map falls at the edges, summed over edges, averaged over the contexts that occur."""
    below, above = (module.link(values) for values in module.monotone.edge_values(torch.tensor(ids[:most])))
    return float((below - above).clamp(min=0).sum(1).mean()) if below.numel() else 0.0


def _inside(p: FloatArray) -> FloatArray:
    return np.clip(p, 1e-7, 1.0 - 1e-7)


def _measure(p: FloatArray, test: ScoredRows, cell: CalibrationCell) -> dict[str, Any]:
    errors = [field_errors(p, test.labels, column) for column in test.fields.values()]
    first = next(iter(test.fields.values()))
    large = 200.0 * min(1.0, len(p) / 300_000)  # a value needs 200 of the 300,000 rows to count in the spread
    views = {**test.fields, "score": test.scores}
    return {
        "log loss": log_loss(_inside(p), test.labels),
        **_against_truth(p, test),
        "ECE": ece(p, test.labels),
        "RCE": rce(p, test.labels),
        "PCOC": pcoc(p, test.labels),
        "F-ECE": errors[0].ece,
        "F-RCE": errors[0].rce,
        "F-RCE rows": errors[0].rce_share,
        "MF-RCE": float(np.mean([each.rce for each in errors])),
        "MVCE": mvce(p, test.labels, views, views=cell.views),
        "spread": errors[0].spread(large),
        "worst decile": errors[0].worst_decile(large),
        "AUC": auc(p, test.labels),
        "GAUC": gauc(p, test.labels, first),
        "base AUC": auc(test.scores, test.labels),
        "Brier": brier(p, test.labels),
        **_order(p, test),
        **_by_user(p, test),
    }


def _against_truth(p: FloatArray, test: ScoredRows) -> dict[str, float]:
    if test.truth is None:
        return {}
    truth, inside = np.clip(test.truth, 1e-12, 1.0 - 1e-12), _inside(p)
    divergence = truth * np.log(truth / inside) + (1.0 - truth) * np.log((1.0 - truth) / (1.0 - inside))
    return {"KL to truth": float(divergence.mean())}


def _order(p: FloatArray, test: ScoredRows) -> dict[str, float]:
    """Return the shares of neighbouring scores of the same context that become equal, and that change places."""
    places = [np.unique(column, return_inverse=True)[1] for column in test.fields.values()]
    order = np.lexsort((test.scores, *places))
    alike = [np.diff(place[order]) == 0 for place in places]
    steps = np.diff(p[order])[np.logical_and.reduce([*alike, np.diff(test.scores[order]) > 0])]
    if not len(steps):
        return {"new ties": 0.0, "order changes": 0.0}
    return {"new ties": float((steps == 0).mean()), "order changes": float((steps < 0).mean())}


def _by_user(p: FloatArray, test: ScoredRows) -> dict[str, list[float]]:
    """Return the summed log loss and the rows of each user, so that differences can be judged over users."""
    if test.users is None:
        return {}
    inside = _inside(p)
    loss = -(test.labels * np.log(inside) + (1.0 - test.labels) * np.log1p(-inside))
    _, place = np.unique(test.users, return_inverse=True)
    return {"user log loss": np.bincount(place, weights=loss).tolist(), "user rows": np.bincount(place).tolist()}
