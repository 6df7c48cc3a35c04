"""A saved data set against hostile hands: it opens as it was, or says what is wrong."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palate.data.dataset import Dataset
from palate.data.folder import describe
from palate.data.schema import Column, LabelRule, Role, Schema
from palate.errors import PalateError


@pytest.fixture(scope="module")
def saved() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        log = pl.DataFrame({"user": ["a", "b"] * 50, "item": range(100), "rating": [1.0, 5.0] * 50})
        items = pl.DataFrame({"item": range(100), "tags": [["x"], None] * 50})
        data = Dataset.from_tables(log, items=items, label="rating >= 4", lists="tags", facts={"licence": "CC0"})
        yield data.save(Path(folder) / "data")


@pytest.mark.parametrize("part", ["dataset.toml", "interactions.parquet", "items.parquet"])
def test_no_damage_breaks_the_opening(part: str, saved: Path) -> None:
    whole = (saved / part).read_bytes()

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.integers(0, len(whole)), st.binary(max_size=6), st.booleans())
    @example(610 % len(whole), b"\x80", False)  # a name in the footer that is no text
    def check(place: int, piece: bytes, cut: bool) -> None:
        with tempfile.TemporaryDirectory() as other:
            folder = Path(shutil.copytree(saved, Path(other) / "data"))
            (folder / part).write_bytes(whole[:place] + piece + (b"" if cut else whole[place + len(piece) :]))
            try:
                opened = Dataset.open(folder)
                opened.interactions.height  # noqa: B018 - the rows must be there
            except PalateError:
                return
            assert len(opened.interactions.columns) == 3

    check()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
FACTS = st.recursive(
    st.one_of(NAMES, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, database=None)
@given(NAMES, NAMES, st.dictionaries(NAMES, FACTS, max_size=3), st.floats(allow_nan=False, allow_infinity=False))
def test_the_description_is_toml_that_says_the_same(
    name: str, column: str, facts: dict[str, object], threshold: float
) -> None:
    rule = LabelRule(column=column, operator=">=", threshold=threshold)
    schema = Schema(interactions=(Column(name=column, role=Role.LABEL, separator="\x7f"),), label=rule)
    text = describe(schema, name=name, facts=facts, rows={"interactions": 3}, digest="0")
    document = tomllib.loads(text)
    assert document["name"] == name
    assert document.get("facts", {}) == facts
    assert document["interactions"] == [{"name": column, "role": "label", "separator": "\x7f"}]
    assert document["label"] == {"column": column, "operator": ">=", "threshold": threshold}
