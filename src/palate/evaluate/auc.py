"""Area under the ROC curve, exact with ties, for millions of rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from palate.evaluate.columns import AnyArray, BoolArray, FloatArray, as_labels, as_scores, as_weights

__all__ = ["auc"]


def auc(scores: ArrayLike, labels: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return the probability that a positive row scores above a negative one, a tie counting one half.

    ``AUC = sum_{i in P, j in N} w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (W_P W_N)``

    Positives and negatives are sorted apart and the smaller part is looked up in the larger, so no row is ever
    permuted; without weights all counts are integers and the result is exact to the last division. Rank by
    logits where there are any: saturated float32 sigmoids make ties that the model did not mean.

    Args:
        scores: Any real numbers, higher means more likely positive; infinite is allowed, NaN is not.
        labels: 0 or 1.
        weight: Not negative, finite; a weight of 2 is the same as the row twice.

    Shapes:
        scores, labels, weight: ``[N]``.

    Returns:
        The area in [0, 1], or NaN when only one class is present (the area is then undefined).

    Raises:
        DataError: For NaN, labels other than 0 and 1, or unequal lengths.

    Example:
        >>> auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75

    Source:
        Mann and Whitney (1947); Hanley and McNeil (1982).
    """
    column = as_scores(scores)
    positive = as_labels(labels, len(column))
    weights = as_weights(weight, len(column))
    if weights is not None:
        return _weighted(column, positive, weights)
    above, below = column[positive], column[~positive]
    pairs = len(above) * len(below)
    if pairs == 0:
        return float("nan")
    above.sort()
    below.sort()
    few, many = (above, below) if len(above) <= len(below) else (below, above)
    twice = _sum_of_places(many, few)
    if few is below:
        twice = 2 * pairs - twice
    return twice / (2 * pairs)


def _sum_of_places(many: AnyArray, few: AnyArray) -> int:
    """Return the number of ``many`` below each of ``few``, ties by half, summed and doubled (an integer)."""
    left = np.searchsorted(many, few, side="left").sum(dtype=np.int64)
    right = np.searchsorted(many, few, side="right").sum(dtype=np.int64)
    return int(left) + int(right)


def _weighted(column: AnyArray, positive: BoolArray, weights: FloatArray) -> float:
    total_positive, total_negative = float(weights[positive].sum()), float(weights[~positive].sum())
    if total_positive == 0.0 or total_negative == 0.0:
        return float("nan")
    below = column[~positive]
    order = np.argsort(below)
    below, reached = below[order], np.concatenate([[0.0], np.cumsum(weights[~positive][order])])
    above = column[positive]
    ahead = reached[np.searchsorted(below, above, side="left")] + reached[np.searchsorted(below, above, side="right")]
    area = float(np.dot(weights[positive], ahead)) / (2.0 * total_positive * total_negative)
    return min(area, 1.0)
