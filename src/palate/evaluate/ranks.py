"""The rank of each user's target among all candidates, ties shared, excluded items out of the race."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from palate.errors import DataError
from palate.evaluate.columns import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["rank_of_columns", "ranks_of_targets", "rows_with_nan"]

_ENTRIES = 1 << 24  # scores looked at together: bounds the working memory to a few times 64 MB


def ranks_of_targets(scores: Any, targets: Any, *, exclude: Any = None) -> FloatArray:
    """Return the rank of each target in its row of scores, counted from 1, equal scores sharing their mean rank.

    ``rank = 1 + #{j : s_j > s_target} + #{j != target : s_j = s_target} / 2`` over the columns that are not excluded.

    Sharing ranks matters: a model that scores all items alike gets the middle rank and not the first.

    Args:
        scores: One row of scores per user; infinite is allowed, NaN is not.
        targets: The column of each user's target; negative means that there is none.
        exclude: Columns out of the race, for example items already seen: either integers (negative = none) or a
            mask of the shape of ``scores``. A target that is excluded itself can never be shown: its rank is infinite.

    Shapes:
        scores: ``[U, V]``; targets: int ``[U]``; exclude: int ``[U, X]`` or bool ``[U, V]``; result: float64 ``[U]``,
        NaN for a user without target.

    Raises:
        DataError: For NaN, or for shapes and columns that do not fit.

    Example:
        >>> ranks_of_targets([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]], [2, 0]).tolist()
        [2.0, 2.0]
    """
    import torch

    table = torch.as_tensor(scores)
    wanted = torch.as_tensor(targets).to(torch.int64)
    barred = None if exclude is None else torch.as_tensor(exclude)
    if table.ndim != 2 or wanted.shape != table.shape[:1]:
        raise DataError(f"scores {list(table.shape)} and targets {list(wanted.shape)} do not fit: [U, V] and [U].")
    if len(wanted) and int(wanted.max()) >= table.shape[1]:
        raise DataError(f"A target stands in column {int(wanted.max())}; the scores have {table.shape[1]} columns.")
    if not table.dtype.is_floating_point:
        table = table.to(torch.float64)
    if barred is not None:
        is_mask = barred.dtype == torch.bool
        if barred.ndim != 2 or len(barred) != len(table) or (is_mask and barred.shape != table.shape):
            raise DataError(f"exclude has the shape {list(barred.shape)}; [U, X] columns or a [U, V] mask is expected.")
        if not is_mask and barred.numel() and int(barred.max()) >= table.shape[1]:
            raise DataError(f"exclude names column {int(barred.max())}; the scores have {table.shape[1]} columns.")
    ranks = np.empty(len(table), np.float64)
    step = max(1, _ENTRIES // max(1, table.shape[1]))
    for start in range(0, len(table), step):
        part = slice(start, start + step)
        rows, columns = _pairs(None if barred is None else barred[part])
        block = table[part]
        wrong = rows_with_nan(block)
        if wrong.any():
            row = start + int(wrong.int().argmax())
            raise DataError(f"scores are NaN in row {row}.", remedy="Correct the model that made them.")
        ranks[part] = rank_of_columns(block, wanted[part], rows, columns).cpu().numpy()
    return ranks


def rows_with_nan(scores: Tensor) -> Tensor:
    """Say for each row whether it holds NaN; the maximum passes NaN on, and is the quickest way to see it."""
    return scores.amax(1).isnan()


def rank_of_columns(scores: Tensor, targets: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """Return ranks float64 ``[B]`` for scores without NaN; (rows, columns) are the pairs that are excluded."""
    import torch

    if rows is not None and columns is not None and rows.numel():
        scores = scores.clone()
        scores[rows, columns] = float("nan")  # compares as neither higher nor equal
    own = scores.gather(1, targets.clamp(min=0)[:, None])
    higher = (scores > own).sum(1, dtype=torch.int32)
    equal = (scores == own).sum(1, dtype=torch.int32)  # the target itself among them
    ranks = 0.5 + higher.double() + equal.double() / 2.0
    ranks = ranks.masked_fill(own[:, 0].isnan(), float("inf"))
    return ranks.masked_fill(targets < 0, float("nan"))


def _pairs(barred: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the excluded (row, column) pairs of a mask or of padded columns."""
    import torch

    if barred is None:
        return None, None
    if barred.dtype == torch.bool:
        rows, columns = barred.nonzero(as_tuple=True)
        return rows, columns
    rows, place = (barred >= 0).nonzero(as_tuple=True)
    return rows, barred[rows, place].to(torch.int64)
