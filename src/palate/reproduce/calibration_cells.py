"""Cells of a comparison of calibrators on planted data: one method, one world, one seed; kept once finished."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

from palate.calibrate.downsampling import PriorCorrection, PriorCorrectionConfig
from palate.calibrate.mcnet import MCNetModule
from palate.calibrate.metrics import field_errors, mvce, rce
from palate.config import Config
from palate.evaluate import auc, brier, ece, gauc, log_loss, pcoc
from palate.registry import find
from palate.reproduce.planted_calibration import PlantedConfig, PlantedRows, PlantedWorld
from palate.saving import write_json

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["CalibrationCell", "calibrate_cell", "run_calibration_cells"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


class CalibrationCell(Config):
    """What decides a cell's numbers.

    Attributes:
        method: Public name of the calibrator, ``none`` for the scores as they are, or ``prior-correction``.
        settings: Its settings.
        use_context: Whether it sees the context.
        rows: Rows to calibrate on; neural methods keep a tenth of them to pick the epoch.
        test_rows: Fresh rows to judge on.
        world: Settings of the world (its seed is the cell's).
        thinned: Share of the negatives that the base model saw; below 1 its scores are biased accordingly.
        seed: Seed of world, rows and method.
        views: Partitions in the multi-view error.
    """

    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    use_context: bool = False
    rows: int = Field(100_000, ge=10)
    test_rows: int = Field(300_000, ge=10)
    world: dict[str, Any] = Field(default_factory=dict)
    thinned: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0)
    views: int = Field(30, ge=1)

    @property
    def key(self) -> str:
        """Name of the cell's file: readable first, then a digest of everything."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.method}-{self.rows}-{self.seed}-{hashlib.sha256(document.encode()).hexdigest()[:16]}"


def run_calibration_cells(
    cells: Iterable[CalibrationCell], folder: Path, *, workers: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return the results of ``cells`` by key, computing those that ``folder`` does not have, one by one."""
    asked = {cell.key: cell for cell in cells}
    results = {
        key: json.loads(path.read_text(encoding="utf-8"))["result"]
        for key in asked
        if (path := folder / f"{key}.json").is_file()
    }
    missing = [cell for key, cell in asked.items() if key not in results]
    with progress.task("mcnet", len(asked), unit="cells", done=len(results)) as task:
        for cell, result in _computed(missing, workers):
            write_json(folder / f"{cell.key}.json", {"cell": cell.model_dump(mode="json"), "result": result})
            results[cell.key] = result
            task.advance(method=cell.method, log_loss=result["log loss"])
    return results


def calibrate_cell(cell: CalibrationCell) -> dict[str, Any]:
    """Fit the method on fresh rows of the world and judge it on others, against labels and against the truth."""
    world = PlantedWorld(PlantedConfig(seed=cell.seed, **cell.world))
    rows, test = (_thin(world.draw(n, seed), cell.thinned) for n, seed in ((cell.rows, 1), (cell.test_rows, 2)))
    began = time.process_time()
    predicted, facts = _predict(cell, rows, test)
    seconds = time.process_time() - began
    return {**_measure(predicted, test, cell), **facts, "seconds": seconds}


def _thin(rows: PlantedRows, share: float) -> PlantedRows:
    """Return the rows as a model scores them that saw only a share of the negatives."""
    odds = rows.truth if share < 1.0 else None
    if odds is None:
        return rows
    # a base model that is right on its thinned table: all that is wrong is the base rate
    return PlantedRows(odds / (odds + (1.0 - odds) * share), rows.labels, rows.context, rows.truth)


def _predict(cell: CalibrationCell, rows: PlantedRows, test: PlantedRows) -> tuple[FloatArray, dict[str, Any]]:
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
        facts = {"bins": calibrator.module.monotone.bins, "edge violation": _edge_violation(calibrator.module)}
    return predicted, facts


@torch.no_grad()
def _edge_violation(module: MCNetModule) -> float:
    """Return how far the map falls at the edges, summed over edges, averaged over the context values."""
    sizes = module.monotone.embedding.sizes
    ids = torch.arange(1, sizes[0]).unsqueeze(1) if sizes else torch.zeros((1, 0), dtype=torch.int64)
    below, above = (module.link(values) for values in module.monotone.edge_values(ids))
    return float((below - above).clamp(min=0).sum(1).mean()) if below.numel() else 0.0


def _measure(p: FloatArray, test: PlantedRows, cell: CalibrationCell) -> dict[str, float]:
    inside = np.clip(p, 1e-7, 1.0 - 1e-7)
    truth = np.clip(test.truth, 1e-12, 1.0 - 1e-12)
    divergence = truth * np.log(truth / inside) + (1.0 - truth) * np.log((1.0 - truth) / (1.0 - inside))
    errors = field_errors(p, test.labels, test.context)
    large = 200.0 * min(1.0, len(p) / 300_000)  # a value needs 200 of the 300,000 rows to count in the spread
    order = np.lexsort((test.scores, test.context))
    same = (np.diff(test.context[order]) == 0) & (np.diff(test.scores[order]) > 0)
    steps = np.diff(p[order])[same]
    return {
        "log loss": log_loss(inside, test.labels),
        "KL to truth": float(divergence.mean()),
        "ECE": ece(p, test.labels),
        "RCE": rce(p, test.labels),
        "PCOC": pcoc(p, test.labels),
        "F-ECE": errors.ece,
        "F-RCE": errors.rce,
        "MVCE": mvce(p, test.labels, {"context": test.context, "score": test.scores}, views=cell.views),
        "spread": errors.spread(large),
        "worst decile": errors.worst_decile(large),
        "AUC": auc(p, test.labels),
        "GAUC": gauc(p, test.labels, test.context),
        "base AUC": auc(test.scores, test.labels),
        "Brier": brier(p, test.labels),
        "new ties": float((steps == 0).mean()),
        "order changes": float((steps < 0).mean()),
    }


def _computed(cells: list[CalibrationCell], workers: int) -> Iterator[tuple[CalibrationCell, dict[str, Any]]]:
    if workers <= 1 or len(cells) <= 1:
        for cell in cells:
            yield cell, calibrate_cell(cell)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(cells)), mp_context=context, initializer=_prepare) as pool:
        waiting = {pool.submit(calibrate_cell, cell): cell for cell in cells}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
