from __future__ import annotations

import json
from pathlib import Path

import pytest

from palate.cli.memory import app
from palate.errors import ConfigError, DataError
from palate.llm.contract import Completion
from palate.llm.endpoint import Endpoint
from palate.memory.files import read_trajectories


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


def test_rewrite_and_read_by_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Endpoint, prompt: str) -> Completion:
        if "Say this in other words" in prompt:
            return Completion("Good to tell: " + prompt.rpartition("\n")[2])
        return Completion("I think it is A.")

    monkeypatch.setattr(Endpoint, "write", write)
    data, other = tmp_path / "data", tmp_path / "other"
    call(capsys, "simulate", "--to", data, "--count", 6)
    server = ("--set", "url=http://127.0.0.1:1/v1", "--set", "model=fake")
    made = call(capsys, "rewrite", data, "--to", other, *server, "--replies", tmp_path / "replies.sqlite")
    counts = made["rewriting"]  # type: ignore[index]
    before, after = (list(read_trajectories(folder)) for folder in (data, other))
    assert counts == {"accepted": sum(len(t.messages) for t in before)}
    assert all(m.text.startswith("Good to tell: ") for t in after for m in t.messages)
    assert [t.question for t in after] == [t.question for t in before]
    reader = ("--reader", "endpoint", "--reader-set", "model=fake")
    board = call(capsys, "run", other, "--to", tmp_path / "out", "--memory", "full", *reader)
    row = board["levels"][0]["rows"][0]  # type: ignore[index]
    assert (row["model"], row["unparsed"], row["failed"]) == ("fake", 0, 0)
    assert row["by type"]["all"]["accuracy"] == sum(t.question.key == 0 for t in before) / 6
    with pytest.raises(ConfigError, match="the folder that is read"):
        app(["rewrite", str(data), "--to", str(data), *server], exit_on_error=False, result_action="return_value")
    with pytest.raises(DataError, match="cannot be read"):
        app(["rewrite", str(tmp_path), "--to", str(other), *server], exit_on_error=False, result_action="return_value")


def test_a_long_life_is_told_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--messages", 800, "--questions", 20)
    board = call(capsys, "live", "--to", tmp_path, *size, "--memory", "oracle", "--memory", "none")
    rows = board["levels"][0]["rows"]  # type: ignore[index]
    assert (rows[0]["retriever"], rows[0]["by type"]["all"]["accuracy"]) == ("oracle", 1.0)
    assert call(capsys, "report", tmp_path) == board
    app(["report", str(tmp_path)], exit_on_error=False, result_action="return_value")
    assert "while the memory grew" in capsys.readouterr().out
