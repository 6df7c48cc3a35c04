"""From a column or a rule to labels: 1 for taken, 0 for not taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from palate.data.schema import LabelRule
from palate.errors import DataError, Problem, SchemaError, suggest

__all__ = ["label_expression", "labels_of"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


def label_expression(rule: LabelRule) -> pl.Expr:
    """Return the expression of ``rule``: 1.0 where it holds, 0.0 where not, null where the column is null or NaN.

    Example:
        >>> frame = pl.DataFrame({"rating": [5.0, 3.5, None]})
        >>> frame.select(label_expression(LabelRule.parse("rating >= 4"))).to_series().to_list()
        [1.0, 0.0, None]
    """
    column = pl.col(rule.column).cast(pl.Float64)
    if rule.operator is None:
        return column.cast(pl.Float32)
    threshold = rule.threshold
    compared = {
        ">=": column >= threshold,
        ">": column > threshold,
        "<=": column <= threshold,
        "<": column < threshold,
        "==": column == threshold,
        "!=": column != threshold,
    }[rule.operator]
    # NaN compares as the largest number; a missing rating must not become a positive.
    return pl.when(column.is_nan()).then(None).otherwise(compared).cast(pl.Float32)


def labels_of(frame: pl.LazyFrame, rule: LabelRule) -> FloatArray:
    """Return the labels of ``frame`` under ``rule``.

    Shapes:
        Returns float32 ``[N]`` of 0 and 1.

    Raises:
        SchemaError: If the column is missing or is not of numbers or booleans.
        DataError: If a label is missing, or a bare column holds something other than 0 and 1.
    """
    dtype = frame.collect_schema().get(rule.column)
    if dtype is None:
        raise SchemaError(
            f'The label "{rule}" needs a column "{rule.column}".',
            remedy=suggest(rule.column, frame.collect_schema()),
        )
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise SchemaError(
            f'The label column "{rule.column}" is of type {dtype}; numbers or booleans are expected.',
            remedy="Convert it to 0 and 1, or to a number that a rule can compare.",
        )
    columns = frame.select(raw=pl.col(rule.column), label=label_expression(rule)).collect()
    wrong = columns.with_row_index("row").filter(pl.col("label").is_in([0.0, 1.0]).not_() | pl.col("label").is_null())
    if wrong.height:
        first = wrong.row(0, named=True)
        missing = first["label"] is None
        raise DataError(
            f'The label "{rule}" cannot be read for {wrong.height:,} rows.',
            problems=[
                Problem(
                    "the label is missing" if missing else "the label is neither 0 nor 1",
                    "Drop the rows, or fill them." if missing else f'Use a rule, for example "{rule.column} >= 4".',
                    row=int(first["row"]),
                    row_kind="row",
                    column=rule.column,
                    value=None if first["raw"] is None else str(first["raw"]),
                    count=wrong.height,
                )
            ],
        )
    return columns["label"].to_numpy().astype(np.float32, copy=False)
