"""Trackers for the services people watch their runs with; each is imported when it is made, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palate.errors import MissingExtraError

__all__ = ["MlflowTracker", "TensorBoardTracker", "TrackioTracker", "WandbTracker"]


class TensorBoardTracker:
    """Writes scalars for TensorBoard.

    Args:
        folder: Folder of the event files.
    """

    def __init__(self, folder: str | Path) -> None:
        module = _import("torch.utils.tensorboard", "tensorboard", "TensorBoardTracker")
        self._writer = module.SummaryWriter(log_dir=str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one scalar per value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class MlflowTracker:
    """Logs metrics to a run of MLflow, which it starts and ends itself.

    Args:
        experiment: Name of the experiment, or ``None`` for the current one.
        run_name: Name of the run, or ``None``.
        parameters: Settings to log with the run.
    """

    def __init__(
        self, experiment: str | None = None, *, run_name: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self._mlflow = _import("mlflow", "mlflow", "MlflowTracker")
        if experiment is not None:
            self._mlflow.set_experiment(experiment)
        # The active run of MLflow belongs to a thread, and the loop logs from its own: the run goes by its id.
        self._run_id = self._mlflow.start_run(run_name=run_name).info.run_id
        if parameters:
            self._mlflow.log_params(dict(parameters))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values."""
        self._mlflow.log_metrics(dict(values), step=step, run_id=self._run_id)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


class WandbTracker:
    """Logs to Weights & Biases.

    Args:
        project: Name of the project.
        run_name: Name of the run, or ``None``.
        parameters: Settings to log with the run.
        options: Further arguments of ``wandb.init``, for example ``mode="offline"``.
    """

    def __init__(
        self, project: str, *, run_name: str | None = None, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        module = _import("wandb", "wandb", "WandbTracker")
        self._run = module.init(project=project, name=run_name, config=dict(parameters or {}), **options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class TrackioTracker:
    """Logs to trackio.

    Args:
        project: Name of the project.
        run_name: Name of the run, or ``None``.
        parameters: Settings to log with the run.
        options: Further arguments of ``trackio.init``.
    """

    def __init__(
        self, project: str, *, run_name: str | None = None, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        module = _import("trackio", "trackio", "TrackioTracker")
        self._run = module.init(project=project, name=run_name, config=dict(parameters or {}), **options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _import(module: str, package: str, who: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        if package == "tensorboard":
            raise MissingExtraError.needs(package, "trackers", who) from None
        raise MissingExtraError(
            f'{who} needs the package "{package}", which is not installed.',
            remedy=f"Install it with: pip install {package}",
        ) from None
