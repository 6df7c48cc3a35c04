"""The serving table: equal to the network, equal in every form, and safe to read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from palate.calibrate.mcnet import MCNet, MCNetConfig
from palate.calibrate.tables import CalibrationTable, tabulate
from palate.errors import DataError, NotFittedError, SavedFolderError
from palate.reproduce.planted_calibration import PlantedConfig, PlantedWorld

TINY = MCNetConfig.sized("tiny", bins=8, epochs=3)


@pytest.fixture(scope="module")
def rows():
    return PlantedWorld(PlantedConfig(values=6, concentration=5.0, seed=1)).draw(8000, 1)


VARIANTS = {
    "none": ({}, 0),
    "field": ({}, 1),
    "two fields": ({}, 2),
    "strict": ({"strict": True}, 1),
    "one bin": ({"bins": 1}, 1),
    "prob axis": ({"axis": "prob"}, 1),
    "prob axis strict": ({"axis": "prob", "strict": True}, 0),
}


def context_of(rows, fields):
    return None if not fields else np.column_stack([rows.context, rows.context % 2])[:, :fields]


@pytest.fixture(scope="module")
def fitted(rows):
    made = {}
    for name, (settings, fields) in VARIANTS.items():
        made[name] = MCNet(TINY.replace(**settings)).fit(rows.scores, rows.labels, context_of(rows, fields))
    return made


def probe(rows, name):
    rng = np.random.default_rng(9)
    chosen = rng.integers(0, len(rows.scores), 4000)
    scores = np.where(rng.random(4000) < 0.5, rows.scores[chosen], rng.random(4000))
    context = context_of(rows, VARIANTS[name][1])
    return scores, None if context is None else context[chosen]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_is_the_network_to_one_in_ten_thousand(name, rows, fitted):
    table = tabulate(fitted[name])
    scores, context = probe(rows, name)
    assert np.abs(table.predict(scores, context) - fitted[name].predict(scores, context)).max() < 1e-4
    assert table.max_error < 1e-4
    ends = np.array([0.0, 1e-9, 1.0])
    place = None if context is None else context[:3]
    assert np.abs(table.predict(ends, place) - fitted[name].predict(ends, place)).max() < 1e-4


def test_small_probabilities_keep_their_relative_precision(rows, fitted):
    scores = np.geomspace(1e-6, 1e-3, 200)
    context = np.zeros(200, dtype=int)
    expected = fitted["strict"].predict(scores, context)
    assert tabulate(fitted["strict"]).predict(scores, context) == pytest.approx(expected, rel=1e-3)


def test_knots_rise_in_every_curve_and_cell(fitted):
    for name in ["field", "strict", "one bin"]:
        assert (np.diff(tabulate(fitted[name]).values, axis=2) > 0).all()


def test_fewer_knots_than_the_tolerance_needs_are_doubled(fitted):
    coarse, fine = tabulate(fitted["one bin"], points=2, tolerance=1.0), tabulate(fitted["one bin"], points=2)
    assert coarse.values.shape[2] == 2
    assert fine.values.shape[2] > 2
    assert fine.max_error < 1e-4 <= coarse.max_error


@pytest.mark.parametrize("name", VARIANTS)
def test_json_and_folder_bring_back_the_same_bits(name, rows, fitted, tmp_path):
    table = tabulate(fitted[name])
    scores, context = probe(rows, name)
    expected = table.predict(scores, context).tobytes()
    table.save_json(tmp_path / "table.json")
    document = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert CalibrationTable.from_document(document).predict(scores, context).tobytes() == expected
    table.save(tmp_path / "table")
    assert CalibrationTable.load(tmp_path / "table").predict(scores, context).tobytes() == expected


def test_the_recipe_in_the_documentation_reads_the_json(rows, fitted):
    """Ten lines without Palate, as a service in another language would write them."""
    table = json.loads(json.dumps(tabulate(fitted["strict"]).to_document()))
    tokens = table["context"]["fields"][0]
    scores, context = probe(rows, "strict")
    expected = fitted["strict"].predict(scores[:200], context[:200])
    for s, token, right in zip(scores[:200], context[:200, 0], expected, strict=True):
        curve = tokens.index(int(token)) + 1 if int(token) in tokens else 0
        s = min(max(float(s), 1e-7), 1 - 1e-7)
        u = np.log(s / (1 - s))
        cell = sum(edge <= u for edge in table["edges"])
        knots = table["values"][curve][cell]
        x = min(max((u - table["left"][cell]) * table["scale"][cell], 0), len(knots) - 1)
        i = min(int(x), len(knots) - 2)
        z = knots[i] + (x - i) * (knots[i + 1] - knots[i])
        assert 1 / (1 + np.exp(-z)) == pytest.approx(right, abs=1e-4)


def test_bad_input_is_refused(rows, fitted):
    table = tabulate(fitted["field"])
    with pytest.raises(DataError, match="is nan"):
        table.predict([0.2, np.nan], [1, 1])
    with pytest.raises(DataError, match="fitted with 1"):
        table.predict([0.2])
    with pytest.raises(NotFittedError):
        tabulate(MCNet(TINY))
    assert table.predict([], []).shape == (0,)
    assert np.isfinite(table.predict([0.2], [999])).all()


def test_a_table_that_would_not_fit_into_memory_is_refused(rows):
    context = np.random.default_rng(0).integers(0, 40, (8000, 5))
    fitted = MCNet(TINY.replace(epochs=1, min_count=1)).fit(rows.scores, rows.labels, context)
    with pytest.raises(DataError, match="combinations of context values"):
        tabulate(fitted)


def test_an_altered_table_is_refused(fitted):
    good = tabulate(fitted["field"]).to_document()
    changes = [
        {"kind": "something else"},
        {"format": 99},
        {"values": [[[0.0, 1.0]]]},
        {"edges": good["edges"][::-1]},
        {"edges": good["edges"][1:]},
        {"scale": [float("nan")] * len(good["scale"])},
        {"left": "abc"},
        {"context": {"fields": [], "counts": []}},
    ]
    for change in changes:
        with pytest.raises(SavedFolderError):
            CalibrationTable.from_document({**good, **change})
    with pytest.raises(SavedFolderError):
        CalibrationTable.from_document({key: value for key, value in good.items() if key != "left"})
