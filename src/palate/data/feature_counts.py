"""How often each value of a field occurs in the training rows: all that fitting an encoder looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from palate.data.feature_plan import FeaturePlan, FieldPlan
from palate.data.field_codec import split_text
from palate.data.row_columns import RowColumns
from palate.data.schema import Role, Table
from palate.data.tokens import TokenIndex

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["FeatureCounts"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]

# Up to so many rows, counting in memory is quicker; beyond, the streaming engine bounds what is held at once.
STREAM_ROWS = 1 << 22


@dataclass(frozen=True)
class FeatureCounts:
    """The training rows, ready to be counted field by field.

    Attributes:
        train: The training rows of the log, in memory or lazy.
        tables: The catalogue and the users, where fields come from them.
        entities: Their ids.
        occurrences: How often each of their rows occurs in the training rows.
        columns: Names of the columns of the log.
        utc_offset_hours: Of the plan.
    """

    train: pl.DataFrame | pl.LazyFrame
    tables: Mapping[Table, pl.DataFrame]
    entities: Mapping[Table, TokenIndex]
    occurrences: Mapping[Table, IntArray]
    columns: RowColumns
    utc_offset_hours: float

    @classmethod
    def of(cls, dataset: Dataset, rows: IntArray | None, plan: FeaturePlan, columns: RowColumns) -> Self:
        """Gather what the fields of ``plan`` need of the training rows."""
        train = _training_rows(dataset, rows, columns.needed(plan))
        tables: dict[Table, pl.DataFrame] = {}
        for field in plan.fields:
            frame = dataset.table(field.table) if field.table != "interactions" and field.kind != "vector" else None
            if frame is not None:
                tables[field.table] = frame
        entities: dict[Table, TokenIndex] = {}
        occurrences: dict[Table, IntArray] = {}
        for table, frame in tables.items():
            key = dataset.schema.name_of(table, Role.ITEM if table == "items" else Role.USER)
            entities[table] = TokenIndex(frame.get_column(key), what=f"ids of {table}")
            met = _count(train, pl.col(str(columns.key(table))))
            places = entities[table].positions(met.get_column("value"))
            known = places >= 0
            weights = met.get_column("count").to_numpy()[known]
            occurrences[table] = np.bincount(places[known], weights, minlength=len(frame)).astype(np.int64)
        return cls(train, tables, entities, occurrences, columns, plan.utc_offset_hours)

    def of_field(self, field: FieldPlan) -> pl.DataFrame:
        """Return the different values of a field and how often each occurs: ``value``, ``count``."""
        if field.table != "interactions":
            return self._of_attribute(field)
        source = field.source if field.derive is None else str(self.columns.time)
        dtype = self.train.collect_schema()[source]
        values = self.columns.expression(field, dtype, self.utc_offset_hours)
        if field.kind == "sequence":
            if field.separator and dtype == pl.String:
                values = values.replace("", None).str.split(field.separator)
            values = values.explode()
        return _count(self.train, values)

    def _of_attribute(self, field: FieldPlan) -> pl.DataFrame:
        """Count an attribute as often as its item or user occurs; what never occurs is not seen."""
        values = self.tables[field.table].get_column(field.source)
        frame = pl.DataFrame({"value": values, "count": self.occurrences[field.table]}).filter(pl.col("count") > 0)
        if field.kind == "sequence":
            lists = split_text(frame.get_column("value"), field.separator)
            frame = frame.with_columns(lists.alias("value")).drop_nulls("value").explode("value")
        return frame.group_by("value").agg(pl.col("count").sum())


def _count(rows: pl.DataFrame | pl.LazyFrame, values: pl.Expr) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows.select(values.alias("value")).to_series().value_counts(name="count").cast({"count": pl.Int64})
    grouped = rows.select(values.alias("value")).group_by("value").agg(pl.len().cast(pl.Int64).alias("count"))
    return grouped.collect(engine="streaming")


def _training_rows(dataset: Dataset, rows: IntArray | None, needed: list[str]) -> pl.DataFrame | pl.LazyFrame:
    log = dataset.scan().select(needed)
    if len(dataset) <= STREAM_ROWS:
        return log.collect() if rows is None else log.collect()[np.asarray(rows, dtype=np.int64)]
    if rows is None:
        return log
    wanted = pl.LazyFrame({"row": np.asarray(rows, dtype=np.uint32)})
    return log.with_row_index("row").join(wanted, on="row", how="semi").drop("row")
