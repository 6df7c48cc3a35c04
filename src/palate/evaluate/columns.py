"""Columns that arrive at a metric, checked once: scores, labels, probabilities, weights, groups.

Every metric takes anything that turns into a one-dimensional array: numpy, torch, Polars, Arrow, a list. The
checks stop what a metric would otherwise swallow: NaN, unequal lengths, labels that are not 0 or 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from palate.errors import DataError, Problem

__all__ = [
    "BoolArray",
    "FloatArray",
    "IntArray",
    "as_column",
    "as_groups",
    "as_labels",
    "as_probabilities",
    "as_scores",
    "as_weights",
]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
AnyArray = np.ndarray[Any, np.dtype[Any]]


def as_column(values: ArrayLike, name: str, rows: int | None = None) -> AnyArray:
    """Return ``values`` as a one-dimensional array of its own type, with at least one row and ``rows`` if given.

    Raises:
        DataError: If it is empty, has another number of dimensions or rows, or is not numeric, boolean or text.
    """
    array = np.asarray(_plain(values))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{name} has the shape {list(array.shape)}; one value per row is expected.")
    if len(array) == 0:
        raise DataError(f"{name} has no rows.", remedy="Give at least one row.")
    if rows is not None and len(array) != rows:
        raise DataError(f"{name} has {len(array):,} rows; {rows:,} are expected, one for each score.")
    return array


def as_scores(scores: ArrayLike, name: str = "scores", rows: int | None = None) -> AnyArray:
    """Return scores as real numbers that can be ordered: their own type (float32 stays), never NaN.

    Infinite scores are allowed, because order is all that a score means.
    """
    array = as_column(scores, name, rows)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} has the type {array.dtype}; real numbers are expected.")
    if array.dtype.kind == "b":
        return array.astype(np.int8)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        _refuse(np.isnan(array), array, name, "NaN")
    return array


def as_labels(labels: ArrayLike, rows: int | None = None) -> BoolArray:
    """Return labels as booleans; anything but 0 and 1 (or false and true) is refused."""
    array = as_column(labels, "labels", rows)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind not in "fiu":
        raise DataError(
            f"labels has the type {array.dtype}; 0 and 1 are expected.",
            remedy='Turn values into labels with a rule such as "rating >= 4".',
        )
    positive: BoolArray = array != 0
    _refuse(array != positive, array, "labels", "values other than 0 and 1")
    return positive


def as_probabilities(probabilities: ArrayLike, rows: int | None = None) -> FloatArray:
    """Return probabilities as float64 in [0, 1]."""
    array = as_scores(probabilities, "probabilities", rows).astype(np.float64, copy=False)
    if array.min() < 0.0 or array.max() > 1.0:
        _refuse(
            (array < 0.0) | (array > 1.0),
            array,
            "probabilities",
            "values outside [0, 1]",
            "Give probabilities; for logits use log_loss_from_logits, or take their sigmoid first.",
        )
    return array


def as_weights(weight: ArrayLike | None, rows: int) -> FloatArray | None:
    """Return weights as float64, finite and not negative, with a positive sum; ``None`` stays ``None``."""
    if weight is None:
        return None
    array = as_scores(weight, "weight", rows).astype(np.float64, copy=False)
    _refuse(~np.isfinite(array) | (array < 0.0), array, "weight", "negative or infinite values")
    if not array.sum() > 0.0:
        raise DataError("weight sums to 0.", remedy="Give at least one row a positive weight.")
    return array


def as_groups(groups: ArrayLike, rows: int) -> tuple[AnyArray, IntArray]:
    """Return the distinct group ids in ascending order, and for each row the place of its id among them."""
    array = as_column(groups, "groups", rows)
    if array.dtype.kind == "f":
        _refuse(np.isnan(array), array, "groups", "NaN")
    if array.dtype.kind in "iu":
        low, high = int(array.min()), int(array.max())
        if high - low < 4 * rows + 1024:  # a table of all ids is smaller than a sort of all rows
            shifted = (array - array.dtype.type(low)).astype(np.int64, copy=False)
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            ids = np.flatnonzero(present)
            return (ids + low).astype(array.dtype), (np.cumsum(present) - 1)[shifted]
    distinct, place = np.unique(array, return_inverse=True)
    return distinct, place.astype(np.int64, copy=False).reshape(-1)


def _plain(values: Any) -> Any:
    """Bring torch tensors to the CPU in a type that numpy knows."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) in ("torch.bfloat16", "torch.float16"):
            values = values.float()
        return values.numpy()
    return values


def _refuse(bad: BoolArray, array: AnyArray, name: str, what: str, remedy: str = "Correct or drop these rows.") -> None:
    if not bad.any():
        return
    row, count = int(bad.argmax()), int(bad.sum())
    problem = Problem(what, remedy, row=row, row_kind="row", column=name, value=str(array[row]), count=count)
    raise DataError(f"{name} holds {what} in {count:,} of {len(array):,} rows.", problems=[problem])
