"""Writing and reading the whole of a run: weights, moments, best weights, generators, counters, settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from palate.errors import CheckpointError
from palate.saving import SavedFolder
from palate.train.checkpoints import CheckpointStore
from palate.train.contract import BatchSource
from palate.train.distributed import World
from palate.train.optimisers import Optimiser
from palate.train.schedule import Plateau
from palate.train.state import RunState, check_same_run, digest

__all__ = ["read_run", "write_run"]


def write_run(
    store: CheckpointStore,
    state: RunState,
    *,
    model: nn.Module,
    optimiser: Optimiser,
    schedule: Plateau,
    settings: Mapping[str, Any],
    steps_of_epoch: int,
    world: World,
) -> Path | None:
    """Write a checkpoint (on rank 0; all processes take part) and return its path."""
    randomness = world.collect(state.randomness)
    if not world.first:
        return None
    run = {
        "state": state.document(),
        "schedule": schedule.state(),
        "settings": settings,
        "steps_of_epoch": steps_of_epoch,
    }
    tensors: dict[str, Mapping[str, Tensor]] = {
        "model": model.state_dict(),
        "optimiser": optimiser.state(),
        "randomness": randomness,
    }
    if state.best_weights is not None:
        tensors["best"] = state.best_weights
    facts = {"epoch": state.epoch, "step": state.step, "settings": digest(settings)}
    return store.save(state.steps, name=type(model).__name__, documents={"run": run}, tensors=tensors, facts=facts)


def read_run(
    saved: SavedFolder,
    *,
    model: nn.Module,
    optimiser: Optimiser,
    schedule: Plateau,
    settings: Mapping[str, Any],
    source: BatchSource[Any],
    world: World,
) -> RunState:
    """Put model, optimiser and schedule where the checkpoint left them and return the counters.

    Raises:
        CheckpointError: If it was written with other settings, another model, or batches of another number.
    """
    run = saved.document("run")
    check_same_run(run["settings"], settings, str(saved.path))
    state = RunState.from_document(run["state"])
    if state.finished == "epochs" and state.epoch < settings["epochs"]:
        state.finished = None
    if state.finished is None:
        _check_source(saved.path, int(run["steps_of_epoch"]), source.steps(state.epoch), state.epoch)
    try:
        model.load_state_dict(saved.tensors("model"))
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights in {saved.path} do not fit the model: {error}.",
            remedy="Build the model as it was, or start over with resume=False.",
        ) from None
    optimiser.load_state(saved.tensors("optimiser"))
    schedule.load_state(run["schedule"])
    if saved.has("best.safetensors"):
        state.best_weights = saved.tensors("best")
    randomness = saved.tensors("randomness")
    own = f"{world.rank}."
    state.randomness = {name.removeprefix(own): value for name, value in randomness.items() if name.startswith(own)}
    return state


def _check_source(path: Path, before: int, now: int, epoch: int) -> None:
    # A run that was over recorded none: there was no next epoch.
    if before not in (0, now):
        raise CheckpointError(
            f"{path} was written when epoch {epoch} had {before} batches; now it has {now}.",
            remedy="Train on the same data with the same batch size, or start over with resume=False.",
        )
