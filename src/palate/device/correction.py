"""A correction as a device keeps it: arrays, and for how many clicks they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Correction"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What the cloud answered to an upload.

    Attributes:
        attention: dA, float32 ``[h, m, m]``: row j is for the j-th token of any mini-batch.
        bias: db, float32 ``[h, m, d]``.
        attention_weight: P.
        bias_weight: Q.
        seq_no: Items that the device had seen when it made the upload.
        ttl_steps: Clicks after the upload during which the correction may be used.
    """

    attention: FloatArray
    bias: FloatArray
    attention_weight: float
    bias_weight: float
    seq_no: int
    ttl_steps: int

    def is_fresh(self, seen: int) -> bool:
        """Say whether the click after ``seen`` items may use this: ``0 <= seen - seq_no < ttl_steps``."""
        return 0 <= seen - self.seq_no < self.ttl_steps

    def inputs(self, seen: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the last four inputs of the corrected step for the click after ``seen`` items.

        A correction that is not fresh has weights of 0, which is exactly the step without it.

        Shapes:
            attention ``[1, h, m, m]``, bias ``[1, h, m, d]``, attention_weight and bias_weight scalars.
        """
        fresh = self.is_fresh(seen)
        weights = (self.attention_weight, self.bias_weight) if fresh else (0.0, 0.0)
        p, q = (np.array(weight, dtype=np.float32) for weight in weights)
        return self.attention[None], self.bias[None], p, q

    @classmethod
    def none(cls, num_heads: int, mini_batch_size: int, width: int) -> Correction:
        """Return the correction of a device that has none: zeros that are never fresh.

        Example:
            >>> Correction.none(4, 10, 16).is_fresh(0)
            False
        """
        attention = np.zeros((num_heads, mini_batch_size, mini_batch_size), dtype=np.float32)
        bias = np.zeros((num_heads, mini_batch_size, width), dtype=np.float32)
        return cls(attention, bias, 0.0, 0.0, seq_no=0, ttl_steps=0)
