from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


measure = load("measure")


def test_sides_take_turns_and_change_who_starts() -> None:
    calls: list[str] = []
    measured = measure.alternate(lambda: calls.append("ours"), lambda: calls.append("peer"), repeats=3, warmups=1)
    assert calls == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert len(measured.ours) == len(measured.peer) == 3


def test_work_timed_elsewhere_counts_by_its_own_clock() -> None:
    measured = measure.alternate(lambda: measure.Timing(0.5, "a"), lambda: measure.Timing(2.0, "b"), repeats=2)
    assert measured.ratios == [4.0, 4.0]
    assert measured.ours[0].result == "a"
    assert measure.timed(lambda: time.sleep(0.01)).seconds >= 0.009


def test_a_row_holds_rates_ratios_and_the_verdict() -> None:
    sides = [tuple(measure.Timing(seconds, None) for seconds in side) for side in ((1.0, 2.0, 1.0), (3.0, 3.0, 8.0))]
    row = measure.row("work", measure.Alternation(*sides), amount=10, unit="rows/s", peer_name="peer 1", target=3.5)
    assert (row["ours"], row["peer"]) == (10.0, pytest.approx(10 / 3))
    assert row["ratio"] == {"median": 3.0, "min": 1.5, "max": 8.0}
    assert row["met"] is False


def test_the_file_states_the_environment_and_not_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = (measure.Timing(1.0, None),), (measure.Timing(2.0, None),)
    row = measure.row("work", measure.Alternation(*sides), amount=1, unit="rows/s", peer_name="peer 1", target=2)
    text = measure.write("example", [row], folder=tmp_path).read_text(encoding="utf-8")
    document = json.loads(text)
    assert (document["name"], document["schema"], document["rows"][0]["met"]) == ("example", 1, True)
    assert {"cpu", "cores", "python", "packages"} <= set(document["environment"])
    assert document["environment"]["packages"]["torch"]
    assert str(Path.home()) not in text
    assert "target x2 met" in capsys.readouterr().out


def test_rows_of_an_earlier_run_are_found_by_how_they_begin(tmp_path: Path) -> None:
    assert measure.rows_written("example", ("A",), folder=tmp_path) == []
    sides = (measure.Timing(1.0, None),), (measure.Timing(2.0, None),)
    shared: dict[str, Any] = {"amount": 1, "unit": "rows/s", "peer_name": "peer 1", "target": 2}
    rows = [measure.row(what, measure.Alternation(*sides), **shared) for what in ("A: train", "B: train", "A: rank")]
    measure.write("example", rows, folder=tmp_path)
    assert measure.rows_written("example", ("A",), folder=tmp_path) == [rows[0], rows[2]]
    assert measure.rows_written("example", (), folder=tmp_path) == []
