"""The skeleton of a calibrator: check the rows once, learn named arrays, apply them, carry them as state."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from palate.calibrate.context import ContextVocabulary
from palate.calibrate.contract import Calibrator, FloatArray
from palate.calibrate.logits import clip
from palate.calibrate.observations import IntArray, Observations, check_scores, observe
from palate.config import ModelConfig
from palate.errors import DataError, NotFittedError, SavedFolderError

__all__ = ["Arrays", "LearnedCalibrator"]

Arrays = dict[str, np.ndarray[Any, Any]]


class LearnedCalibrator(Calibrator):
    """A calibrator whose knowledge is a set of named arrays; a method writes ``learn`` and ``apply`` only.

    Attributes:
        array_names: Names of the arrays that ``learn`` returns; a saved state must have them all.
    """

    array_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__(config)
        self._context = ContextVocabulary()
        self._learned: Arrays | None = None

    @abstractmethod
    def learn(self, rows: Observations) -> Arrays:
        """Return what the rows teach."""

    @abstractmethod
    def apply(self, learned: Arrays, scores: FloatArray, context: IntArray) -> FloatArray:
        """Return probabilities of clipped ``scores`` in ``context`` (ids ``[N, F]``)."""

    @property
    def min_count(self) -> int:
        """Context values with fewer rows than this are treated as unseen."""
        return int(getattr(self.config, "min_count", 1))

    @property
    def learned(self) -> Arrays:
        """What was learned.

        Raises:
            NotFittedError: Before :meth:`fit`.
        """
        if self._learned is None:
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted.", remedy="Call fit(scores, labels) on held-out rows first."
            )
        return self._learned

    @property
    def context_vocabulary(self) -> ContextVocabulary:
        """The context values that were seen often enough."""
        return self._context

    def fit(
        self,
        scores: ArrayLike,
        labels: ArrayLike,
        context: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the map from held-out rows; a context is ignored where the method has no use for it.

        Raises:
            DataError: If the columns are not finite, not of one length, or have one class only.
        """
        rows, kept = observe(scores, labels, weight)
        vocabulary = ContextVocabulary()
        if self.uses_context and context is not None:
            table = np.asarray(context)
            if table.ndim == 0 or len(table) != np.size(scores):
                raise DataError(
                    f"context has {len(table) if table.ndim else 0:,} rows, scores has {np.size(scores):,}."
                )
            vocabulary = ContextVocabulary.fit(table[kept], min_count=self.min_count, weight=rows.weight)
            ids = vocabulary.encode(table[kept], len(rows))
            rows = Observations(rows.scores, rows.labels, rows.weight, ids)
        self._context, self._learned = vocabulary, None
        self._learned = self.learn(rows)
        return self

    def predict(self, scores: ArrayLike, context: ArrayLike | None = None) -> FloatArray:
        """Return calibrated probabilities, float64 ``[N]``; an empty column gives an empty answer.

        Raises:
            NotFittedError: Before :meth:`fit`.
            DataError: If the scores are no probabilities, or the context is not of the fitted form.
        """
        learned = self.learned
        if np.size(scores) == 0:
            return np.zeros(0)
        column = check_scores(scores)
        ids = self._context.encode(context if self.uses_context else None, len(column))
        return self.apply(learned, clip(column), ids)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the context values as a JSON document, and what was learned as arrays."""
        return {"context": self._context.to_document()}, dict(self.learned)

    @classmethod
    def from_state(cls, config: ModelConfig, document: dict[str, Any], arrays: Arrays) -> Self:
        """Rebuild a fitted calibrator.

        Raises:
            SavedFolderError: If arrays are missing, or the document is not of the form of :meth:`state`.
        """
        missing = [name for name in cls.array_names if name not in arrays]
        if missing or "context" not in document:
            lost = ", ".join(f'"{name}"' for name in missing) or '"context"'
            raise SavedFolderError(f"The saved state of a {cls.__name__} has lost {lost}.", remedy="Save it again.")
        calibrator = cls(config)
        calibrator._context = ContextVocabulary.from_document(document["context"])
        calibrator._learned = {name: np.asarray(values) for name, values in arrays.items()}
        return calibrator
