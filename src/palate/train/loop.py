"""The one training loop.

Per step: take a batch, run the loss forward and backward, look at the loss and at the norm of the gradient, update.
Per epoch: validate, let the schedule judge, keep the best weights, write a checkpoint. Around it: exact resume in the
middle of an epoch, Ctrl-C that finishes the step, a guard against NaN, trackers, progress, and torchrun.

The steps run on a thread of their own (see :mod:`palate.train.worker`), validation on the caller's.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palate.errors import TrainingError
from palate.saving import SavedFolder, load_folder
from palate.train.batches import move, num_rows
from palate.train.checkpoints import CheckpointStore
from palate.train.contract import BatchSource, TrainConfig, Validate
from palate.train.distributed import World
from palate.train.guard import non_finite_error
from palate.train.memory import keep_freed_memory
from palate.train.optimisers import Optimiser
from palate.train.progress import Progress, SilentProgress
from palate.train.result import EpochRecord, TrainResult
from palate.train.resume import read_run, write_run
from palate.train.schedule import Plateau
from palate.train.seeds import capture_randomness, derive, restore_randomness, seed_everything
from palate.train.state import RunState, describe_run
from palate.train.tracking import Tracker, Trackers, file_trackers
from palate.train.worker import Worker

__all__ = ["fit"]

logger = logging.getLogger(__name__)


def fit(
    model: nn.Module,
    source: BatchSource[Any],
    config: TrainConfig,
    *,
    validate: Validate | None = None,
    run_folder: str | Path | None = None,
    resume: bool = True,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> TrainResult:
    """Train ``model`` until the schedule ends and leave it with its best weights.

    Interrupted at any step and fitted again with the same ``run_folder``, it ends with the same bits as a run that
    was never interrupted (on a CPU, with the same number of threads). The global generators of Python, NumPy and torch
    are seeded from ``config.seed``; what validation draws from them does not change training. What a model keeps
    outside its ``state_dict`` is not saved.

    Args:
        model: A module with ``loss(batch) -> scalar``. It may have ``loss_weight(batch) -> float``, the number of
            terms that its loss is the mean of, where that is not the number of rows.
        source: Batches by (epoch, step). Under torchrun it may have ``shard(rank, size)``, a source of the part of
            each batch that this process trains on; without it batches are cut by rows.
        config: Settings of the loop.
        validate: Takes the model (in evaluation mode, without gradients) and returns metrics by name. ``None``: no
            early stopping, and the last weights count as the best.
        run_folder: Where checkpoints, metrics and reproductions of failures go; ``None`` writes nothing.
        resume: Go on from the newest whole checkpoint of ``run_folder``; ``False`` removes those that are there.
        tracker: Takes the numbers; by default ``metrics.jsonl`` and ``metrics.csv`` in ``run_folder``. A tracker that
            is handed in is not closed.
        progress: Shows how far it is; silent by default.
        device: Where to train.

    Returns:
        The history and what it came to. After Ctrl-C the step is finished, a checkpoint written, and
        ``stopped_because`` is ``"interrupted"``; a second Ctrl-C raises ``KeyboardInterrupt`` at once.

    Raises:
        NonFiniteError: If a loss, a gradient or the monitored metric is NaN or infinite.
        TrainingError: If the loss is no scalar with a gradient, or the monitored metric is missing.
        CheckpointError: If the checkpoint was written by another run, or none can be read.

    Example:
        >>> class Mean(nn.Module):
        ...     def __init__(self):
        ...         super().__init__(); self.at = nn.Parameter(torch.zeros(()))
        ...     def loss(self, batch):
        ...         return (batch - self.at).square().mean()
        >>> class Ones:
        ...     def steps(self, epoch): return 50
        ...     def batch(self, epoch, step): return torch.ones(8)
        >>> result = fit(model := Mean(), Ones(), TrainConfig(epochs=2, learning_rate=0.1))
        >>> result.stopped_because, result.steps, round(model.at.item(), 1)
        ('epochs', 100, 1.0)
    """
    place = torch.device(device)
    world = World.join(place)
    run = None
    try:
        with keep_freed_memory(), Worker(place) as worker:
            folder = None if run_folder is None else Path(run_folder)
            run = _Run(model.to(place), source, config, validate, folder, tracker, progress, world, worker)
            run.begin(resume)
            run.go()
            return run.result()
    finally:
        if run is not None:
            run.close()


class _Run:
    """One call of :func:`fit`: the parts, and where it stands between two steps."""

    def __init__(
        self,
        model: nn.Module,
        source: BatchSource[Any],
        config: TrainConfig,
        validate: Validate | None,
        folder: Path | None,
        tracker: Tracker | None,
        progress: Progress | None,
        world: World,
        worker: Worker,
    ) -> None:
        self.model, self.config, self.validate, self.folder = model, config, validate, folder
        self.world, self.worker = world, worker
        self.source = world.shard(source)
        self.store = None if folder is None else CheckpointStore(folder, keep=config.keep_checkpoints)
        self.progress = progress if progress is not None and world.first else SilentProgress()
        self.schedule = Plateau(config)
        self.state = RunState()
        self.settings = describe_run(model, config)
        self.resumed_from: Path | None = None
        self.trained_rows = self.trained_seconds = 0.0
        self._own_tracker = file_trackers(folder) if tracker is None and folder is not None and world.first else None
        self.tracker = self._own_tracker or (tracker if tracker is not None and world.first else Trackers())
        bf16 = config.precision == "bf16"
        self._forward: AbstractContextManager[Any] = (
            torch.autocast(world.device.type, dtype=torch.bfloat16) if bf16 else nullcontext()
        )
        # Inside a step, weights, moments, generators and counters do not belong together.
        self._torn = False
        self._agreed_stop = False
        self._saved_at: tuple[int, int] | None = None
        if not callable(getattr(model, "loss", None)):
            raise TrainingError(f"{type(model).__name__} has no loss.", remedy="Give it a method loss(batch).")
        # Last: it changes how the embeddings hand over gradients, until close().
        self.optimiser = Optimiser(model, config)

    def begin(self, resume: bool) -> None:
        """Start over, or take up the newest checkpoint."""
        seed_everything(derive(self.config.seed, "train", self.world.rank))
        self.state.randomness = capture_randomness(self.world.device)
        found = self._checkpoint(resume)
        if found is not None:
            fresh = self.state.randomness
            self.state = read_run(
                found,
                model=self.model,
                optimiser=self.optimiser,
                schedule=self.schedule,
                settings=self.settings,
                source=self.source,
                world=self.world,
            )
            # A process that the checkpoint does not know keeps its fresh seeds.
            self.state.randomness = self.state.randomness or fresh
            self.resumed_from = found.path
            self._saved_at = self.state.epoch, self.state.step
            logger.info("Going on from %s: epoch %d, step %d.", found.path, self.state.epoch, self.state.step)
        self.world.align(self.model)
        self.optimiser.learning_rate = self.schedule.learning_rate
        rewind = getattr(self.tracker, "rewind", None)
        if rewind is not None:
            rewind(self.state.steps)

    def _checkpoint(self, resume: bool) -> SavedFolder | None:
        """Return the checkpoint to go on from; rank 0 chooses it for all."""
        if self.store is None:
            return None
        found = None
        if self.world.first:
            self.store.clean()
            if not resume:
                self.store.clear()
            found = self.store.newest()
        chosen = self.world.tell(None if found is None else str(found.path))
        return load_folder(chosen) if chosen is not None and found is None else found

    def go(self) -> None:
        """Train until the schedule ends or someone interrupts; then the state is saved and in order."""
        while True:
            try:
                while self.state.finished is None and not self._stopping():
                    self._go_on()
                if self.state.finished is None:
                    self.worker.run(self._save)
                return
            except KeyboardInterrupt:
                if self.worker.stop.is_set():
                    raise
                self.worker.stop.set()
            except Exception:
                # When the source or validation failed between two steps, what was trained so far is good.
                if self.world.size == 1 and not self._torn:
                    self.worker.run(self._save)
                raise

    def _stopping(self) -> bool:
        return self._agreed_stop if self.world.size > 1 else self.worker.stop.is_set()

    def _go_on(self) -> None:
        """Train to the end of the epoch, or validate it when all its steps are done."""
        total = self.source.steps(self.state.epoch)
        if total < 1:
            raise TrainingError(f"Epoch {self.state.epoch} has no batches.", remedy="Give the source at least one row.")
        if self.state.step < total:
            self.worker.run(lambda: self._train(total))
            return
        metrics = self._validated()
        if metrics is not None:
            self.worker.run(lambda: self._finish_epoch(metrics))

    # -- steps

    def _train(self, total: int) -> None:
        """Train from the present step to the end of the epoch, or until someone wants to stop."""
        state, every = self.state, self.config.checkpoint_every
        label = f"epoch {state.epoch + 1}/{self.config.epochs}"
        restore_randomness(state.randomness, self.world.device)
        self.model.train()
        try:
            with torch.enable_grad(), self.progress.task(label, total, done=state.step) as task:
                while state.step < total and not self._stopping():
                    task.advance(loss=self._step())
                    if every and state.steps % every == 0 and state.step < total:
                        state.randomness = capture_randomness(self.world.device)
                        self._save()
        finally:
            if not self._torn:
                state.randomness = capture_randomness(self.world.device)

    def _step(self) -> float:
        """Take one optimiser step and return the loss."""
        state, began = self.state, time.perf_counter()
        batch = move(self.source.batch(state.epoch, state.step), self.world.device)
        self._torn = True
        loss, weight = self._backward(batch)
        shared = self.world.average(self.optimiser.parameters, loss, weight, self.worker.stop.is_set())
        norm = self.optimiser.measure()
        if not (math.isfinite(shared.loss) and math.isfinite(norm)):
            raise non_finite_error(
                self.model,
                batch,
                epoch=state.epoch,
                step=state.step,
                loss=shared.loss,
                norm=norm,
                folder=self.folder,
                rank=self.world.rank if self.world.size > 1 else None,
            )
        self.optimiser.apply(norm)
        state.step += 1
        state.steps += 1
        state.loss_sum += shared.loss * shared.weight
        state.rows += shared.weight
        self._agreed_stop = shared.stop
        self._torn = False
        if self.config.log_every and state.steps % self.config.log_every == 0:
            rate = self.optimiser.learning_rate
            values = {"train/loss": shared.loss, "train/gradient_norm": norm, "train/learning_rate": rate}
            self.tracker.log(state.steps, values)
        self._count(shared.weight, time.perf_counter() - began)
        return shared.loss

    def _backward(self, batch: Any) -> tuple[float, float]:
        """Run the loss forward and backward; return it with the number of terms that it is the mean of."""
        own = getattr(self.model, "loss_weight", None)
        weight = float(num_rows(batch) if own is None else own(batch))
        if not weight:
            if self.world.size == 1:
                where = f"Batch {self.state.step} of epoch {self.state.epoch}"
                raise TrainingError(f"{where} has no rows.", remedy="Leave empty batches out of the source.")
            return 0.0, 0.0
        with self._forward:
            loss = self.model.loss(batch)  # type: ignore[operator]
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            raise TrainingError(
                f"{type(self.model).__name__}.loss returned {_described(loss)}.",
                remedy="Return a scalar tensor that depends on trainable parameters.",
            )
        loss = loss.float() if loss.dtype in (torch.bfloat16, torch.float16) else loss
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), weight

    def _count(self, rows: float, seconds: float) -> None:
        self.state.epoch_seconds += seconds
        self.state.seconds += seconds
        self.trained_rows += rows
        self.trained_seconds += seconds

    # -- between epochs

    def _validated(self) -> dict[str, float] | None:
        """Return the metrics of the epoch, measured by rank 0; ``None`` when it was interrupted."""
        message: dict[str, Any] = {}
        if self.validate is not None and self.world.first:
            try:
                self.model.eval()
                with torch.no_grad():
                    message = {"metrics": _metrics(self.validate(self.model))}
            except BaseException as error:
                if self.world.size == 1:
                    raise
                stopped = isinstance(error, KeyboardInterrupt)
                self.worker.run(lambda: self.world.tell({"stop": stopped, "failed": not stopped}))
                if not stopped:
                    raise
                self._agreed_stop = True
                return None
        message = self.worker.run(lambda: self.world.tell(message))
        if message.get("failed"):
            raise TrainingError("Validation failed in the process of rank 0.", remedy="See its message.")
        self._agreed_stop = self._agreed_stop or bool(message.get("stop"))
        return None if message.get("stop") else message.get("metrics", {})

    def _finish_epoch(self, metrics: dict[str, float]) -> None:
        """Let the schedule judge, keep the best weights, and save."""
        state = self.state
        rate = self.optimiser.learning_rate
        record = EpochRecord(
            state.epoch,
            state.step,
            state.loss_sum / state.rows if state.rows else math.nan,
            metrics,
            rate,
            state.epoch_seconds,
        )
        if self.validate is None:
            self.schedule.best_epoch = state.epoch
        elif self.schedule.update(metrics, state.epoch):
            state.best_weights = _copied(self.model.state_dict(), state.best_weights)
            state.best_metrics = metrics
        self.optimiser.learning_rate = self.schedule.learning_rate
        state.history.append(record)
        state.epoch, state.step, state.loss_sum, state.rows, state.epoch_seconds = state.epoch + 1, 0, 0.0, 0.0, 0.0
        if self.validate is not None and self.schedule.exhausted:
            state.finished = "patience"
        elif state.epoch >= self.config.epochs:
            state.finished = "epochs"
        shown = {f"validation/{name}": value for name, value in metrics.items()}
        logger.info("Epoch %d: train loss %.6g, %s", record.epoch, record.train_loss, metrics)
        epoch_values = {
            "epoch": float(record.epoch),
            "train/epoch_loss": record.train_loss,
            "train/learning_rate": rate,
        }
        self.tracker.log(state.steps, epoch_values | shown)
        self._save()

    def _save(self) -> None:
        """Write a checkpoint, unless this very state is on disk already or a step was torn apart."""
        here = self.state.epoch, self.state.step
        if self._torn:
            logger.warning("The step was cut in the middle: no checkpoint is written; the one before it stands.")
        elif self.store is not None and self._saved_at != here:
            write_run(
                self.store,
                self.state,
                model=self.model,
                optimiser=self.optimiser,
                schedule=self.schedule,
                settings=self.settings,
                steps_of_epoch=self.source.steps(self.state.epoch) if self.state.finished is None else 0,
                world=self.world,
            )
            self._saved_at = here

    # -- end

    def result(self) -> TrainResult:
        """Restore the best weights and sum up."""
        if self.state.best_weights is not None:
            self.model.load_state_dict(self.state.best_weights)
        self.model.eval()
        finished = self.state.finished
        return TrainResult(
            history=list(self.state.history),
            best_epoch=self.schedule.best_epoch,
            best_metrics=dict(self.state.best_metrics),
            steps=self.state.steps,
            seconds=self.state.seconds,
            rows_per_second=self.trained_rows / self.trained_seconds if self.trained_seconds else 0.0,
            stopped_because="interrupted" if finished is None or self.worker.stop.is_set() else finished,
            resumed_from=self.resumed_from,
        )

    def close(self) -> None:
        """Give back what was borrowed."""
        self.optimiser.release()
        if self._own_tracker is not None:
            self._own_tracker.close()


def _metrics(returned: Any) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in returned.items()}
    except (AttributeError, TypeError, ValueError):
        raise TrainingError(
            f"The validation function returned {returned!r:.80}.", remedy="Return a mapping of metric names to numbers."
        ) from None


def _copied(state: Mapping[str, Tensor], old: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Return a copy of ``state`` on the CPU, into the memory of ``old`` where there is one."""
    if old is None:
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    for name, tensor in state.items():
        old[name].copy_(tensor)
    return old


def _described(loss: Any) -> str:
    if not isinstance(loss, Tensor):
        return f"a {type(loss).__name__}"
    return f"a tensor of shape {tuple(loss.shape)}" if loss.ndim else "a tensor without a gradient"
