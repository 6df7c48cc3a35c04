"""The step in ExecuTorch, by way of its Python interface (which speaks torch tensors; a phone needs neither)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palate.device.contract import StepResult
from palate.device.correction import Correction
from palate.device.manifest import DeviceManifest
from palate.device.step_names import CORRECTED_STATE, STATE
from palate.errors import MissingExtraError, SavedFolderError
from palate.exporting import quiet_exporter

__all__ = ["ExecutorchStep"]

AnyArray = np.ndarray[Any, np.dtype[Any]]


class ExecutorchStep:
    """A :class:`~palate.device.contract.StepModel` from ``step.pte``.

    Args:
        path: The file.
        manifest: Of its export.

    Raises:
        MissingExtraError: If executorch is not installed.
        SavedFolderError: If the file is not a program.
    """

    def __init__(self, path: Path, manifest: DeviceManifest) -> None:
        try:
            with quiet_exporter():
                from executorch.runtime import Runtime, Verification
        except ImportError:
            raise MissingExtraError.needs("executorch", "executorch", "Running an ExecuTorch export") from None
        try:
            # Kept beside the method, which points into it.
            self._program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
            self._method = self._program.load_method("forward")
        except RuntimeError as error:
            raise SavedFolderError(f"{path} cannot be read: {error}", remedy="Export again.") from None
        self._state = CORRECTED_STATE if manifest.corrected else STATE
        self._none = Correction.none(manifest.num_heads, manifest.mini_batch_size, manifest.head_width)
        self._corrected = manifest.corrected

    def run(self, item: int, state: Mapping[str, AnyArray], correction: Correction | None, seen: int) -> StepResult:
        """Return what a click gives; see the contract."""
        import torch

        inputs = [np.array([item], np.int64), *(state[name] for name in self._state)]
        if self._corrected:
            inputs += (correction or self._none).inputs(seen)
        # Copied both ways: safetensors' arrays cannot be written to, and the method reuses its output memory.
        outputs = self._method.execute([torch.tensor(array) for array in inputs])
        user, hidden, *new = (output.numpy().copy() for output in outputs)
        return StepResult(user[0], hidden[0], dict(zip(self._state, new, strict=True)))
