"""Cells of a comparison of next-item models: one model, one log, one seed, trained and judged; kept once finished."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

from palate.config import Config
from palate.data.sequence_source import SequenceSource
from palate.data.sequences import IntArray, SequenceLog, pad_histories
from palate.evaluate import evaluate_next_item, metrics_of_ranks
from palate.registry import find
from palate.reproduce.cell_store import cell_key
from palate.reproduce.cocorrrec_logs import LogName, PreparedLog, prepared_log
from palate.reproduce.sequence_cost import history_flops, other_parameters
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.neural import NeuralModel
from palate.train.contract import TrainConfig
from palate.train.loop import fit
from palate.train.seeds import seed_everything

if TYPE_CHECKING:
    from palate.sequence.contract import NextItemModel

__all__ = ["LAGS", "LENGTH", "SequenceCell", "facts_of", "judged", "run_sequence_cell", "trained"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
LENGTH = 50
LAGS: tuple[int | None, ...] = (0, 10, 20, 40, None)  # items that the cloud's answer is late; None: no answer
_DEPTH = 10
_SAMPLED = 99
_CHOOSING = 5000  # users that choose the epoch, at most
_LOSSES = 5000  # users on whom losses are compared, at most


class SequenceCell(Config):
    """What decides a cell's numbers.

    Attributes:
        log: Which log.
        model: Public name of the model.
        settings: Its settings.
        learning_rate: Step size of Adam.
        epochs: At most so many.
        patience: Epochs without improvement on the validation items before training stops.
        batch_size: Rows per step.
        seed: Seed of weights, order and dropout, and of the planted log.
        users: The log is cut to so many users (for a quick look); 0 for all.
        digest: SHA-256 of the file of a log that is not shipped.
    """

    log: LogName
    model: str
    settings: dict[str, Any] = Field(default_factory=dict)
    learning_rate: float = Field(2e-3, gt=0)
    epochs: int = Field(10, ge=1)
    patience: int = Field(3, ge=1)
    batch_size: int = Field(32, ge=1)
    seed: int = Field(0, ge=0)
    users: int = Field(0, ge=0)
    digest: str = ""

    @property
    def key(self) -> str:
        """Name of the cell's file."""
        return cell_key(self, self.log, self.model, self.seed)


def run_sequence_cell(cell: SequenceCell) -> dict[str, Any]:
    """Train the cell's model, keep the epoch that is best on validation, and judge it on the test items."""
    data = prepared_log(cell.log, seed=cell.seed if cell.log == "drift" else 0, users=cell.users)
    began = time.process_time()
    model, facts = trained(cell, data)
    seconds = time.process_time() - began
    result = {**facts, "seconds": seconds, **judged(model, data)}
    result["parameters"] = sum(weight.numel() for weight in model.parameters())
    if isinstance(model, NeuralModel):
        result |= {**_losses(model, data), "other parameters": other_parameters(model)}
        result["history FLOPs"] = history_flops(model, LENGTH)
    if isinstance(model, CoCorrRec):
        result["variants"] = _variants(model, data)
        result["P, Q"] = [weight.item() for weight in model.weights()]
    return result


def trained(cell: SequenceCell, data: PreparedLog) -> tuple[NextItemModel, dict[str, Any]]:
    """Return the trained model, and how its training went."""
    factory: Any = find("next-item", cell.model).factory
    seed_everything(cell.seed)
    model: NextItemModel = factory(data.log.num_items, factory.Config(**cell.settings))
    if factory.learns_by == "counting":
        model.count(data.train)
        return model, {"epochs": 0, "validation ndcg@10": _validated(model, data)["ndcg@10"]}
    result = fit(
        model,
        SequenceSource(data.train, cell.batch_size, max_length=LENGTH, seed=cell.seed, windows="all"),
        TrainConfig(
            learning_rate=cell.learning_rate,
            epochs=cell.epochs,
            patience=cell.patience,
            learning_rate_decay=0.5,
            gradient_clip=5.0,
            monitor="ndcg@10",
            seed=cell.seed,
        ),
        validate=lambda _: _validated(model, data),
    )
    if result.stopped_because == "interrupted":
        raise KeyboardInterrupt
    best = result.best_epoch
    curve = [record.metrics["ndcg@10"] for record in result.history]
    return model.eval(), {
        "epochs": len(result.history),
        "best epoch": None if best is None else best + 1,
        "validation ndcg@10": result.best_metrics["ndcg@10"],
        "validation curve": curve,
    }


