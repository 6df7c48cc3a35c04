"""What a device knows of one user: a fixed number of bytes, however many clicks there were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from palate.device.correction import Correction
from palate.device.manifest import DeviceManifest
from palate.device.step_names import state_shapes
from palate.errors import SavedFolderError

__all__ = ["DeviceState"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
AnyArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class DeviceState:
    """The state of one user.

    Attributes:
        step: The parts that the step model reads and writes (:mod:`palate.device.step_names`).
        seen: Clicks so far.
        user: What items are compared with, float32 ``[D]``.
        taken: One bit per item, uint8 ``[V // 8 + 1]``: what was clicked, so that it is not offered again.
        recent: Hidden states of the last clicks, float32 ``[R, D]``, the last one in the last row, zeros before the
            first: what the next upload is made of. R is 0 without corrections.
        correction: The last answer of the cloud; one that never came is zeros that are never fresh.
    """

    step: Mapping[str, AnyArray]
    seen: int
    user: FloatArray
    taken: AnyArray
    recent: FloatArray
    correction: Correction

    @classmethod
    def initial(cls, manifest: DeviceManifest, step: Mapping[str, AnyArray], start: FloatArray) -> Self:
        """Return the state before the first click: the learned beginning of the step, and of the user."""
        rows = manifest.upload_items if manifest.corrected else 0
        return cls(
            step=dict(step),
            seen=0,
            user=start,
            taken=np.zeros(manifest.num_items // 8 + 1, np.uint8),
            recent=np.zeros((rows, manifest.embedding_size), np.float32),
            correction=Correction.none(manifest.num_heads, manifest.mini_batch_size, manifest.head_width),
        )

    def after(self, item: int, user: FloatArray, hidden: FloatArray, step: Mapping[str, AnyArray]) -> Self:
        """Return the state after a click on item number ``item``."""
        taken, recent = self.taken.copy(), self.recent
        taken[item // 8] |= 1 << item % 8
        if len(recent):
            recent = np.concatenate([recent[1:], hidden[None]])
        return replace(self, step=dict(step), seen=self.seen + 1, user=user, taken=taken, recent=recent)

    def corrected_by(self, correction: Correction) -> Self:
        """Return the state with another answer of the cloud."""
        return replace(self, correction=correction)

    def upload(self) -> FloatArray:
        """Return the hidden states of the last clicks, oldest first, float32 ``[n, D]``."""
        count = min(self.seen, len(self.recent))
        return self.recent[len(self.recent) - count :]

    def taken_items(self) -> AnyArray:
        """Return the numbers of the clicked items, int64, ascending."""
        return np.flatnonzero(np.unpackbits(self.taken, bitorder="little"))

    @property
    def nbytes(self) -> int:
        """Bytes of the step's state: what a click reads and writes."""
        return sum(array.nbytes for array in self.step.values())

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return everything as named arrays of fixed shapes."""
        answer = self.correction
        return {f"step.{name}": array for name, array in self.step.items()} | {
            "seen": np.array([self.seen], np.int64),
            "user": self.user,
            "taken": self.taken,
            "recent": self.recent,
            "correction.attention": answer.attention,
            "correction.bias": answer.bias,
            "correction.weights": np.array([answer.attention_weight, answer.bias_weight], np.float64),
            "correction.steps": np.array([answer.seq_no, answer.ttl_steps], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray], manifest: DeviceManifest) -> Self:
        """Rebuild from what :meth:`to_arrays` returned.

        Raises:
            SavedFolderError: If a part is missing, or has another shape or type than the model's.
        """
        for name, (shape, dtype) in _forms(manifest).items():
            found = arrays.get(name)
            if found is None or found.shape != shape or found.dtype != dtype:
                came = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
                raise SavedFolderError(f'The state has {came} as "{name}"; {dtype.name} {list(shape)} is expected.')
        weights, steps = arrays["correction.weights"], arrays["correction.steps"]
        return cls(
            step={name[5:]: array for name, array in arrays.items() if name.startswith("step.")},
            seen=int(arrays["seen"][0]),
            user=arrays["user"],
            taken=arrays["taken"],
            recent=arrays["recent"],
            correction=Correction(
                arrays["correction.attention"],
                arrays["correction.bias"],
                float(weights[0]),
                float(weights[1]),
                seq_no=int(steps[0]),
                ttl_steps=int(steps[1]),
            ),
        )


def _forms(manifest: DeviceManifest) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of every array of a saved state."""
    h, m, d = manifest.num_heads, manifest.mini_batch_size, manifest.head_width
    single, whole = np.dtype(np.float32), np.dtype(np.int64)
    step = state_shapes(h, m, d, corrected=manifest.corrected)
    rows = manifest.upload_items if manifest.corrected else 0
    return {f"step.{name}": (shape, whole if name == "position" else single) for name, shape in step.items()} | {
        "seen": ((1,), whole),
        "user": ((manifest.embedding_size,), single),
        "taken": ((manifest.num_items // 8 + 1,), np.dtype(np.uint8)),
        "recent": ((rows, manifest.embedding_size), single),
        "correction.attention": ((h, m, m), single),
        "correction.bias": ((h, m, d), single),
        "correction.weights": ((2,), np.dtype(np.float64)),
        "correction.steps": ((2,), whole),
    }
