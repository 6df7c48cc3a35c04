"""The plan: which columns become fields of a ranking model, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from palate.config import Config
from palate.data.features import FieldKind
from palate.data.schema import Column, Role, Schema, Table
from palate.data.time_features import TimePart
from palate.errors import ConfigError, suggest

__all__ = ["FeaturePlan", "FieldPlan"]

_FEATURE_ROLES = (Role.USER, Role.ITEM, Role.CATEGORICAL, Role.NUMERIC, Role.LIST)
_KIND_OF_ROLE: dict[Role, FieldKind] = {Role.NUMERIC: "numeric", Role.LIST: "sequence"}


class FieldPlan(Config):
    """One field: where its values come from and what becomes of them.

    Attributes:
        name: Name of the field.
        kind: What the model sees: ``categorical``, ``numeric``, ``sequence`` or ``vector``.
        table: Where the column stands. Columns of ``items`` and ``users`` are looked up by id.
        column: Name of the column; the name of the field when left out.
        derive: Instead of a column: a part of the row's time, or the ``history`` of the user.
        bucket: Turns a number into a category: ``criteo`` (the rule of the Criteo benchmarks, whose bucket 0 and
            missing values read OOV) or ``quantile`` (``num_buckets`` of about equal weight).
        num_buckets: How many quantile buckets.
        min_count: How often a token must occur in the training part; the plan's when left out.
        missing: The value that means "not known".
        separator: For lists in one text cell: what separates the entries.
        max_length: For sequences: how many entries are kept (the last ones); the plan's when left out.
        shares: Name of the field whose vocabulary and embeddings this field uses.
        hash_bits: Hash tokens into ``2 ** hash_bits`` ids instead of learning a vocabulary; the plan's when left
            out.
    """

    name: str = Field(min_length=1)
    kind: FieldKind = "categorical"
    table: Table = "interactions"
    column: str = ""
    derive: TimePart | Literal["history"] | None = None
    bucket: Literal["criteo", "quantile"] | None = None
    num_buckets: int = Field(32, ge=2)
    min_count: int | None = Field(None, ge=1)
    missing: str | None = None
    separator: str | None = None
    max_length: int | None = Field(None, ge=1)
    shares: str | None = None
    hash_bits: int | None = Field(None, ge=1, le=30)

    @property
    def source(self) -> str:
        """Name of the column it comes from."""
        return self.column or self.name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        contradictions = (
            (self.bucket is not None and self.kind != "categorical", "bucket makes a category", 'kind="categorical"'),
            (self.derive == "history" and self.kind != "sequence", "a history is a sequence", 'kind="sequence"'),
            (self.derive == "history" and self.shares is None, "a history shares the item field", 'shares="item"'),
            (
                self.derive is not None and self.table != "interactions",
                "what is derived comes from the row",
                'table="interactions"',
            ),
            (self.kind in ("numeric", "vector") and self.shares is not None, "only ids are shared", "shares=None"),
            (self.shares == self.name, "a field cannot share its own ids", "shares=None"),
        )
        for wrong, reason, right in contradictions:
            if wrong:
                raise ConfigError(f'The field "{self.name}" contradicts itself: {reason}.', remedy=f"Set {right}.")
        return self


class FeaturePlan(Config):
    """The fields of a ranking model in order, and what holds for all of them.

    Attributes:
        fields: The fields; the model sees them in this order.
        min_count: How often a token must occur in the training part to get an id. With 1 every token of the
            training part gets one, and OOV is first met in use; 2 and more train the OOV row on the rare tokens.
        max_length: How many entries of a sequence are kept.
        hash_bits: Hash all ids into ``2 ** hash_bits`` places per field instead of learning vocabularies.
        utc_offset_hours: Hours that the users' clock is ahead of UTC, for the parts of a time.

    Example:
        >>> FeaturePlan(fields=[FieldPlan(name="city"), FieldPlan(name="price", kind="numeric")]).names
        ('city', 'price')
    """

    fields: tuple[FieldPlan, ...] = Field(min_length=1)
    min_count: int = Field(1, ge=1)
    max_length: int = Field(10, ge=1)
    hash_bits: int | None = Field(None, ge=1, le=30)
    utc_offset_hours: float = Field(0.0, ge=-24, le=24)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields in order."""
        return tuple(field.name for field in self.fields)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise ConfigError(f'Two fields are called "{twice[0]}".', remedy="Give each field a name of its own.")
        owners = {field.name: field for field in self.fields if field.shares is None}
        for field in self.fields:
            owner = owners.get(field.shares) if field.shares is not None else None
            if field.shares is not None and (owner is None or owner.kind not in ("categorical", "sequence")):
                options = [name for name, f in owners.items() if f.kind in ("categorical", "sequence")]
                message = f'The field "{field.name}" shares the ids of "{field.shares}", which has none of its own.'
                raise ConfigError(message, remedy=suggest(field.shares, options))
        return self

    @classmethod
    def default_for(
        cls,
        schema: Schema,
        *,
        min_count: int = 1,
        history_length: int = 20,
        time_parts: Sequence[TimePart] = (),
        vectors: Iterable[str] = (),
        hash_bits: int | None = None,
    ) -> Self:
        """Return the plan that a careful person would start from.

        User, item and every categorical, numeric and list column of the three tables become fields, in the order
        log, users, items; then, where rows have a user, an item and a time, the items that the user took before.
        Labels, weights, texts, titles and columns to ignore never become fields.

        Args:
            schema: Roles of the columns.
            min_count: How often a token must occur in the training part.
            history_length: Length of the history field; 0 leaves it out.
            time_parts: ``hour``, ``weekday``, ``is_weekend``: for models that are always told the time in use.
            vectors: Names of pretrained item vectors that will be given to the encoder.
            hash_bits: Hash ids instead of learning vocabularies.

        Raises:
            ConfigError: If no column has a role that makes a feature.
        """
        columns = [(table, column) for table in _TABLES for column in _features(schema, table)]
        twice = Counter(column.name for _, column in columns)
        fields = [_planned(table, column, unique=twice[column.name] == 1) for table, column in columns]
        taken = {column.name for table in _TABLES for column in schema.columns(table)}
        has_time = schema.has("interactions", Role.TIME)
        if has_time:
            fields += [FieldPlan(name=_free(part, taken), derive=part) for part in time_parts]
        if has_time and history_length and all(schema.has("interactions", role) for role in (Role.USER, Role.ITEM)):
            owner = next(f.name for f, (_, c) in zip(fields, columns, strict=False) if c.role == Role.ITEM)
            name = _free("history", taken)
            fields.append(
                FieldPlan(name=name, kind="sequence", derive="history", shares=owner, max_length=history_length)
            )
        fields += [FieldPlan(name=_free(name, taken), column=name, kind="vector", table="items") for name in vectors]
        if not fields:
            raise ConfigError(
                "The schema has no column that can be a feature.",
                remedy="Give columns the role user, item, categorical, numeric or list.",
            )
        return cls(fields=tuple(fields), min_count=min_count, hash_bits=hash_bits)


_TABLES: tuple[Table, ...] = ("interactions", "users", "items")


def _features(schema: Schema, table: Table) -> list[Column]:
    """Return the feature columns of a table: in the log user and item first, elsewhere the keys are left out."""
    columns = schema.columns(table, *_FEATURE_ROLES)
    keys = [column for column in columns if column.role in (Role.USER, Role.ITEM)]
    others = [column for column in columns if column not in keys]
    return [*sorted(keys, key=lambda column: column.role != Role.USER), *others] if table == "interactions" else others


def _planned(table: Table, column: Column, *, unique: bool) -> FieldPlan:
    return FieldPlan(
        name=column.name if unique else f"{table}.{column.name}",
        column=column.name,
        kind=_KIND_OF_ROLE.get(column.role, "categorical"),
        table=table,
        missing=column.missing,
        separator=column.separator,
        max_length=column.max_length,
    )


def _free(name: str, taken: set[str]) -> str:
    """Return ``name``, or a longer one when a column is called so."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