def _validated(model: Any, data: PreparedLog) -> dict[str, float]:
    histories, targets = data.held_out(1)
    users = np.arange(0, histories.num_users, -(-histories.num_users // _CHOOSING))
    found = evaluate_next_item(
        model, histories, targets, metrics=["ndcg@10"], exclude_seen=data.exclude_seen, users=users, resamples=1
    )
    return found.values()


def judged(model: Any, data: PreparedLog) -> dict[str, Any]:
    """Return the metrics on the test items, full ranking and among 99 sampled, and who was found at which rank."""
    histories, targets = data.held_out(0)
    shared: dict[str, Any] = {"exclude_seen": data.exclude_seen, "max_length": LENGTH, "resamples": 1}
    full = evaluate_next_item(model, histories, targets, metrics=["hr@10", "ndcg@10", "mrr"], **shared)
    sampled = evaluate_next_item(
        model, histories, targets, metrics=["hr@10", "ndcg@10"], sampled=_SAMPLED, **shared
    ).values()
    ndcg = metrics_of_ranks(full.ranks, ["ndcg@10"])["ndcg@10"]
    return {
        **full.values(),
        **{f"{name}, 1:{_SAMPLED}": value for name, value in sampled.items()},
        "groups": {name: float(ndcg[members].mean()) for name, members in data.groups.items() if members.any()},
        "hits": _hits(full.ranks),
    }


def _hits(ranks: FloatArray) -> dict[str, Any]:
    """Return the ranks of the targets among the first ten: all that NDCG@10 of a user depends on."""
    found = np.flatnonzero(ranks <= _DEPTH)
    return {"of": len(ranks), "users": found.tolist(), "ranks": ranks[found].tolist()}


def _variants(model: CoCorrRec, data: PreparedLog) -> dict[str, Any]:
    """Judge the same weights otherwise: with the inner update frozen, and with answers that come late or never."""
    config, lag = model.config, model.lag
    found = {}
    if config.update_in_service and config.inner_rate:
        model.config = config.replace(update_in_service=False)
        found["frozen"] = judged(model, data)
        model.config = config
    if config.mode == "causal":
        for late in LAGS[1:]:
            model.lag = late
            found["no answer" if late is None else f"lag {late}"] = judged(model, data)
        model.lag = lag
    return found


def _losses(model: NextItemModel, data: PreparedLog) -> dict[str, float]:
    """Return the cross-entropy of each user's last training item and of the test item, both after what came before."""
    step = -(-data.log.num_users // _LOSSES)
    users = np.arange(0, data.log.num_users, step)
    return {f"{part} loss": _loss(model, *data.held_out(back), users) for part, back in (("train", 2), ("test", 0))}


@torch.inference_mode()
def _loss(model: NextItemModel, histories: SequenceLog, targets: IntArray, users: IntArray) -> float:
    users = users[targets[users] > 0]
    total = 0.0
    for part in np.array_split(users, -(-len(users) // 256)):
        scores = model.score(*pad_histories(histories, part, LENGTH)).double()
        own = scores[torch.arange(len(part)), torch.from_numpy(targets[part])]
        total += float((scores[:, 1:].logsumexp(1) - own).sum())
    return total / len(users)


def facts_of(cell: SequenceCell, result: Mapping[str, Any]) -> dict[str, float | str]:
    """Return what the progress says of a finished cell."""
    return {"log": cell.log, "model": cell.model, "ndcg": result["ndcg@10"]}
