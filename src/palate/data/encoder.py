"""From a data set to the inputs of a ranking model: fitted on the training rows, used on all others.

Choices made here:

* Everything that is learned (vocabularies, edges of buckets, means) is learned from counts of the training rows, and
  from nothing else. An attribute of the catalogue counts as often as its item occurs in them.
* The encoder carries the encoded catalogue, so in use a row needs no more than its ids and its context.
* What is unknown has an answer: an unknown user, item or token reads OOV, a missing attribute reads OOV, a missing
  number reads the mean, a missing list or history is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from palate.data.entity_table import EntityTable
from palate.data.feature_counts import FeatureCounts
from palate.data.feature_plan import FeaturePlan, FieldPlan
from palate.data.features import FeatureSpec, FieldSpec
from palate.data.field_codec import FieldCodec
from palate.data.history import HistoryLog
from palate.data.item_vectors import ItemVectors
from palate.data.rank_table import RankTable
from palate.data.row_columns import RowColumns
from palate.data.schema import Table
from palate.data.split import fingerprint_rows
from palate.data.tokens import TokenIndex
from palate.errors import ConfigError, SavedFolderError, SchemaError, UnknownNameError, suggest

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["FeatureEncoder", "FeaturePlan", "FieldPlan"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
AnyArray = np.ndarray[Any, np.dtype[Any]]

PART = "features"


@dataclass(frozen=True)
class FeatureEncoder:
    """A fitted encoder: rows of a log -> :class:`~palate.data.rank_table.RankTable`.

    Attributes:
        plan: The plan that it was fitted with, nothing left to a default.
        columns: Names of the user, item, time and weight columns of the log.
        codecs: What was learned, field by field.
        entities: The encoded catalogue and users, where the plan has fields of them.
        pretrained: Pretrained item vectors by field.
        fitted_on: Fingerprint of the rows that it was fitted on.

    Example:
        >>> from palate.data.dataset import Dataset
        >>> log = pl.DataFrame({"user": ["ann", "bo", "ann"], "item": [1, 1, 2], "click": [1, 0, 1]})
        >>> data = Dataset.from_tables(log, label="click")
        >>> encoder = FeatureEncoder.fit(data, rows=np.array([0, 1]))
        >>> encoder.encode_dataset(data).ids.tolist()  # item 2 is not in the training rows: OOV
        [[1, 5], [2, 5], [1, 6]]
    """

    plan: FeaturePlan
    columns: RowColumns
    codecs: Mapping[str, FieldCodec]
    entities: Mapping[Table, EntityTable]
    pretrained: Mapping[str, ItemVectors]
    fitted_on: str

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        rows: IntArray | None = None,
        plan: FeaturePlan | None = None,
        *,
        vectors: Mapping[str, ItemVectors] | None = None,
    ) -> Self:
        """Learn vocabularies, buckets and scales from the training rows.

        Args:
            dataset: The data set.
            rows: Row ids of the training part; all rows when left out. A log on disk is counted by the streaming
                engine, so memory is bounded by the number of different values.
            plan: What becomes a field; :meth:`FeaturePlan.default_for` the schema when left out.
            vectors: Pretrained item vectors by the ``column`` of their field.

        Raises:
            SchemaError: If the plan names columns that do not exist; all of them are listed.
            ConfigError: If vectors and plan do not fit together.
        """
        given = dict(vectors or {})
        plan = FeaturePlan.default_for(dataset.schema, vectors=given) if plan is None else plan
        plan = _resolved(plan)
        columns = RowColumns.of(dataset.schema)
        columns.require(plan, dataset)
        counts = FeatureCounts.of(dataset, rows, plan, columns)
        codecs: dict[str, FieldCodec] = {}
        # Owners first: a field that shares ids takes those of a field that has learned its own.
        for field in sorted(plan.fields, key=lambda field: field.shares is not None):
            if field.shares is not None:
                codecs[field.name] = FieldCodec(field, codecs[field.shares].ids)
            elif field.kind == "vector":
                codecs[field.name] = FieldCodec(field)
            else:
                codecs[field.name] = FieldCodec.learn(field, counts.of_field(field))
        entities = {table: _entity(table, index, dataset, codecs) for table, index in counts.entities.items()}
        fitted_on = fingerprint_rows(np.arange(len(dataset)) if rows is None else rows)
        return cls(plan, columns, codecs, entities, _pretrained(plan, given), fitted_on)

    @property
    def spec(self) -> FeatureSpec:
        """The fields as a model sees them: kinds, sizes and places in the fused table."""
        offsets: dict[str, int] = {}
        total = 0
        for field in self.plan.fields:
            if field.shares is None and self.codecs[field.name].size:
                offsets[field.name], total = total, total + self.codecs[field.name].size
        return FeatureSpec(fields=tuple(self._field_spec(field, offsets) for field in self.plan.fields))

    @property
    def vectors(self) -> dict[str, Tensor]:
        """The pretrained matrix of each vector field, float32 ``[V + 1, D]`` with a zero row 0, for the model."""
        return {name: torch.from_numpy(vectors.matrix) for name, vectors in self.pretrained.items()}

    def encode(
        self,
        frame: pl.DataFrame,
        *,
        history: HistoryLog | None = None,
        missing: Literal["error", "oov"] = "error",
    ) -> RankTable:
        """Return the rows of ``frame`` in encoded form, without labels.

        A column ``items.COLUMN`` or ``users.COLUMN`` of the frame is used in place of the catalogue's value where
        it is not null; so an item that the catalogue does not know can be described. A list column with the name
        of a history field is used as the history.

        Args:
            frame: Rows with the columns of the log that the plan names.
            history: The log to take histories from; histories are empty without it, or where a row has no time.
            missing: What to do about columns that the frame does not have: report them, or read them as missing.

        Raises:
            SchemaError: If columns are missing; all of them are listed.
        """
        if missing not in ("error", "oov"):
            raise UnknownNameError.among("answer to missing columns", missing, ("error", "oov"))
        if missing == "error":
            self._require(frame, history)
        encoded = {name: self._encode_field(codec, frame, history) for name, codec in self.codecs.items()}
        spec = self.spec
        categorical, numeric = spec.of_kind("categorical"), spec.of_kind("numeric")
        ids = _side_by_side([encoded[field.name] for field in categorical], len(frame))
        ids += np.array([field.offset for field in categorical], dtype=np.int32)
        vectors = [encoded[field.name] for field in spec.of_kind("vector")]
        return RankTable(
            ids=ids,
            numeric=np.stack([encoded[field.name] for field in numeric], axis=1) if numeric else None,
            sequences=tuple(encoded[field.name] + np.int32(field.offset) for field in spec.of_kind("sequence")),
            vectors=np.stack(vectors, axis=1) if vectors else None,
            weights=self.columns.weights(frame),
        )

    def encode_dataset(
        self, dataset: Dataset, rows: IntArray | None = None, *, history: HistoryLog | None = None
    ) -> RankTable:
        """Return rows of a data set in encoded form, with labels, weights and the group of each row.

        Groups count the users of the data set in the order of :meth:`user_groups`.

        Args:
            dataset: The data set.
            rows: Row ids, in any order; all rows when left out.
            history: The log to take histories from, see :meth:`history`; by default every positive of ``dataset``.
                Histories hold only what is strictly earlier than the row.
        """
        if history is None and self.uses_history:
            history = self.history(dataset)
        log = dataset.scan().select(self.log_columns(dataset)).collect()
        frame = log if rows is None else log[np.asarray(rows, dtype=np.int64)]
        labels = dataset.labels()
        users = None if self.columns.user is None else self.columns.groups(frame, self.user_groups(dataset))
        table = self.encode(frame, history=history)
        return table.replace(labels=labels if rows is None else labels[rows], users=users)

    @property
    def uses_history(self) -> bool:
        """Whether a field is the history of the user."""
        return bool(self._histories())

    def log_columns(self, dataset: Dataset) -> list[str]:
        """Return the columns of the log that are read: those of the fields, the user, the weight and the label."""
        rule = dataset.schema.label
        extra = (self.columns.user, self.columns.weight, None if rule is None else rule.column)
        return list(dict.fromkeys([*self.columns.needed(self.plan), *(name for name in extra if name is not None)]))

    def user_groups(self, dataset: Dataset) -> TokenIndex:
        """Return the users of a data set in lexicographic order: group ``g`` of a table is the token at place ``g``."""
        if self.columns.user is None:
            raise SchemaError("The log has no user column, so rows have no groups.")
        return self.columns.users_of(dataset)

    def history(self, dataset: Dataset, rows: IntArray | None = None) -> HistoryLog:
        """Return the positives of a data set as a log to take histories from.

        Args:
            dataset: The data set.
            rows: Rows that may be part of a history; all when left out. Give the training rows when parts of a
                split overlap in time and held-out rows must not be seen as history either.
        """
        owners = {field.shares for field in self._histories()}
        if len(owners) != 1:
            raise ConfigError("The plan has no history field." if not owners else "Histories share different fields.")
        ids = self.codecs[str(owners.pop())].ids
        assert ids is not None
        users, times, items = self.columns.positives(dataset, rows)
        return HistoryLog.build(users, times, ids.encode(items))

    def to_saved(self) -> tuple[dict[str, Any], dict[str, dict[str, AnyArray]]]:
        """Return everything as documents and groups of arrays, for :func:`palate.saving.save_folder`."""
        fields: list[dict[str, Any]] = []
        arrays: dict[str, AnyArray] = {}
        for place, (name, codec) in enumerate(self.codecs.items()):
            document, learned = codec.to_saved()
            fields.append({"name": name, **document})
            arrays |= {f"field.{place}.{key}": value for key, value in learned.items()}
        for table, entity in self.entities.items():
            arrays |= {f"{table}.{key}": value for key, value in entity.to_arrays().items()}
        for place, vectors in enumerate(self.pretrained.values()):
            arrays |= {f"vectors.{place}.{key}": value for key, value in vectors.to_arrays().items()}
        document = {
            "plan": self.plan.model_dump(mode="json"),
            "columns": self.columns.model_dump(mode="json"),
            "fields": fields,
            "entities": {table: list(entity.columns) for table, entity in self.entities.items()},
            "vectors": list(self.pretrained),
            "fitted_on": self.fitted_on,
        }
        return {PART: document}, {PART: arrays}

    @classmethod
    def from_saved(cls, documents: Mapping[str, Any], arrays: Mapping[str, Mapping[str, AnyArray]]) -> Self:
        """Rebuild the encoder from what :meth:`to_saved` returned.

        Raises:
            SavedFolderError: If a part is missing or does not fit.
        """
        try:
            document, group = documents[PART], arrays[PART]
            codecs: dict[str, FieldCodec] = {}
            for place, saved in enumerate(document["fields"]):
                codecs[saved["name"]] = FieldCodec.from_saved(saved, _under(f"field.{place}.", group), codecs)
            entities: dict[Table, EntityTable] = {
                table: EntityTable.from_arrays(names, _under(f"{table}.", group))
                for table, names in document["entities"].items()
            }
            pretrained = {
                name: ItemVectors.from_arrays(_under(f"vectors.{place}.", group))
                for place, name in enumerate(document["vectors"])
            }
            plan, columns = FeaturePlan(**document["plan"]), RowColumns(**document["columns"])
            return cls(plan, columns, codecs, entities, pretrained, str(document["fitted_on"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise SavedFolderError(
                f"The saved features are not whole: {type(error).__name__} {error}.", remedy="Save the thing again."
            ) from None

    def _histories(self) -> list[FieldPlan]:
        return [field for field in self.plan.fields if field.derive == "history"]

    def _field_spec(self, field: FieldPlan, offsets: Mapping[str, int]) -> FieldSpec:
        codec = self.codecs[field.name]
        if field.kind == "vector":
            rows, dimensions = self.pretrained[field.name].matrix.shape
            return FieldSpec(name=field.name, kind="vector", size=rows, dimensions=dimensions)
        offset = offsets.get(field.shares or field.name, 0)
        return FieldSpec(
            name=field.name,
            kind=field.kind,
            size=codec.size,
            offset=offset,
            length=codec.length,
            shares=field.shares,
        )

    def _encode_field(self, codec: FieldCodec, frame: pl.DataFrame, history: HistoryLog | None) -> AnyArray:
        field = codec.plan
        if field.kind == "vector":
            return self.pretrained[field.name].rows(self.columns.series(frame, self.columns.item))
        if field.derive == "history":
            return self._encode_history(codec, frame, history)
        if field.table == "interactions":
            values = self.columns.values(frame, field, self.plan.utc_offset_hours)
            return codec.missing(len(frame)) if values is None else codec.encode(values)
        entity = self.entities[field.table]
        key = self.columns.item if field.table == "items" else self.columns.user
        encoded = entity.columns[field.name][entity.rows(self.columns.series(frame, key))]
        described = f"{field.table}.{field.source}"
        if described in frame.columns:
            values = frame.get_column(described)
            given = values.is_not_null().to_numpy()
            encoded[given] = codec.encode(values.filter(pl.Series(given)))
        return encoded

    def _encode_history(self, codec: FieldCodec, frame: pl.DataFrame, history: HistoryLog | None) -> AnyArray:
        if codec.plan.name in frame.columns:
            return codec.encode(frame.get_column(codec.plan.name))
        if history is None or self.columns.time not in frame.columns:
            return codec.missing(len(frame))
        users = self.columns.series(frame, self.columns.user)
        return history.before(users, self.columns.seconds(frame), length=codec.length)

    def _require(self, frame: pl.DataFrame, history: HistoryLog | None) -> None:
        needed = self.columns.needed(self.plan, with_history=history is not None)
        lost = [column for column in needed if column not in frame.columns]
        if lost:
            names = ", ".join(f'"{column}"' for column in lost)
            remedy = " ".join(dict.fromkeys(suggest(column, frame.columns) for column in lost))
            raise SchemaError(
                f"The rows have no column {names}.",
                remedy=f'{remedy} Pass missing="oov" to read missing columns as missing values.',
            )


def _side_by_side(columns: Sequence[AnyArray], rows: int, block: int = 8192) -> AnyArray:
    """Return int32 columns as a row-major matrix ``[N, F]``, filled block by block to stay inside the cache."""
    matrix = np.empty((rows, len(columns)), dtype=np.int32)
    for start in range(0, rows if columns else 0, block):
        np.stack([column[start : start + block] for column in columns], axis=1, out=matrix[start : start + block])
    return matrix


def _resolved(plan: FeaturePlan) -> FeaturePlan:
    """Return the plan with its defaults written into every field."""
    return plan.replace(
        fields=tuple(
            field.replace(
                column=field.source,
                min_count=field.min_count or plan.min_count,
                max_length=field.max_length or plan.max_length,
                hash_bits=field.hash_bits or plan.hash_bits,
            )
            for field in plan.fields
        )
    )


def _entity(table: Table, index: TokenIndex, dataset: Dataset, codecs: Mapping[str, FieldCodec]) -> EntityTable:
    frame = dataset.table(table)
    assert frame is not None
    own = {name: codec for name, codec in codecs.items() if codec.plan.table == table and codec.plan.kind != "vector"}
    return EntityTable.build(index, frame, own)


def _pretrained(plan: FeaturePlan, given: Mapping[str, ItemVectors]) -> dict[str, ItemVectors]:
    wanted = {field.name: field.source for field in plan.fields if field.kind == "vector"}
    lost = [source for source in wanted.values() if source not in given]
    extra = [source for source in given if source not in wanted.values()]
    if lost or extra:
        message = f'the plan asks for the vectors "{lost[0]}"' if lost else f'no field uses the vectors "{extra[0]}"'
        raise ConfigError(f"Vectors and plan do not fit: {message}.", remedy="Give vectors={NAME: ItemVectors(...)}.")
    return {name: given[source] for name, source in wanted.items()}


def _under(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
