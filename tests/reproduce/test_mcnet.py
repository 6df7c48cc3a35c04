"""The reproduction of MCNet: a smoke run, its resumption, and claims read off made-up tables."""

from __future__ import annotations

import json

import pytest

from palate.reproduce import mcnet
from palate.reproduce.calibration_cells import CalibrationCell, calibrate_cell, run_calibration_cells
from palate.reproduce.mcnet_claims import claims_of
from palate.train.progress import SilentProgress


def small(row):
    return mcnet.Plan((row,), seeds=(0, 1), shrink=100)


def test_every_row_of_the_plan_has_a_distinct_cell_and_a_name_of_its_own():
    for plan in (mcnet.full_plan(), mcnet.smoke_plan()):
        names = [row.name for row in plan.rows]
        assert len(set(names)) == len(names)
        keys = [plan.cell(row, seed).key for row in plan.rows for seed in plan.seeds]
        assert len(set(keys)) >= len(keys) - 2 * len(plan.seeds)  # only equal settings share a cell


def test_a_smoke_run_of_some_rows_gives_claims_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    whole = mcnet.smoke_plan()
    monkeypatch.setattr(mcnet, "smoke_plan", lambda: mcnet.Plan(whole.rows, seeds=(0, 1), shrink=200))
    document = mcnet.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())
    assert document["system"] == "mcnet"
    assert len(document["table"]) == len(whole.rows)
    claims = {claim["name"]: claim for claim in document["claims"]}
    assert claims["strictly-monotone"]["holds"]
    assert all("why" in claim for claim in claims.values() if not claim["holds"])
    json.dumps(document, allow_nan=True)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    lost = next(iter(files))
    lost.unlink()
    again = mcnet.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert {path for path in kept if kept[path] != files[path]} == {lost}
    assert _without_time(again["table"]) == _without_time(document["table"])


def _without_time(table):
    return json.dumps([{key: value for key, value in line.items() if key != "seconds"} for line in table])


@pytest.mark.slow
def test_workers_do_not_change_numbers(tmp_path):
    cells = [CalibrationCell(method="platt", rows=500, test_rows=1000, seed=seed) for seed in (0, 1)]
    alone = run_calibration_cells(cells, tmp_path / "one", workers=1, progress=SilentProgress())
    both = run_calibration_cells(cells, tmp_path / "two", workers=2, progress=SilentProgress())
    for key, result in alone.items():
        assert {k: v for k, v in both[key].items() if k != "seconds"} == {
            k: v for k, v in result.items() if k != "seconds"
        }


def test_a_cell_measures_against_labels_and_truth():
    plain = calibrate_cell(CalibrationCell(method="none", rows=1000, test_rows=20_000))
    assert plain["new ties"] == plain["order changes"] == 0.0
    assert plain["AUC"] == plain["base AUC"]
    assert plain["KL to truth"] > 0.01
    thinned = calibrate_cell(
        CalibrationCell(method="prior-correction", settings={"rate": 0.1}, thinned=0.1, rows=1000, test_rows=20_000)
    )
    assert thinned["KL to truth"] == pytest.approx(0.0, abs=1e-9)
    steps = calibrate_cell(CalibrationCell(method="histogram", rows=1000, test_rows=20_000))
    assert steps["new ties"] > 0.9


def table(**changes):
    """A made-up table in which every claim holds, with some numbers changed."""
    plan = mcnet.full_plan()
    values = {}
    for row in plan.rows:
        aware = row.use_context
        values[row.name] = {
            "ECE": 0.005 if row.method in ("mcnet", "isotonic", "sir") else 0.01,
            "F-RCE": 0.03 if aware else 0.24,
            "log loss": 0.5 if aware else 0.55,
            "KL to truth": 0.0005 if "thinned" in row.name else 0.002 if row.method == "mcnet" else 0.004,
            "spread": 0.01,
            "AUC": 0.75,
            "base AUC": 0.75,
            "new ties": 0.0,
            "order changes": 0.0,
            "edge violation": 0.02,
        }
    values["MCNet-Field, context in offset only"]["KL to truth"] = 0.01
    values["MCNet-Field, alpha 0"]["edge violation"] = values["40k: MCNet-Field, alpha 0"]["edge violation"] = 0.1
    values["MCNet-Field, alpha 1"]["log loss"] = 0.52
    values["MCNet-Field, beta 0.3"]["spread"] = 0.005
    values["MCNet-Field, strict"]["log loss"] = 0.499
    for name, metrics in changes.items():
        values[name].update(metrics)
    noise = [0.0, 1e-6, -1e-6, 2e-6, -2e-6]
    return [
        {
            "row": name,
            **{m: {"mean": v, "per_seed": [v * (1 + n * i) for i, n in enumerate(noise)]} for m, v in metrics.items()},
        }
        for name, metrics in values.items()
    ]


def test_claims_hold_on_a_table_made_for_them():
    claims = claims_of(table())
    assert [claim["name"] for claim in claims if not claim["holds"]] == []
    assert len({claim["name"] for claim in claims}) == len(claims)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"MCNet-None": {"ECE": 0.009}}, {"expressive-over-platt", "expressive-as-isotonic"}),
        ({"MCNet-None": {"AUC": 0.7}}, {"auc-of-the-base"}),
        ({"MCNet-None, strict": {"new ties": 0.1}}, {"strictly-monotone"}),
        ({"MCNet-Field": {"F-RCE": 0.1}}, {"context-lowers-field-error"}),
        ({"platt-per-field": {"KL to truth": 0.001}}, {"network-over-platt-per-field"}),
        ({"MCNet-Field, alpha 0": {"edge violation": 0.021}}, {"order-term-lowers-violation-100000"}),
        ({"MCNet-Field, beta 0.3": {"spread": 0.02}}, {"balance-term-lowers-spread"}),
        ({"MCNet-Field, beta 0.3": {"log loss": 0.51}}, {"balance-term-keeps-log-loss"}),
        ({"thinned: MCNet-None": {"KL to truth": 0.01}}, {"undoes-down-sampling"}),
    ],
)
def test_a_claim_that_fails_says_why(changes, broken):
    claims = {claim["name"]: claim for claim in claims_of(table(**changes))}
    assert {name for name, claim in claims.items() if not claim["holds"]} == broken
    assert all(claims[name]["why"] for name in broken)
