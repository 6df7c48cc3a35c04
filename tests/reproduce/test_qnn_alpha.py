from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from palate.reproduce import run, systems
from palate.reproduce.ctr_cells import CellStore
from palate.reproduce.qnn_alpha import Plan, full_plan, run_plan, smoke_plan
from palate.reproduce.qnn_alpha_claims import claims_of
from palate.train.progress import SilentProgress

NAMES = [
    "post-activation-hurts",
    "self-ensemble-loss-helps",
    "quadratic-beats-dnn-beats-fm",
    "mid-activation-helps",
    "qnn-alpha-is-best",
    "post-activation-hurts-most-formats",
    "promotions-qnn-alpha-is-best",
    "promotions-mid-activation-helps",
    "promotions-self-ensemble-loss-helps",
    "promotions-beats-best-baseline",
]


def line(name: str, *scores: float) -> dict[str, Any]:
    return {"row": name, "test AUC": {"mean": sum(scores) / len(scores), "interval": None, "per_seed": list(scores)}}


def table_of(**changes: tuple[float, ...]) -> list[dict[str, Any]]:
    scores: dict[str, tuple[float, ...]] = {
        "planted: LR": (0.70, 0.71),
        "planted: FM": (0.73, 0.74),
        "planted: DNN of equal width": (0.75, 0.76),
        "planted: DNN 400 x 3": (0.755, 0.765),
        "planted: T9": (0.76, 0.77),
        "planted: T9, ReLU after": (0.755, 0.764),
        "planted: T19": (0.758, 0.767),
        "planted: QNN-alpha, cross-entropy": (0.758, 0.766),
        "planted: QNN-alpha, self-ensemble": (0.759, 0.7671),
        "promotions: LR": (0.70, 0.701),
        "promotions: DCNv2": (0.79, 0.7901),
        "promotions: T9": (0.791, 0.7912),
        "promotions: T19": (0.794, 0.7943),
        "promotions: QNN-alpha, cross-entropy": (0.7945, 0.7946),
        "promotions: QNN-alpha, self-ensemble": (0.796, 0.7961),
        "sweep: T9": (0.76,),
        "sweep: T9, ReLU after": (0.75,),
        "sweep: T12": (0.74,),
        "sweep: T12, ReLU after": (0.75,),
        "sweep: T19": (0.76,),
        "sweep: T19, ReLU after": (0.75,),
    }
    return [line(name, *values) for name, values in {**scores, **changes}.items()]


def test_claims_are_read_off_the_table() -> None:
    claims = {claim["name"]: claim for claim in claims_of(table_of())}
    assert list(claims) == NAMES
    assert claims["post-activation-hurts"]["value"] == pytest.approx(0.0055)
    assert claims["post-activation-hurts"]["holds"]
    assert claims["quadratic-beats-dnn-beats-fm"]["value"] == pytest.approx(0.01)
    assert claims["quadratic-beats-dnn-beats-fm"]["holds"]
    assert claims["post-activation-hurts-most-formats"]["value"] == 2
    assert claims["post-activation-hurts-most-formats"]["holds"]
    assert not claims["mid-activation-helps"]["holds"]
    assert "inferred" in claims["mid-activation-helps"]["why"]
    assert not claims["qnn-alpha-is-best"]["holds"]
    assert "(T9)" in claims["qnn-alpha-is-best"]["statement"]
    assert claims["promotions-qnn-alpha-is-best"]["holds"]
    assert claims["promotions-beats-best-baseline"]["value"] == pytest.approx(0.006)
    assert "(DCNv2)" in claims["promotions-beats-best-baseline"]["statement"]
    assert claims["promotions-self-ensemble-loss-helps"]["interval"] == pytest.approx([0.0015, 0.0015])


def test_an_interval_that_holds_zero_is_no_reproduction() -> None:
    claims = {claim["name"]: claim for claim in claims_of(table_of(**{"promotions: T9": (0.7900, 0.7942)}))}
    claim = claims["promotions-mid-activation-helps"]
    assert claim["value"] > 0
    assert claim["interval"][0] < 0
    assert not claim["holds"]
    assert "2 of 2 seeds" in claim["why"]


