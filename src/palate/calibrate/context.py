"""Context tokens to ids: 0 is for values that were never seen, or too rarely to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from palate.calibrate.observations import IntArray
from palate.errors import DataError, SavedFolderError

__all__ = ["ContextVocabulary"]

Tokens = np.ndarray[Any, Any]
Missing = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class ContextVocabulary:
    """The known values of each context field, and how often each was seen.

    Attributes:
        fields: Sorted tokens of each field (integers or strings); token ``j`` has the id ``j + 1``.
        counts: Rows of each token, float64, parallel to ``fields``.

    Example:
        >>> vocabulary = ContextVocabulary.fit(["web", "app", "web"], min_count=1)
        >>> vocabulary.encode(["app", "web", "tv"]).ravel().tolist()
        [1, 2, 0]
    """

    fields: tuple[Tokens, ...] = ()
    counts: tuple[Tokens, ...] = ()

    @classmethod
    def fit(cls, context: ArrayLike | None, *, min_count: int = 1, weight: ArrayLike | None = None) -> Self:
        """Collect the tokens that occur in at least ``min_count`` rows.

        Args:
            context: ``[N]`` or ``[N, F]``; ``None`` for no field at all.
            min_count: Values with fewer rows share the id 0 with unseen ones.
            weight: Weight of each row in ``counts`` (1 when absent).
        """
        fields, counts = [], []
        for column, missing in _columns(context):
            tokens, place, rows = np.unique(column[~missing], return_inverse=True, return_counts=True)
            weights = None if weight is None else np.asarray(weight, dtype=np.float64)[~missing]
            mass = np.bincount(place, weights=weights, minlength=len(tokens)).astype(np.float64)
            fields.append(tokens[rows >= min_count])
            counts.append(mass[rows >= min_count])
        return cls(tuple(fields), tuple(counts))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids of each field, the 0 included."""
        return tuple(len(tokens) + 1 for tokens in self.fields)

    def encode(self, context: ArrayLike | None, num_rows: int | None = None) -> IntArray:
        """Return ids int64 ``[N, F]``.

        Args:
            context: ``[N]`` or ``[N, F]``, with the fields of the fit in the same order.
            num_rows: How many rows there must be (required when there is no field).

        Raises:
            DataError: If the number of rows or fields, or the kind of token, is not that of the fit.
        """
        columns = _columns(context)
        if len(columns) != len(self.fields):
            raise DataError(
                f"context has {len(columns)} fields; the calibrator was fitted with {len(self.fields)}.",
                remedy="Pass the same fields, in the same order, as to fit().",
            )
        rows = len(columns[0][0]) if columns else int(num_rows or 0)
        if num_rows is not None and rows != num_rows:
            raise DataError(f"context has {rows:,} rows, scores has {num_rows:,}; they must be the same rows.")
        ids = np.zeros((rows, len(columns)), dtype=np.int64)
        for place, ((column, missing), tokens) in enumerate(zip(columns, self.fields, strict=True)):
            ids[:, place] = _look_up(column, missing, tokens, place)
        return ids

    def to_document(self) -> dict[str, Any]:
        """Return the tokens and counts as plain JSON types."""
        return {
            "fields": [tokens.tolist() for tokens in self.fields],
            "counts": [counts.tolist() for counts in self.counts],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild the vocabulary from :meth:`to_document`.

        Raises:
            SavedFolderError: If the document is not of that form.
        """
        try:
            fields = tuple(_tokens(tokens) for tokens in document["fields"])
            counts = tuple(np.asarray(counts, dtype=np.float64) for counts in document["counts"])
        except (KeyError, TypeError, ValueError) as error:
            raise SavedFolderError(f"The saved context of a calibrator cannot be read: {error}.") from None
        whole = len(fields) == len(counts) and all(len(t) == len(c) for t, c in zip(fields, counts, strict=True))
        if not whole or any((tokens[1:] <= tokens[:-1]).any() for tokens in fields):
            raise SavedFolderError("The saved context of a calibrator was altered: tokens and counts do not fit.")
        return cls(fields, counts)


def _columns(context: ArrayLike | None) -> list[tuple[Tokens, Missing]]:
    if context is None:
        return []
    table = np.asarray(context)
    if table.ndim not in (1, 2):
        raise DataError(f"context has shape {list(table.shape)}; [N] or [N, F] is expected.")
    columns = [table] if table.ndim == 1 else list(table.T)
    return [_normal(column, place) for place, column in enumerate(columns)]


def _normal(column: Tokens, place: int) -> tuple[Tokens, Missing]:
    """Return a column as int64 or text, and which of its values are missing (None or NaN)."""
    missing = np.zeros(len(column), dtype=bool)
    if column.dtype.kind == "O":
        missing = np.asarray((column == None) | (column != column), dtype=bool)  # noqa: E711 - elementwise
        types = set(map(type, column[~missing]))
        if types and all(issubclass(kind, str | np.str_) for kind in types):
            return np.where(missing, "", column).astype(np.str_), missing
        numbers = all(issubclass(kind, int | float | np.integer | np.floating | np.bool_) for kind in types)
        if not numbers:
            return np.where(missing, "", column.astype(np.str_)), missing
        column = np.where(missing, np.nan, column).astype(np.float64) if missing.any() else np.array(column.tolist())
    if column.dtype.kind in "iub":
        return column.astype(np.int64), missing
    if column.dtype.kind in "US":
        return column.astype(np.str_), missing
    if column.dtype.kind == "f":
        missing = np.isnan(column)
        whole = np.where(missing, 0.0, column)
        if np.isfinite(whole).all() and (whole == np.round(whole)).all():
            return whole.astype(np.int64), missing
    raise DataError(
        f"context field {place} holds {column.dtype} that are no whole numbers; categories are integers or strings.",
        remedy="Cut a number into ranges first.",
    )


def _tokens(values: Sequence[Any]) -> Tokens:
    if all(isinstance(value, int) for value in values):
        return np.asarray(values, dtype=np.int64)
    return np.asarray([str(value) for value in values], dtype=np.str_)


def _look_up(column: Tokens, missing: Missing, tokens: Tokens, place: int) -> IntArray:
    if not len(tokens) or missing.all():
        return np.zeros(len(column), dtype=np.int64)
    if (column.dtype.kind == "i") != (tokens.dtype.kind == "i"):
        kinds = {True: "integers", False: "strings"}
        raise DataError(
            f"context field {place} holds {kinds[column.dtype.kind == 'i']}; "
            f"the calibrator was fitted with {kinds[tokens.dtype.kind == 'i']}.",
            remedy="Pass the tokens as they were passed to fit().",
        )
    found = np.minimum(np.searchsorted(tokens, column), len(tokens) - 1)
    return np.where((tokens[found] == column) & ~missing, found + 1, 0).astype(np.int64)
