"""The reproduction of MCNet: a smoke run, its resumption, and claims read off made-up tables."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from palate.reproduce import mcnet
from palate.reproduce.calibration_cells import CalibrationCell, calibrate_cell, run_calibration_cells, run_scores
from palate.reproduce.calibration_scores import RealScores, real_rows
from palate.reproduce.claim_forms import above, means
from palate.reproduce.mcnet_claims import claims_of
from palate.reproduce.mcnet_plan import AWARE, FREE, REAL, Plan, full_plan, smoke_plan
from palate.train.progress import SilentProgress

QUIET = {"workers": 1, "progress": SilentProgress()}


def test_every_row_of_the_plan_has_a_name_of_its_own_and_a_setting_to_take():
    for plan in (full_plan(), smoke_plan()):
        names = [row.name for row in plan.rows]
        assert len(set(names)) == len(names)
        choosers = {row.name: row for row in plan.choosers()}
        for row in plan.rows:
            if row.like:
                assert choosers[row.like].method == row.method
                assert choosers[row.like].use_context == row.use_context
        cells = [plan.cell(row, seed) for row in plan.rows for seed in plan.seeds_of(row)]
        # only lines with equal settings share a cell, such as K 1 and, once chosen, the default
        assert len({cell.key for cell in cells}) >= 0.95 * len(cells)


def test_every_method_has_the_same_budget_and_chooses_without_the_test_rows():
    plan = full_plan()
    assert {len(row.grid) for row in plan.choosers()} == {3}
    assert all(cell.choosing for row in plan.choosers() for cell in plan.trials(row))
    assert {row.method for row in plan.rows if not row.grid} == {
        *("none", "isotonic", "platt", "temperature", "beta", "gauss", "gamma", "prior-correction")
    }


def test_a_smoke_run_gives_claims_and_goes_on_where_it_stopped(tmp_path):
    whole = smoke_plan()
    lines = (replace(row, seeds=2) for row in whole.rows if row.table != "promotions")
    plan = Plan(tuple(lines), (0, 1), shrink=400)
    document = mcnet.run_plan(plan, tmp_path, workers=1, progress=SilentProgress())
    assert document["system"] == "mcnet"
    assert len(document["table"]) == len(plan.rows)
    claims = {claim["name"]: claim for claim in document["claims"]}
    assert claims["strictly-monotone"]["holds"]
    assert all("why" in claim for claim in claims.values() if not claim["holds"])
    assert set(document["settings"]["methods"]["umc"]) > {"method", "learning_rate"}
    json.dumps(document, allow_nan=True)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    lost = next(iter(files))
    lost.unlink()
    again = mcnet.run_plan(plan, tmp_path, workers=1, progress=SilentProgress())
    now = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert {path for path in now if now[path] != files[path]} == {lost}
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


def test_real_scores_are_made_once_from_networks_that_never_saw_the_rows(tmp_path):
    cell = CalibrationCell(method="platt", table="promotions", shrink=100)
    assert run_scores([cell], tmp_path, workers=1, progress=SilentProgress()) > 0
    folder = RealScores(table="promotions", shrink=100).folder(tmp_path)
    made = folder.stat().st_mtime_ns
    run_scores([cell, cell], tmp_path, workers=1, progress=SilentProgress())
    assert folder.stat().st_mtime_ns == made
    rows, test = real_rows(RealScores(table="promotions", shrink=100), tmp_path)
    assert (len(rows), len(test)) == (358, 453)  # hundredths of weeks 43 to 47, and 48 to 53
    assert list(rows.fields) == ["product_category", "store_id", "income"]
    assert rows.context.shape == (358, 3)
    assert set(map(type, rows.context.ravel())) <= {str, type(None)}
    assert np.isin(rows.labels, (0.0, 1.0)).all()
    found = calibrate_cell(cell, tmp_path)
    assert sum(found["user rows"]) == 453
    assert sum(found["user log loss"]) / 453 == pytest.approx(found["log loss"])
    assert "KL to truth" not in found
    chosen = calibrate_cell(cell.replace(choosing=True), tmp_path)
    assert set(chosen) == {"log loss", "seconds"}


def test_rows_for_choosing_are_neither_those_of_the_fit_nor_those_of_the_judge(tmp_path):
    from palate.reproduce import calibration_cells

    run_scores([CalibrationCell(method="none", table="movielens", shrink=50)], tmp_path, **QUIET)
    cell = CalibrationCell(method="none", table="movielens", shrink=50, choosing=True)
    fit, judged = calibration_cells._rows(cell, tmp_path)
    whole, test = calibration_cells._rows(cell.replace(choosing=False), tmp_path)
    assert len(fit) + len(judged) == len(whole)
    assert np.sort(np.concatenate([fit.scores, judged.scores])) == pytest.approx(np.sort(whole.scores))
    assert len(test) != len(judged)
    planted = CalibrationCell(method="none", rows=1000, test_rows=1000)
    parts = [calibration_cells._rows(planted.replace(choosing=c), None) for c in (True, False)]
    scores = [parts[0][0].scores, parts[0][1].scores, parts[1][1].scores]
    assert (scores[0] == parts[1][0].scores).all()
    assert len(np.unique(np.concatenate(scores))) == 3000


def table(**changes):
    """A made-up table in which every claim holds, with some numbers changed."""
    plan = full_plan()
    values = {}
    for row in plan.rows:
        aware = row.use_context
        values[row.name] = {
            "ECE": 0.005 if row.method in ("mcnet", "isotonic", "sir") else 0.01,
            "F-RCE": 0.03 if aware else 0.24,
            "MF-RCE": 0.03 if aware else 0.24,
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
    values["promotions: none"]["ECE"] = values["movielens: none"]["ECE"] = 0.02
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


def compared(gap=0.001):
    return [
        {"table": name, "method": m, "log loss above MCNet": gap, "interval": [gap / 2, 2 * gap], "users": 400}
        for name in REAL
        for m in (*FREE, *AWARE)
    ]


def test_claims_hold_on_a_table_made_for_them():
    claims = claims_of(table(), compared())
    assert [claim["name"] for claim in claims if not claim["holds"]] == []
    assert len({claim["name"] for claim in claims}) == len(claims)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"MCNet-None": {"ECE": 0.009}}, {"expressive-over-platt", "expressive-as-isotonic"}),
        ({"MCNet-None": {"AUC": 0.7}}, {"auc-of-the-base"}),
        ({"MCNet-None, strict": {"new ties": 0.1}}, {"strictly-monotone"}),
        ({"MCNet-Field": {"F-RCE": 0.1}}, {"context-lowers-field-error"}),
        ({"platt-per-field": {"KL to truth": 0.001}}, {"network-over-platt-per-field", "strict-over-platt-per-field"}),
        ({"fields: MCNet-Field": {"MF-RCE": 0.2}}, {"several-fields-at-once"}),
        ({"promotions: MCNet": {"MF-RCE": 0.3}}, {"promotions-lowers-field-error"}),
        ({"movielens: none": {"ECE": 0.001}}, {"movielens-lowers-calibration-error"}),
        ({"MCNet-Field, alpha 0": {"edge violation": 0.021}}, {"order-term-lowers-violation-100000"}),
        ({"MCNet-Field, beta 0.3": {"spread": 0.02}}, {"balance-term-lowers-spread"}),
        ({"MCNet-Field, beta 0.3": {"log loss": 0.51}}, {"balance-term-keeps-log-loss"}),
        ({"thinned: MCNet-None": {"KL to truth": 0.01}}, {"undoes-down-sampling"}),
    ],
)
def test_a_claim_that_fails_says_why(changes, broken):
    claims = {claim["name"]: claim for claim in claims_of(table(**changes), compared())}
    assert {name for name, claim in claims.items() if not claim["holds"]} == broken
    assert all(claims[name]["why"] for name in broken)


def test_a_tie_on_real_rows_is_called_one():
    claims = {claim["name"]: claim for claim in claims_of(table(), compared(gap=-1e-4))}
    broken = {name for name, claim in claims.items() if not claim["holds"]}
    assert {name.partition("-over-")[2] for name in broken} == {"context-free", "context-aware", "platt-per-field"}
    assert all("MCNet is worse" in claims[name]["why"] or "tie" in claims[name]["why"] for name in broken)


def test_rows_of_fewer_seeds_are_compared_on_the_seeds_that_both_have():
    made = {"a": {"x": {"per_seed": [1.0, 2.0, 9.0]}}, "b": {"x": {"per_seed": [0.0, 1.0]}}}
    assert means(made, ("a", "b"), "x") == (1.5, 0.5)
    assert above("name", "a over b", made, ("a", "b"), "x")["value"] == pytest.approx(1.0)
