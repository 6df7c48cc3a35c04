"""The plan: what becomes a field when nobody says, and which plans contradict themselves."""

from __future__ import annotations

from typing import Any

import pytest

from palate.data.feature_plan import FeaturePlan, FieldPlan
from palate.data.schema import Column, Role, Schema
from palate.errors import ConfigError


def column(name: str, role: Role, **settings: Any) -> Column:
    return Column(name=name, role=role, **settings)


SCHEMA = Schema(
    interactions=(
        column("when", Role.TIME),
        column("device", Role.CATEGORICAL, missing="?"),
        column("itemId", Role.ITEM),
        column("userId", Role.USER),
        column("rating", Role.LABEL),
        column("price", Role.NUMERIC),
        column("importance", Role.WEIGHT),
        column("history", Role.IGNORE),
        column("part", Role.SPLIT),
    ),
    items=(
        column("movieId", Role.ITEM),
        column("name", Role.TITLE),
        column("plot", Role.TEXT),
        column("genres", Role.LIST, separator="|", max_length=3),
        column("price", Role.NUMERIC),
    ),
    users=(column("userId", Role.USER), column("city", Role.CATEGORICAL)),
)


def test_the_default_plan_takes_features_and_nothing_else() -> None:
    plan = FeaturePlan.default_for(SCHEMA, time_parts=("hour",), history_length=7, vectors=["text"])
    assert [(f.name, f.kind, f.table, f.source) for f in plan.fields] == [
        ("userId", "categorical", "interactions", "userId"),
        ("itemId", "categorical", "interactions", "itemId"),
        ("device", "categorical", "interactions", "device"),
        ("interactions.price", "numeric", "interactions", "price"),
        ("city", "categorical", "users", "city"),
        ("genres", "sequence", "items", "genres"),
        ("items.price", "numeric", "items", "price"),
        ("hour", "categorical", "interactions", "hour"),
        ("history_", "sequence", "interactions", "history_"),
        ("text", "vector", "items", "text"),
    ]
    by_name = dict(zip(plan.names, plan.fields, strict=True))
    assert by_name["device"].missing == "?"
    assert (by_name["genres"].separator, by_name["genres"].max_length) == ("|", 3)
    assert (by_name["history_"].shares, by_name["history_"].max_length) == ("itemId", 7)


def test_no_history_without_times_or_when_not_wanted() -> None:
    timeless = SCHEMA.replace(interactions=tuple(c for c in SCHEMA.interactions if c.role != Role.TIME))
    for plan in (FeaturePlan.default_for(timeless), FeaturePlan.default_for(SCHEMA, history_length=0)):
        assert all(field.derive is None for field in plan.fields)


def test_a_schema_without_features_is_refused() -> None:
    with pytest.raises(ConfigError, match="no column that can be a feature"):
        FeaturePlan.default_for(Schema(interactions=(column("x", Role.IGNORE),)))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": "numeric", "bucket": "criteo"}, "bucket makes a category"),
        ({"derive": "history", "shares": "item"}, "a history is a sequence"),
        ({"derive": "history", "kind": "sequence"}, "shares the item field"),
        ({"derive": "hour", "table": "items"}, "comes from the row"),
        ({"kind": "numeric", "shares": "item"}, "only ids are shared"),
        ({"shares": "x"}, "cannot share its own ids"),
    ],
)
def test_a_field_that_contradicts_itself_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        FieldPlan(name="x", **settings)


def test_names_are_unique_and_shares_exist() -> None:
    with pytest.raises(ConfigError, match='Two fields are called "a"'):
        FeaturePlan(fields=[FieldPlan(name="a"), FieldPlan(name="a", table="items")])
    with pytest.raises(ConfigError, match='shares the ids of "itm".*Did you mean "item"'):
        FeaturePlan(fields=[FieldPlan(name="item"), FieldPlan(name="h", kind="sequence", shares="itm")])
    with pytest.raises(ConfigError, match="which has none of its own"):
        FeaturePlan(fields=[FieldPlan(name="n", kind="numeric"), FieldPlan(name="h", kind="sequence", shares="n")])


def test_a_misspelt_setting_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match='Did you mean "max_length"'):
        FieldPlan(name="x", max_lenght=3)
