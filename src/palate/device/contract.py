"""What the runtime needs of its parts: a step model, and perhaps someone who corrects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from palate.device.correction import Correction

__all__ = ["CorrectionSource", "StepModel", "StepResult"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
AnyArray = np.ndarray[Any, np.dtype[Any]]


class StepResult(NamedTuple):
    """What one click gives.

    Shapes:
        user float32 ``[D]``: what items are compared with; hidden float32 ``[D]``: what an upload would hold of this
        click; state: the arrays of the next click, named as they came in.
    """

    user: FloatArray
    hidden: FloatArray
    state: dict[str, AnyArray]


class StepModel(Protocol):
    """One click as a pure function: nothing is kept between calls."""

    def run(self, item: int, state: Mapping[str, AnyArray], correction: Correction | None, seen: int) -> StepResult:
        """Return what clicking item number ``item`` gives.

        Args:
            item: 1..V.
            state: The state after the ``seen`` clicks before this one.
            correction: The last answer of the cloud; one that is not fresh counts as none.
            seen: Clicks before this one.
        """


class CorrectionSource(Protocol):
    """Whoever answers uploads, such as :class:`palate.device.correction_client.CorrectionClient`."""

    def request(self, hidden: FloatArray, seq_no: int) -> Correction | None:
        """Return a correction for the hidden states ``[n, D]`` of the last items, or ``None``: never raise.

        Args:
            hidden: Oldest first.
            seq_no: Items that the device has seen.
        """
