from __future__ import annotations

import json
from pathlib import Path

import pytest

from palate.errors import DataError
from palate.memory.files import to_memdaily
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.reproduce import memsim
from palate.reproduce.memsim_cells import VECTORS, MemoryCell, run_memory_cells
from palate.train.progress import SilentProgress


def test_a_smoke_run_gives_every_row_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PALATE_LOCOMO", raising=False)
    published = tmp_path / "some.json"
    made = Simulator(SimulatorConfig(seed=5, language="chinese", types=("simple",))).trajectories(6)
    published.write_text(json.dumps(to_memdaily(made)))
    monkeypatch.setenv("PALATE_MEMDAILY", str(published))
    document = memsim.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())
    assert document["system"] == "memsim"
    assert len(document["table"]) == 2 * len(memsim.MECHANISMS) + 2 + len(memsim.SEARCHED) + 1
    assert document["settings"]["published"]["memdaily"].startswith("some.json, SHA-256")
    assert document["settings"]["published"]["locomo"] == "absent: set PALATE_LOCOMO to the file"
    names = [row["row"] for row in document["table"]]
    assert "dense (minilm), symbolic reader, 0 noise" in names
    assert "memdaily (Chinese): dense (MiniLM, made for English)" in names
    claims = {claim["name"]: claim for claim in document["claims"]}
    for name in ("keys", "oracle", "full", "ceiling"):
        assert claims[name]["holds"], claims[name]
    assert not list(tmp_path.rglob(VECTORS))
    cells = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-*.json")}
    assert len(cells) == len(document["table"])
    again = memsim.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-*.json")} == cells
    assert again["table"] == document["table"]


def test_a_wrong_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_LOCOMO", str(tmp_path / "nowhere.json"))
    with pytest.raises(DataError, match="PALATE_LOCOMO"):
        memsim.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    cells = [
        MemoryCell(memory=name, encoder=encoder, reader="symbolic", questions=18)
        for name, encoder in (("bm25", ""), ("dense", "minilm"), ("hybrid", "minilm"), ("full", ""))
    ]
    timed = {"add_seconds", "recall_seconds", "answer_seconds"}
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        results = run_memory_cells(cells, folder, {}, workers=workers, progress=SilentProgress())
        found.append(
            {
                key: [{k: v for k, v in outcome.items() if k not in timed} for outcome in result["outcomes"]]
                for key, result in results.items()
            }
        )
    assert found[0] == found[1]
