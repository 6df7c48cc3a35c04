"""Where a row of a log says who, what, when and how much, and the values that fields read from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from palate.config import Config
from palate.data.feature_plan import FeaturePlan, FieldPlan
from palate.data.schema import Role, Schema, Table
from palate.data.time_features import time_part
from palate.data.times import seconds
from palate.data.tokens import TokenIndex, as_text
from palate.errors import Problem, SchemaError, suggest

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["RowColumns"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Float32Array = np.ndarray[Any, np.dtype[np.float32]]

# A row without a time stands before everything, so that its history is empty.
_BEFORE_ALL = np.iinfo(np.int64).min


class RowColumns(Config):
    """Names of the columns of the log that are more than features; ``None`` where the log has no such column."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    weight: str | None = None

    @classmethod
    def of(cls, schema: Schema) -> Self:
        """Read the names from a schema."""
        roles = {"user": Role.USER, "item": Role.ITEM, "time": Role.TIME, "weight": Role.WEIGHT}
        named = {name: schema.columns("interactions", role) for name, role in roles.items()}
        return cls(**{name: found[0].name for name, found in named.items() if found})

    def key(self, table: Table) -> str | None:
        """Return the column of the log that looks up rows of ``items`` or ``users``."""
        return self.item if table == "items" else self.user

    def needed(self, plan: FeaturePlan, *, with_history: bool = True) -> list[str]:
        """Return the columns of the log that encoding needs, each once."""
        wanted: list[str | None] = []
        for field in plan.fields:
            if field.derive == "history":
                wanted += [self.user, self.time] if with_history else []
            elif field.derive is not None:
                wanted.append(self.time)
            elif field.table == "interactions" and field.kind != "vector":
                wanted.append(field.source)
            else:
                wanted.append(self.item if field.kind == "vector" else self.key(field.table))
        return list(dict.fromkeys(column for column in wanted if column is not None))

    def require(self, plan: FeaturePlan, dataset: Dataset) -> None:
        """Check that a data set has everything that a plan names.

        Raises:
            SchemaError: With all that is missing.
        """
        problems = [problem for field in plan.fields for problem in self._problems(field, dataset)]
        if problems:
            raise SchemaError("The plan of the features does not fit the data set.", problems=problems)

    def _problems(self, field: FieldPlan, dataset: Dataset) -> Iterable[Problem]:
        what = f'the field "{field.name}"'
        if field.derive is not None and self.time is None:
            yield Problem(f"{what} needs times, and the log has no time column", 'Declare it: time="COLUMN".')
        elif field.derive == "history" and (self.user is None or self.item is None):
            yield Problem(f"{what} needs a user and an item in every row", "Leave the history out.")
        elif field.kind == "vector" and self.item is None:
            yield Problem(f"{what} is looked up by item, and the log has no item column", "Leave it out.")
        elif field.derive is None and field.kind != "vector":
            frame = dataset.scan().head(0).collect() if field.table == "interactions" else dataset.table(field.table)
            key = field.table == "interactions" or self.key(field.table) is not None
            if frame is None or not key:
                remedy = f"Pass {field.table}=TABLE when the data set is made, or leave the field out."
                yield Problem(f"{what} comes from {field.table}, which rows of this data set cannot look up", remedy)
            elif field.source not in frame.columns:
                remedy = suggest(field.source, frame.columns)
                yield Problem(f"{what} has no such column", remedy, file=field.table, column=field.source)

    def series(self, frame: pl.DataFrame, column: str | None) -> pl.Series:
        """Return a column of ``frame``, or missing values where it has none."""
        if column is not None and column in frame.columns:
            return frame.get_column(column)
        return pl.Series(column or "", [None] * len(frame), dtype=pl.String)

    def values(self, frame: pl.DataFrame, field: FieldPlan, utc_offset_hours: float) -> pl.Series | None:
        """Return what a field of the log reads from ``frame``, or ``None`` where its column is not there."""
        source = field.source if field.derive is None else self.time
        if source is None or source not in frame.columns:
            return None
        if field.derive is None:
            return frame.get_column(source)
        return frame.select(self.expression(field, frame.schema[source], utc_offset_hours)).to_series()

    def expression(self, field: FieldPlan, dtype: pl.DataType, utc_offset_hours: float) -> pl.Expr:
        """Return the expression of a field of the log: its column, or a part of the row's time."""
        if field.derive is None or field.derive == "history":
            return pl.col(field.source)
        assert self.time is not None
        moment = _seconds(self.time, dtype)
        return time_part(moment, field.derive, utc_offset_hours=utc_offset_hours).alias(field.name)

    def seconds(self, frame: pl.DataFrame) -> IntArray:
        """Return the time of every row, before all times where it is missing: int64 ``[N]``."""
        assert self.time is not None
        moments = frame.select(_seconds(self.time, frame.schema[self.time])).to_series()
        return moments.fill_null(_BEFORE_ALL).to_numpy()

    def weights(self, frame: pl.DataFrame) -> Float32Array | None:
        """Return the weight of every row, float32 ``[N]``, or ``None``."""
        if self.weight is None or self.weight not in frame.columns:
            return None
        weights = frame.get_column(self.weight).cast(pl.Float32)
        if weights.null_count() or weights.is_nan().any() or (weights < 0).any():
            raise SchemaError(
                f'The weight column "{self.weight}" has values that are missing or below 0.',
                remedy="A weight is a number from 0 up.",
            )
        return weights.to_numpy()

    def users_of(self, dataset: Dataset) -> TokenIndex:
        """Return the different users of the log in lexicographic order."""
        assert self.user is not None
        users = dataset.scan().select(pl.col(self.user).unique()).collect(engine="streaming").to_series()
        return TokenIndex(as_text(users).cast(pl.String).drop_nulls().unique().sort())

    def groups(self, frame: pl.DataFrame, users: TokenIndex | None) -> IntArray | None:
        """Return the place of each row's user among ``users``, -1 where there is none: int64 ``[N]``."""
        return None if users is None else users.positions(self.series(frame, self.user)).astype(np.int64)

    def positives(self, dataset: Dataset, rows: IntArray | None) -> tuple[pl.Series, IntArray, pl.Series]:
        """Return users, times and items of the rows with label 1 that have a time, in the order of the log."""
        assert self.user is not None
        assert self.item is not None
        assert self.time is not None
        taken = dataset.labels() > 0.5
        if rows is not None:
            allowed = np.zeros(len(taken), dtype=np.bool_)
            allowed[rows] = True
            taken &= allowed
        log = dataset.scan().select(self.user, self.item, self.time).collect()
        log = log.filter(pl.Series(taken) & log.get_column(self.time).is_not_null())
        return log.get_column(self.user), self.seconds(log), log.get_column(self.item)


def _seconds(column: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(column).cast(pl.Int64) if dtype == pl.Null else seconds(column, dtype)
