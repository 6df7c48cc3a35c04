"""Where a run stands: everything that must survive for it to go on exactly, besides weights and moments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from palate.config import Config
from palate.errors import CheckpointError
from palate.train.contract import TrainConfig
from palate.train.result import EpochRecord, StopReason

__all__ = ["RunState", "check_same_run", "describe_run", "digest"]

# Settings that may differ between the two parts of a run: they do not touch what is computed.
FREE = ("epochs", "checkpoint_every", "keep_checkpoints", "log_every")


@dataclass
class RunState:
    """The counters of a run between two steps.

    Attributes:
        epoch: Index of the epoch under way.
        step: How many of its steps are done.
        steps: Steps done in all.
        loss_sum: Sum over the epoch's steps of the loss times the rows.
        rows: Rows of the epoch so far.
        epoch_seconds: Training time of the epoch so far.
        seconds: Training time in all.
        history: Finished epochs.
        best_metrics: Metrics of the best epoch.
        finished: Why the run is over, or ``None`` while it is not.
        randomness: States of the generators of all processes, as ``RANK.name``.
        best_weights: State of the model after the best epoch, on the CPU, or ``None``.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    rows: float = 0.0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    finished: StopReason | None = None
    randomness: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] | None = None

    def document(self) -> dict[str, Any]:
        """Return the counters as plain JSON types; the tensors are kept apart."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {
            "history": [record.to_dict() for record in self.history],
            "best_metrics": dict(self.best_metrics),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> RunState:
        """Return the counters that :meth:`document` gave; JSON has no NaN, which comes back as such."""
        history = [EpochRecord(**{**entry, "metrics": _numbers(entry["metrics"])}) for entry in document["history"]]
        plain = {name: document[name] for name in _PLAIN}
        return cls(**plain, history=history, best_metrics=_numbers(document["best_metrics"]))


_PLAIN = ("epoch", "step", "steps", "loss_sum", "rows", "epoch_seconds", "seconds", "finished")


def describe_run(model: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """Return every setting that makes a run what it is, flat: those of the loop, and those of the model's config."""
    settings = dict(config.model_dump(mode="json"))
    settings["model"] = type(model).__qualname__
    own = getattr(model, "config", None)
    if isinstance(own, Config):
        settings |= {f"model.{name}": value for name, value in own.model_dump(mode="json").items()}
    # As it will be read back from a file, where an infinity is a word.
    plain: dict[str, Any] = json.loads(json.dumps(settings), parse_constant=str)
    return plain


def digest(settings: Mapping[str, Any]) -> str:
    """Return a short hash of the settings that must not change within a run."""
    fixed = {name: value for name, value in settings.items() if name not in FREE}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def check_same_run(saved: Mapping[str, Any], own: Mapping[str, Any], where: str) -> None:
    """Refuse to go on from a checkpoint that was written with other settings.

    ``epochs`` may grow; how often to log and to write checkpoints, and how many to keep, may change.

    Raises:
        CheckpointError: If any other setting differs; the message names each with both values.
    """
    names = sorted({*saved, *own} - set(FREE))
    differing = [name for name in names if saved.get(name) != own.get(name)]
    if own["epochs"] < saved["epochs"]:
        differing.append("epochs")
    if differing:
        listed = "; ".join(f"{name} was {saved.get(name)!r} and is {own.get(name)!r}" for name in differing)
        raise CheckpointError(
            f"{where} was written with other settings: {listed}.",
            remedy="Use the old settings (epochs may grow), another run_folder, or start over with resume=False.",
        )


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in metrics.items()}
