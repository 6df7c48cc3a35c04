"""One fitted field: from the values of a column to ids, numbers or padded rows of ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from palate.data.buckets import QuantileBuckets, Standardiser, criteo_bucket
from palate.data.feature_plan import FieldPlan
from palate.data.hashed_ids import HashedIds
from palate.data.padding import pad_left
from palate.data.tokens import as_text
from palate.data.vocabulary import Vocabulary
from palate.errors import SchemaError

__all__ = ["FieldCodec"]

AnyArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class FieldCodec:
    """What the training part taught about one field.

    Attributes:
        plan: The field's plan, with nothing left to a default.
        ids: Its vocabulary (or hashing); another field's where it shares one; ``None`` for numbers.
        quantiles: Edges of its buckets, where it has any.
        scale: Mean and deviation of a number.

    Shapes:
        encode: categorical int32 ``[N]``, numeric float32 ``[N]``, sequence int32 ``[N, max_length]``; ids start at 0
            (PAD) in every field, the place in the fused table is added by the encoder.
    """

    plan: FieldPlan
    ids: Vocabulary | HashedIds | None = None
    quantiles: QuantileBuckets | None = None
    scale: Standardiser | None = None

    @classmethod
    def learn(cls, plan: FieldPlan, counts: pl.DataFrame) -> Self:
        """Learn the field from the different values of the training part.

        Args:
            plan: The field's plan.
            counts: ``value`` and ``count``; for a sequence the values are its entries.
        """
        values, weights = counts.get_column("value").alias(plan.source), counts.get_column("count")
        if plan.kind == "numeric":
            return cls(plan, scale=Standardiser.fit(values, weights))
        quantiles = None
        if plan.bucket == "quantile":
            quantiles = QuantileBuckets.fit(values, weights, num_buckets=plan.num_buckets)
        missing = "0" if plan.bucket == "criteo" else plan.missing
        if plan.hash_bits is not None:
            return cls(plan, HashedIds(plan.name, plan.hash_bits, missing), quantiles)
        tokens = as_text(_category(plan, quantiles, values)).cast(pl.String)
        counted = pl.DataFrame({"token": tokens, "count": weights}).drop_nulls("token")
        counted = counted.group_by("token").agg(pl.col("count").sum())
        min_count = 1 if plan.min_count is None else plan.min_count
        return cls(plan, Vocabulary.from_counts(counted, min_count=min_count, missing=missing), quantiles)

    @property
    def size(self) -> int:
        """Number of ids, PAD and OOV included; 0 for numbers."""
        return 0 if self.ids is None else self.ids.size

    @property
    def length(self) -> int:
        """Padded length of a sequence, 0 for other kinds."""
        return (self.plan.max_length or 0) if self.plan.kind == "sequence" else 0

    def encode(self, values: pl.Series) -> AnyArray:
        """Return what the model sees of ``values``; unknown and missing values read OOV, missing numbers the mean.

        Raises:
            SchemaError: If the values are of a type that the field cannot read.
        """
        if self.scale is not None:
            return self.scale.encode(values)
        assert self.ids is not None
        if self.plan.kind == "sequence":
            return self._encode_lists(values)
        return self.ids.encode(_category(self.plan, self.quantiles, values))

    def missing(self, rows: int) -> AnyArray:
        """Return what the model sees of ``rows`` missing values."""
        if self.plan.kind == "sequence":
            return np.zeros((rows, self.length), dtype=np.int32)
        if self.ids is None:
            return np.zeros(rows, dtype=np.float32)
        return np.full(rows, self.ids.oov, dtype=np.int32)

    def _encode_lists(self, values: pl.Series) -> AnyArray:
        assert self.ids is not None
        lists = split_text(values, self.plan.separator)
        if lists.dtype == pl.Null:
            return self.missing(len(lists))
        if not isinstance(lists.dtype, pl.List | pl.Array):
            raise SchemaError(
                f'The column "{values.name}" holds {values.dtype}; the sequence field "{self.plan.name}" needs lists.',
                remedy='Give lists, or say what separates the entries of a text, as in lists={"genres": "|"}.',
            )
        kept = lists.cast(pl.List(lists.dtype.inner)).list.tail(self.length)
        stop = np.cumsum(kept.list.len().fill_null(0).cast(pl.Int64).to_numpy())
        entries = kept.drop_nulls().list.explode(empty_as_null=False) if len(kept) else pl.Series(dtype=pl.String)
        flat = self.ids.encode(entries)
        return pad_left(flat, np.concatenate([[0], stop[:-1]]).astype(np.int64)[: len(stop)], stop, self.length)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, AnyArray]]:
        """Return what was learned as a JSON document and arrays; shared ids stay with their owner."""
        document: dict[str, Any] = {"plan": self.plan.model_dump(mode="json")}
        arrays: dict[str, AnyArray] = {}
        if self.scale is not None:
            document |= {"mean": self.scale.mean, "deviation": self.scale.deviation}
        if self.quantiles is not None:
            arrays["edges"] = self.quantiles.edges
        if isinstance(self.ids, Vocabulary) and self.plan.shares is None:
            arrays |= self.ids.to_arrays()
        return document, arrays

    @classmethod
    def from_saved(
        cls, document: Mapping[str, Any], arrays: Mapping[str, AnyArray], shared: Mapping[str, FieldCodec]
    ) -> Self:
        """Rebuild the field from what :meth:`to_saved` returned; ``shared`` holds the fields whose ids it may use."""
        plan = FieldPlan(**document["plan"])
        if plan.kind == "vector":
            return cls(plan)
        if plan.kind == "numeric":
            return cls(plan, scale=Standardiser(float(document["mean"]), float(document["deviation"])))
        quantiles = QuantileBuckets(arrays["edges"]) if "edges" in arrays else None
        if plan.shares is not None:
            return cls(plan, shared[plan.shares].ids, quantiles)
        missing = "0" if plan.bucket == "criteo" else plan.missing
        if plan.hash_bits is not None:
            return cls(plan, HashedIds(plan.name, plan.hash_bits, missing), quantiles)
        return cls(plan, Vocabulary.from_arrays(arrays["utf8"], arrays["offsets"], missing=missing), quantiles)


def split_text(values: pl.Series, separator: str | None) -> pl.Series:
    """Return text cells as lists; an empty cell is missing, and lists stay as they are."""
    if separator and values.dtype == pl.String:
        return values.replace("", None).str.split(separator)
    return values


def _category(plan: FieldPlan, quantiles: QuantileBuckets | None, values: pl.Series) -> pl.Series:
    if plan.bucket == "criteo":
        return criteo_bucket(values)
    return values if quantiles is None else quantiles.encode(values)
