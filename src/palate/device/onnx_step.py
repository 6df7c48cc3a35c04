"""The step in ONNX Runtime: no torch, no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palate.device.contract import StepResult
from palate.device.correction import Correction
from palate.device.manifest import DeviceManifest
from palate.device.step_names import CORRECTED_STATE, CORRECTION, ITEM, OUTPUTS, STATE, next_of
from palate.errors import MissingExtraError, SavedFolderError

__all__ = ["OnnxStep"]

AnyArray = np.ndarray[Any, np.dtype[Any]]


class OnnxStep:
    """A :class:`~palate.device.contract.StepModel` from ``step.onnx``.

    Args:
        path: The file.
        manifest: Of its export.
        threads: Threads of one step; more than one costs more than it brings at this size.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        SavedFolderError: If the file is not the step of this export.
    """

    def __init__(self, path: Path, manifest: DeviceManifest, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError.needs("onnxruntime", "device", "Running an ONNX export") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own kinds, which are no family
            raise SavedFolderError(f"{path} cannot be read: {_first_line(error)}", remedy="Export again.") from None
        self._state = CORRECTED_STATE if manifest.corrected else STATE
        self._none = Correction.none(manifest.num_heads, manifest.mini_batch_size, manifest.head_width)
        self._corrected = manifest.corrected
        self._outputs = [*OUTPUTS, *(next_of(name) for name in self._state)]
        expected = {ITEM, *self._state, *(CORRECTION if manifest.corrected else ())}
        found = {entry.name for entry in self._session.get_inputs()}
        if found != expected or [entry.name for entry in self._session.get_outputs()] != self._outputs:
            raise SavedFolderError(f"{path} has not the signature of a step.", remedy="Export again.")

    def run(self, item: int, state: Mapping[str, AnyArray], correction: Correction | None, seen: int) -> StepResult:
        """Return what a click gives; see the contract."""
        feeds = {ITEM: np.array([item], np.int64), **{name: state[name] for name in self._state}}
        if self._corrected:
            feeds |= zip(CORRECTION, (correction or self._none).inputs(seen), strict=True)
        user, hidden, *new = self._session.run(self._outputs, feeds)
        return StepResult(user[0], hidden[0], dict(zip(self._state, new, strict=True)))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
