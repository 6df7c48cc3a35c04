"""Cells of a comparison of click models: one model, one table, one seed, trained and judged; kept once finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field

from palate.config import Config
from palate.data.encoder import FeaturePlan
from palate.data.opening import open_dataset
from palate.data.rank_source import RankSource
from palate.data.rank_table import RankTable, iterate
from palate.evaluate import auc, log_loss_from_logits
from palate.registry import find
from palate.reproduce.cell_store import CellStore, cell_key, compute_cells
from palate.reproduce.planted_ctr import PlantedCTRConfig, planted_ctr
from palate.tasks import RankTask
from palate.train.contract import TrainConfig
from palate.train.loop import fit

if TYPE_CHECKING:
    from palate.data.features import FeatureSpec
    from palate.rank.contract import Ranker
    from palate.train.progress import Progress

__all__ = ["Cell", "CellStore", "Tables", "run_cell", "run_cells", "tables_of"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Tables = tuple["FeatureSpec", Mapping[Any, RankTable]]
TableName = Literal["planted", "promotions"]
BATCH: Mapping[TableName, int] = {"planted": 2048, "promotions": 4096}


class Cell(Config):
    """What decides a cell's numbers.

    Attributes:
        table: ``planted`` (its seed is the cell's) or ``promotions`` (The Complete Journey, split by time).
        model: Public name of the ranker.
        settings: Its settings.
        embedding_l2: L2 of the embeddings.
        seed: Seed of weights, order and masks, and of the planted table.
        epochs: At most so many.
        shrink: Tables are cut to ``1 / shrink`` of their rows (for a quick look).
    """

    table: TableName
    model: str
    settings: dict[str, Any] = Field(default_factory=dict)
    embedding_l2: float = Field(ge=0)
    seed: int = Field(0, ge=0)
    epochs: int = Field(100, ge=1)
    shrink: int = Field(1, ge=1)

    @property
    def key(self) -> str:
        """Name of the cell's file: readable first, then a digest of everything."""
        return cell_key(self, self.table, self.model, self.seed)


def run_cells(
    cells: Iterable[Cell],
    store: CellStore,
    *,
    workers: int = 1,
    progress: Progress,
    label: str,
    work: Callable[[Cell], dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the results of ``cells`` by key, computing those that ``store`` does not have.

    Each cell is computed by one thread, so that its numbers do not depend on ``workers``.

    Args:
        cells: What to compute; doubles are computed once.
        store: Where finished cells are kept, one by one as they finish.
        workers: Processes.
        progress: Shows how far it is.
        label: What is being done.
        work: Computes a cell; :func:`run_cell` by default.
    """
    return compute_cells(
        cells,
        store,
        run_cell if work is None else work,
        workers=workers,
        progress=progress,
        label=label,
        facts=lambda cell, result: {"model": cell.model, "auc": result["test AUC"]},
    )


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train the cell's model with the published schedule and judge the best weights on the test part."""
    spec, tables = tables_of(cell.table, cell.seed if cell.table == "planted" else 0, cell.shrink)
    factory: Any = find("ranker", cell.model).factory
    torch.manual_seed(cell.seed)
    model: Ranker = factory(spec, factory.Config(**cell.settings))
    validation, test = tables["validation"], tables["test"]
    began = time.perf_counter()
    result = fit(
        model,
        RankSource(tables["train"], BATCH[cell.table], seed=cell.seed),
        TrainConfig(embedding_l2=cell.embedding_l2, epochs=cell.epochs, seed=cell.seed),
        validate=lambda trained: {"auc": auc(_logits(trained, validation), _labels(validation))},
    )
    if result.stopped_because == "interrupted":
        raise KeyboardInterrupt
    seconds = time.perf_counter() - began
    logits = _logits(model, test)
    return {
        "test AUC": auc(logits, _labels(test)),
        "test log loss": log_loss_from_logits(logits, _labels(test)),
        "validation AUC": result.best_metrics["auc"],
        "epochs": len(result.history),
        "seconds": seconds,
        "rows per second": result.rows_per_second,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "movement": _movement(model, test),
        **_latency(model, test),
    }


@lru_cache(maxsize=2)
def tables_of(name: TableName, seed: int, shrink: int) -> Tables:
    """Return the fields and the three encoded parts of a table."""
    if name == "planted":
        whole = PlantedCTRConfig(seed=seed)
        sizes = {part: max(50, getattr(whole, part) // shrink) for part in ("train", "validation", "test")}
        data = planted_ctr(whole.replace(**sizes))
        return data.spec, data.tables
    dataset = open_dataset("complete-journey-promotions")
    plan = FeaturePlan.default_for(dataset.schema)
    # The 19 columns of the table; what the household bought before is left out, as in the setting that is reproduced.
    plan = plan.replace(fields=tuple(field for field in plan.fields if field.derive != "history"))
    task = RankTask.prepare(dataset, plan=plan)
    cut = {part: table.take(slice(0, None, shrink)) for part, table in task.tables.items()}
    return task.encoder.spec, cut if shrink > 1 else task.tables


def _logits(model: Any, table: RankTable) -> FloatArray:
    model.eval()
    with torch.inference_mode():
        return np.concatenate([model(batch).double().numpy() for batch in iterate(table, 8192)])


def _labels(table: RankTable) -> FloatArray:
    assert table.labels is not None
    return np.asarray(table.labels, dtype=np.float64)


def _movement(model: Ranker, table: RankTable) -> float | None:
    """Return how much the stack changes its input, ``|x_L - x_0| / |x_0|``; near zero it has stayed a linear model."""
    trunk, embedding = getattr(model, "trunk", None), getattr(model, "embedding", None)
    if trunk is None or embedding is None:
        return None
    with torch.inference_mode():
        batch = table.batch(slice(0, 4096))
        x = getattr(model, "reduce", torch.nn.Identity())(embedding(batch).flatten(1))
        return float((trunk(x) - x).norm() / x.norm().clamp_min(1e-30))


def _latency(model: Ranker, table: RankTable, repeats: int = 60) -> dict[str, float]:
    """Return how long one call takes for 1 row and for 1,024 rows, in milliseconds: median and 99th percentile."""
    found = {}
    with torch.inference_mode():
        for rows in (1, 1024):
            batch = table.batch(slice(0, rows))
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                model(batch)
                times.append(1000 * (time.perf_counter() - start))
            found[f"p50 of {rows} rows, ms"] = float(np.quantile(times, 0.5))
            found[f"p99 of {rows} rows, ms"] = float(np.quantile(times, 0.99))
    return found
