"""The contract of a calibrator: what does this score mean as a probability?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from palate.config import ModelConfig

__all__ = ["Calibrator", "FloatArray"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


class Calibrator(ABC):
    """A map from a score (a probability in (0, 1)) and an optional context to a probability.

    Built from its config. ``fit`` returns ``self``. ``state`` and ``from_state`` carry everything learned as
    plain arrays and JSON, so that a calibrator is saved without pickle.

    Shapes:
        scores, labels, weight: ``[N]``; context: ``[N]`` or ``[N, F]`` of category tokens (integers or strings);
        predict: float64 ``[N]`` in [0, 1].
    """

    Config: ClassVar[type[ModelConfig]]
    uses_context: ClassVar[bool] = False

    def __init__(self, config: ModelConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def fit(
        self,
        scores: ArrayLike,
        labels: ArrayLike,
        context: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the map from held-out scores and labels."""

    @abstractmethod
    def predict(self, scores: ArrayLike, context: ArrayLike | None = None) -> FloatArray:
        """Return calibrated probabilities, float64 ``[N]``."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return what was learned: a JSON document and named arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, config: ModelConfig, document: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild a fitted calibrator from what :meth:`state` returned."""
