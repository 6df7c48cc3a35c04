from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import ctr_training


def row(ours: float, theirs: float) -> dict[str, float | str]:
    found = {"float32": [ours, ours + 0.002], "peer": [theirs, theirs + 0.004]}
    return {"what": "deepfm, float32", **ctr_training.quality_facts(found, "float32")}


def test_the_quality_of_both_sides_is_the_mean_over_seeds() -> None:
    facts = row(0.570, 0.568)
    assert facts["mean AUC over seeds"] == pytest.approx(0.571)
    assert facts["peer mean AUC over seeds"] == pytest.approx(0.570)
    assert facts["spread of the peer's seeds"] == pytest.approx(0.004 / 2**0.5)


def test_learning_less_than_the_peer_is_refused() -> None:
    ctr_training.check_quality([{"what": "first batch"}, row(0.570, 0.568), row(0.570, 0.5715)])
    with pytest.raises(SystemExit, match=r"mean AUC 0\.5710, peer 0\.5745"):
        ctr_training.check_quality([row(0.570, 0.5725)])
    with pytest.raises(SystemExit, match="Nothing is written"):
        ctr_training.check_quality([row(float("nan"), 0.5)])
