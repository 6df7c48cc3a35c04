"""What a calibrator learns from: checked columns of scores, labels and weights.

All bad input is met here, once, for every calibrator: a fit either starts from finite columns with both classes,
or ends in one :class:`~palate.errors.DataError` that says what came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from palate.calibrate.contract import FloatArray
from palate.calibrate.logits import clip
from palate.errors import DataError

__all__ = ["IntArray", "Observations", "check_scores", "observe"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Observations:
    """Rows with a positive weight, ready to fit.

    Attributes:
        scores: Clipped probabilities, float64 ``[N]``.
        labels: 0 or 1, float64 ``[N]``; both occur.
        weight: Positive, float64 ``[N]``.
        context: Ids of the context fields, 0 for rare values, int64 ``[N, F]``; ``F`` may be 0.
    """

    scores: FloatArray
    labels: FloatArray
    weight: FloatArray
    context: IntArray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: np.ndarray[Any, Any]) -> Observations:
        """Return the chosen rows (indices or a mask)."""
        return Observations(self.scores[rows], self.labels[rows], self.weight[rows], self.context[rows])


def observe(scores: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None) -> tuple[Observations, IntArray]:
    """Check the columns, drop rows of weight zero, and return the rest with the indices of the rows that stayed.

    Raises:
        DataError: If a column is empty, of another length, not finite or out of range, if all weights are zero,
            or if the rows that count have one class only.

    Example:
        >>> rows, kept = observe([0.2, 0.7, 0.9], [0, 1, 1], weight=[1, 1, 0])
        >>> len(rows), kept.tolist()
        (2, [0, 1])
    """
    score = check_scores(scores)
    label = _column("labels", labels)
    _same_length("labels", label, score)
    if not np.isin(label, (0.0, 1.0)).all():
        strange = label[~np.isin(label, (0.0, 1.0))][0]
        raise DataError(f"labels holds {strange!r}; every label must be 0 or 1.", remedy="Turn ratings into 0 and 1.")
    weights = np.ones_like(score) if weight is None else _column("weight", weight)
    _same_length("weight", weights, score)
    if (weights < 0).any():
        raise DataError(f"weight holds {weights.min()!r}; a weight must be zero or positive.")
    kept = np.flatnonzero(weights > 0)
    if not kept.size:
        raise DataError("All weights are zero: there is no row to fit.", remedy="Give some rows a positive weight.")
    score, label, weights = score[kept], label[kept], weights[kept]
    if label.min() == label.max():
        raise DataError(
            f"All {len(label):,} labels that count are {int(label[0])}: a calibrator needs both classes.",
            remedy="Hold out more rows, or check the column that holds the labels.",
        )
    return Observations(clip(score), label, weights, np.zeros((len(score), 0), dtype=np.int64)), kept


def check_scores(scores: ArrayLike) -> FloatArray:
    """Return the scores as float64 ``[N]``; they must be finite probabilities.

    Raises:
        DataError: If the column is empty, not one-dimensional, not finite, or leaves [0, 1].
    """
    column = _column("scores", scores)
    outside = (column < 0) | (column > 1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"scores[{row}] is {column[row]:g}; a score must be a probability in [0, 1].",
            remedy="Apply the sigmoid to logits first: palate.calibrate.logits.sigmoid(logits).",
        )
    return column


def _column(name: str, values: ArrayLike) -> FloatArray:
    plain: Any = values
    if hasattr(plain, "detach"):  # a torch tensor, perhaps with a gradient or in bfloat16
        plain = plain.detach().cpu().double().numpy()
    try:
        column = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} cannot be read as numbers: {error}.") from None
    if column.ndim != 1:
        raise DataError(f"{name} has shape {list(column.shape)}; one number per row, [N], is expected.")
    if not column.size:
        raise DataError(f"{name} is empty.", remedy="Hold out some rows for calibration.")
    finite = np.isfinite(column)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        count = int((~finite).sum())
        raise DataError(
            f"{name}[{row}] is {column[row]} ({count:,} of {len(column):,} rows are not finite).",
            remedy="Find where the model or the log made them; they are never repaired silently.",
        )
    return column


def _same_length(name: str, column: FloatArray, scores: FloatArray) -> None:
    if len(column) != len(scores):
        raise DataError(f"{name} has {len(column):,} rows, scores has {len(scores):,}; they must be the same rows.")
