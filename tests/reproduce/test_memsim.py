from __future__ import annotations

from pathlib import Path

from palate.reproduce import memsim
from palate.train.progress import SilentProgress


def test_a_smoke_run_gives_every_row_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    document = memsim.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())
    assert document["system"] == "memsim"
    assert len(document["table"]) == 2 * len(memsim.MECHANISMS) + 2
    claims = {claim["name"]: claim for claim in document["claims"]}
    for name in ("keys", "oracle", "full", "ceiling"):
        assert claims[name]["holds"], claims[name]
    cells = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = memsim.run(tmp_path, smoke=True, workers=1, progress=SilentProgress())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == cells
    assert again["table"] == document["table"]
