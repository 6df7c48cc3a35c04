from __future__ import annotations

import json
from pathlib import Path

import pytest

from palate.cli.memory import app


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> object:
    app([str(argument) for argument in (*arguments, "--json")], exit_on_error=False, result_action="return_value")
    return json.loads(capsys.readouterr().out)


def test_simulate_run_report_and_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    made = call(
        capsys, "simulate", "--to", data, "--count", 30, "--noise", 2, "--parquet", "--memdaily", "--mix", "chat=1"
    )
    assert made["count"] == 30  # type: ignore[index]
    assert (data / "trajectories.parquet").is_file()
    board = call(capsys, "run", data, "--to", out, "--memory", "none", "--memory", "oracle", "--limit", 12)
    rows = board["levels"][0]["rows"]  # type: ignore[index]
    assert [(row["retriever"], row["by type"]["all"]["accuracy"]) for row in rows] == [("oracle", 1.0), ("none", 0.0)]
    assert call(capsys, "report", out) == board
    found = call(capsys, "audit", data / "memdaily.json", "--format", "memdaily")
    assert found["questions"] == 30  # type: ignore[index]
    app(["report", str(out)], exit_on_error=False, result_action="return_value")
    assert "oracle" in capsys.readouterr().out