def test_every_claim_can_fail() -> None:
    worse = dict.fromkeys(("planted: T9", "promotions: QNN-alpha, self-ensemble", "promotions: T19"), (0.5, 0.6))
    worse |= {"planted: QNN-alpha, self-ensemble": (0.5, 0.6), "planted: DNN of equal width": (0.1, 0.1)}
    worse |= {"sweep: T9": (0.1,), "sweep: T19": (0.1,)}
    claims = claims_of(table_of(**worse))
    assert not [claim["name"] for claim in claims if claim["holds"]]
    assert all(claim["why"] for claim in claims)


def test_full_plan_gives_every_model_the_same_budget_and_width() -> None:
    plan = full_plan()
    assert plan.seeds == (0, 1, 2, 3, 4)
    assert [row.name for row in plan.promotions] == [
        "QNN-alpha, self-ensemble",
        "QNN-alpha, cross-entropy",
        "FinalMLP",
        "DCNv2",
        "DeepFM",
        "DNN 400 x 3",
        "T19",
        "T9",
        "FM",
        "LR",
    ]
    for rows, size in ((plan.planted, 8), (plan.promotions, 16), (plan.sweep, 8)):
        assert {row.settings.get("embedding_size", size) for row in rows} <= {size, 16}
        for row in rows:
            if row.model.startswith("qnn"):
                assert row.settings["embedding_size"] == size
                assert row.settings["num_layers"] == 2
                assert row.settings["batch_norm"] in ("inside", True)
    assert len(plan.sweep) == 60
    assert {row.settings["neuron"] for row in plan.sweep} == {f"T{number}" for number in range(1, 31)}
    assert plan.planted_grid == (1e-4, 1e-3, 5e-3, 1e-2)


def small_plan() -> Plan:
    whole = smoke_plan()
    return Plan(
        planted=tuple(row for row in whole.planted if row.name != "DNN 400 x 3"),
        promotions=tuple(row for row in whole.promotions if row.name in ("LR", "T9", "T19") or "alpha" in row.name),
        sweep=tuple(row for row in whole.sweep if row.settings["neuron"] == "T9"),
        planted_grid=(1e-3, 5e-3),
        sweep_grid=(1e-3,),
        promotions_grid=(2e-2,),
        seeds=(0, 1),
        epochs=1,
        shrink=400,
    )


def test_whole_run_in_small_and_again_from_its_cells(tmp_path: Path) -> None:
    plan, store = small_plan(), CellStore(tmp_path / "cells")
    document = run_plan(plan, store, workers=1, progress=SilentProgress())
    assert [claim["name"] for claim in document["claims"]] == NAMES
    assert document["cells"] == len(list((tmp_path / "cells").iterdir()))
    assert [entry["row"] for entry in document["table"]][:2] == ["planted: LR", "planted: FM"]
    for entry in document["table"]:
        seeds = 1 if entry["row"].startswith("sweep") else 2
        assert len(entry["test AUC"]["per_seed"]) == seeds
        assert math.isfinite(entry["test log loss"]["mean"])
        assert entry["embedding_l2"] in (1e-3, 5e-3, 2e-2)
    again = run_plan(plan, store, workers=1, progress=SilentProgress())
    assert again["table"] == document["table"]
    assert again["seconds"] < document["seconds"] / 5


def test_strength_of_l2_is_chosen_on_validation_alone() -> None:
    plan = small_plan()
    row = plan.planted[0]
    results = {
        plan.cell("planted", row, 1e-3, 0).key: {"validation AUC": 0.7, "test AUC": 0.9},
        plan.cell("planted", row, 5e-3, 0).key: {"validation AUC": 0.8, "test AUC": 0.1},
    }
    assert plan.best("planted", row, plan.planted_grid, results) == 5e-3


def test_is_listed() -> None:
    assert "self-ensemble" in systems()["qnn-alpha"]


@pytest.mark.slow
def test_smoke_size_by_its_public_name(tmp_path: Path) -> None:
    document = run("qnn-alpha", tmp_path, smoke=True, workers=2, progress=SilentProgress())
    assert (tmp_path / "qnn-alpha.json").is_file()
    assert document["smoke"]
    assert [claim["name"] for claim in document["claims"]] == NAMES
