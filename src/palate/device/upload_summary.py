"""The recurrent parts of the cloud, run on the device, so that only their two summaries are uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from palate.errors import ConfigError

__all__ = ["UploadSummary"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
_PARTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class UploadSummary:
    """Two recurrences over hidden states, in NumPy: 2 x 64 numbers, whatever the length of the history.

    Equation (each recurrence):
        r = sigmoid(W_r x + U_r s + b_r);  z = sigmoid(W_z x + U_z s + b_z)
        s' = (1 - z) tanh(W_n x + b_n + r (U_n s + c_n)) + z s

    Args:
        weights: The weights of the cloud's recurrences under their names in a saved model (``gcn.attention.gru.*``
            and ``gcn.bias.gru.*``); other names are passed over, so the arrays of a whole model will do.

    Shapes:
        hidden float32 ``[n, D]`` -> float32 ``[2, 64]``.

    Raises:
        ConfigError: If a weight is missing, or weights do not fit each other.
    """

    def __init__(self, weights: Mapping[str, FloatArray]) -> None:
        names = [f"gcn.{part}.gru.{name}" for part in ("attention", "bias") for name in _PARTS]
        missing = [name for name in names if name not in weights]
        if missing:
            raise ConfigError(
                f'The weights of the summary lack "{missing[0]}".',
                remedy="Take them from a model with corrections (mode causal or paper).",
            )
        arrays = [np.asarray(weights[name], np.float32) for name in names]
        self._parts = (tuple(arrays[:4]), tuple(arrays[4:]))
        self.summary_size, self.embedding_size = arrays[1].shape[1], arrays[0].shape[1]
        size, width = self.summary_size, self.embedding_size
        shapes = [(3 * size, width), (3 * size, size), (3 * size,), (3 * size,)] * 2
        if [array.shape for array in arrays] != shapes:
            raise ConfigError("The weights of the summary do not fit each other.", remedy="Export them again.")

    def start(self) -> FloatArray:
        """Return the summaries before the first item, ``[2, 64]``."""
        return np.zeros((2, self.summary_size), np.float32)

    def step(self, hidden: FloatArray, summaries: FloatArray) -> FloatArray:
        """Return the summaries ``[2, 64]`` after one more item ``[D]``: constant time for each click."""
        return np.stack([_next(part, hidden, state) for part, state in zip(self._parts, summaries, strict=True)])

    def __call__(self, hidden: FloatArray) -> FloatArray:
        """Return the summaries of a history ``[n, D]``."""
        summaries = self.start()
        for row in hidden:
            summaries = self.step(row, summaries)
        return summaries


def _next(part: tuple[FloatArray, ...], x: FloatArray, state: FloatArray) -> FloatArray:
    weight, recurrent, bias, shift = part
    entered, carried = np.split(weight @ x + bias, 3), np.split(recurrent @ state + shift, 3)
    reset, keep = (_sigmoid(entered[gate] + carried[gate]) for gate in (0, 1))
    fresh = np.tanh(entered[2] + reset * carried[2])
    return np.asarray(fresh + keep * (state - fresh), np.float32)


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float32)  # cannot overflow
