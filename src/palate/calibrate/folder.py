"""Save a fitted calibrator as a folder, and load it back by its public name."""

from __future__ import annotations

from pathlib import Path

from palate.calibrate.contract import Calibrator
from palate.errors import ConfigError, SavedFolderError
from palate.registry import components, find
from palate.saving import load_folder, save_folder

__all__ = ["load_calibrator", "save_calibrator"]

KIND = "calibrator"


def save_calibrator(path: str | Path, calibrator: Calibrator) -> Path:
    """Write the calibrator's name, config, document and arrays to a folder, atomically.

    Raises:
        NotFittedError: If it is not fitted.
        ConfigError: If its class has no public name.
    """
    document, arrays = calibrator.state()
    config = calibrator.config.model_dump(mode="json")
    return save_folder(
        path,
        kind=KIND,
        name=public_name(calibrator),
        documents={"config": config, "state": document},
        arrays={"learned": arrays},
    )


def load_calibrator(path: str | Path) -> Calibrator:
    """Open a folder of :func:`save_calibrator`; predictions are the same bit for bit.

    Raises:
        SavedFolderError: If the folder is missing, incomplete or altered.
    """
    folder = load_folder(path, kind=KIND)
    factory = find("calibrator", folder.name).factory
    config, document = folder.document("config"), folder.document("state")
    if not isinstance(config, dict) or not isinstance(document, dict):
        raise SavedFolderError(f"{path} does not hold the config and state of a calibrator.")
    calibrator: Calibrator = factory.from_state(factory.Config(**config), document, folder.arrays("learned"))  # type: ignore[attr-defined]
    return calibrator


def public_name(calibrator: Calibrator) -> str:
    """Return the registered name of the calibrator's class."""
    for component in components("*", "calibrator"):
        if component.factory is type(calibrator):
            return component.name
    raise ConfigError(
        f"{type(calibrator).__name__} has no public name.",
        remedy='Register the class: @register("calibrator", "my-name").',
    )
