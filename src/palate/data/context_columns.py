"""Columns as the context of a calibrator: named like features, read from a row as a model reads it.

What a column says of a row:

- a category, a user or an item: its token;
- a list, such as genres: its first entry that occurs in the training rows (a film counts once, under one genre);
- a number: the bucket of about a tenth of the training rows that it lies in, as ``above 3 to 4.5``;
- ``weekday``, ``hour``, ``is_weekend``: the part of the row's time, unless the log has a column of that name.

A value that is missing, or that the training rows do not have, is no value (``None``): calibrators treat it as one
that they have never seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from palate.data.encoder import FeatureEncoder
from palate.data.feature_plan import FeaturePlan, FieldPlan
from palate.data.schema import Role, Schema, Table
from palate.data.time_features import TIME_PARTS
from palate.data.vocabulary import Vocabulary
from palate.errors import ConfigError, SavedFolderError, UnknownNameError

if TYPE_CHECKING:
    from palate.data.dataset import Dataset
    from palate.data.field_codec import FieldCodec
    from palate.data.rank_table import RankTable

__all__ = ["ContextColumns", "column_names"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Tokens = np.ndarray[Any, Any]

PART = "context"
_TABLES: tuple[Table, ...] = ("interactions", "users", "items")
_ROLES = (Role.USER, Role.ITEM, Role.CATEGORICAL, Role.NUMERIC, Role.LIST)
_BUCKETS = 10
_LONGEST_LIST = 64  # of a longer list, the last so many entries are looked at
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class ContextColumns:
    """Columns that a calibrator uses as its context, learned from the training rows and carried along.

    Attributes:
        encoder: Reads these columns and no others.

    Shapes:
        of: ``[N, F]`` objects, each a text or ``None``.

    Example:
        >>> from palate.data.dataset import Dataset
        >>> log = pl.DataFrame({"user": ["ann", "bo"], "item": [1, 2], "time": [0, 90_000], "site": ["web", "app"]})
        >>> data = Dataset.from_tables(log, time="time", categorical=["site"])
        >>> context = ContextColumns.fit(data, np.array([0, 1]), ["site", "weekday"])
        >>> context.of(pl.DataFrame({"site": ["app", "tv"], "time": [90_000, None]})).tolist()
        [['app', 'Friday'], [None, None]]
    """

    encoder: FeatureEncoder

    @classmethod
    def fit(cls, dataset: Dataset, rows: IntArray | None, names: Sequence[str]) -> Self:
        """Learn the values of the named columns from the training rows.

        Args:
            dataset: The data set.
            rows: Row ids of the training part; all rows when left out.
            names: Columns of the log, of ``users`` or of ``items``, as ``COLUMN`` or ``TABLE.COLUMN``; or parts of the
                time.

        Raises:
            UnknownNameError: If there is no such column; the message suggests the nearest.
            ConfigError: If no column, or one column twice, is named, or a name stands for columns of two tables.
        """
        if not names:
            raise ConfigError("No context column was named.", remedy="Name one, such as genres.")
        fields = tuple(_field(dataset.schema, name) for name in names)
        return cls(FeatureEncoder.fit(dataset, rows, FeaturePlan(fields=fields)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return self.encoder.plan.names

    def of(self, frame: pl.DataFrame) -> Tokens:
        """Return the context of rows that name columns as the log does; what is not there is ``None``."""
        return self._tokens(self.encoder.encode(frame, missing="oov"))

    def of_dataset(self, dataset: Dataset, rows: IntArray | None = None) -> Tokens:
        """Return the context of rows of a data set."""
        return self._tokens(self.encoder.encode_dataset(dataset, rows))

    def to_saved(self) -> tuple[dict[str, Any], dict[str, dict[str, Tokens]]]:
        """Return the columns as a document and a group of arrays, for :func:`palate.saving.save_folder`."""
        documents, arrays = self.encoder.to_saved()
        return {PART: documents["features"]}, {PART: arrays["features"]}

    @classmethod
    def from_saved(cls, documents: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Tokens]]) -> Self:
        """Rebuild the columns from what :meth:`to_saved` returned.

        Raises:
            SavedFolderError: If a part is missing or does not fit.
        """
        if PART not in documents or PART not in arrays:
            raise SavedFolderError("The saved context columns are not whole.", remedy="Save the thing again.")
        return cls(FeatureEncoder.from_saved({"features": documents[PART]}, {"features": arrays[PART]}))

    def _tokens(self, table: RankTable) -> Tokens:
        spec = self.encoder.spec
        places = {field.name: place for place, field in enumerate(spec.of_kind("categorical"))}
        lists = {field.name: place for place, field in enumerate(spec.of_kind("sequence"))}
        columns = []
        for name, codec in self.encoder.codecs.items():
            offset = spec[name].offset
            if name in lists:
                columns.append(_first_known(codec, table.sequences[lists[name]] - offset))
            else:
                columns.append(_decoded(codec, table.ids[:, places[name]] - offset))
        return np.stack(columns, axis=1)


def column_names(schema: Schema) -> tuple[str, ...]:
    """Return what can be named as context in data of this schema."""
    names = [column.name for table in _TABLES for column in _candidates(schema, table)]
    parts = TIME_PARTS if schema.has("interactions", Role.TIME) else ()
    return tuple(dict.fromkeys([*names, *parts]))


def _field(schema: Schema, name: str) -> FieldPlan:
    found = [
        (table, column)
        for table in _TABLES
        for column in _candidates(schema, table)
        if name in (column.name, f"{table}.{column.name}")
    ]
    if len(found) > 1:
        told = " and ".join(f"{table}.{column.name}" for table, column in found)
        raise ConfigError(f'"{name}" stands for {told}.', remedy="Say which, with its table.")
    if not found:
        part = next((part for part in TIME_PARTS if part == name), None)
        if part is None or not schema.has("interactions", Role.TIME):
            raise UnknownNameError.among("context column", name, column_names(schema))
        return FieldPlan(name=name, derive=part)
    table, column = found[0]
    return FieldPlan(
        name=name,
        column=column.name,
        table=table,
        kind="sequence" if column.role == Role.LIST else "categorical",
        bucket="quantile" if column.role == Role.NUMERIC else None,
        num_buckets=_BUCKETS,
        max_length=_LONGEST_LIST,
        missing=column.missing,
        separator=column.separator,
    )


def _candidates(schema: Schema, table: Table) -> list[Any]:
    """Return the columns of a table that can be a context; keys are those of the log."""
    columns = schema.columns(table, *_ROLES)
    return [c for c in columns if table == "interactions" or c.role not in (Role.USER, Role.ITEM)]


def _decoded(codec: FieldCodec, ids: Tokens) -> Tokens:
    """Return the names of ids; ``None`` for what is unknown or missing."""
    vocabulary = codec.ids
    assert isinstance(vocabulary, Vocabulary)
    names = np.array([None, *(_label(codec, token) for token in vocabulary.tokens.to_list()), None], dtype=object)
    return np.asarray(names[ids])


def _first_known(codec: FieldCodec, rows: Tokens) -> Tokens:
    """Return the name of the first known entry of each row of ids ``[N, L]``, padded at the left."""
    vocabulary = codec.ids
    assert isinstance(vocabulary, Vocabulary)
    known = (rows > 0) & (rows < vocabulary.oov)
    first = rows[np.arange(len(rows)), known.argmax(axis=1)]
    return _decoded(codec, np.where(known.any(axis=1), first, 0))


def _label(codec: FieldCodec, token: str) -> str:
    """Return a token as people read it: days by name, buckets by their ends."""
    if codec.plan.derive == "weekday":
        return _WEEKDAYS[int(token)]
    if codec.plan.derive == "is_weekend":
        return "weekend" if token == "1" else "weekday"
    if codec.quantiles is None:
        return token
    edges, bucket = codec.quantiles.edges, int(token)
    low = f"above {edges[bucket - 1]:g}" if bucket else ""
    high = f"to {edges[bucket]:g}" if bucket < len(edges) else ""
    return " ".join(part for part in (low, high) if part) or "any number"
