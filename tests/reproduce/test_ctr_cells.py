from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from palate.reproduce.ctr_cells import Cell, CellStore, run_cell, run_cells, tables_of
from palate.train.progress import SilentProgress

SMALL: dict[str, Any] = {"table": "planted", "model": "lr", "embedding_l2": 1e-3, "epochs": 1, "shrink": 400}


def cells(count: int) -> list[Cell]:
    return [Cell(**SMALL, seed=seed) for seed in range(count)]


def test_key_changes_with_everything_that_decides_the_numbers() -> None:
    base = Cell(**SMALL)
    others = [
        base.replace(table="promotions"),
        base.replace(model="fm"),
        base.replace(settings={"embedding_size": 4}),
        base.replace(embedding_l2=1e-2),
        base.replace(seed=1),
        base.replace(epochs=2),
        base.replace(shrink=200),
    ]
    assert len({base.key, *(cell.key for cell in others)}) == 8
    assert Cell(**SMALL).key == base.key


def test_finished_cells_are_not_computed_again(tmp_path: Path) -> None:
    computed: list[int] = []

    def work(cell: Cell) -> dict[str, Any]:
        if cell.seed == 2 and len(computed) < 3:
            computed.append(-1)
            raise KeyboardInterrupt
        computed.append(cell.seed)
        return {"test AUC": float(cell.seed)}

    store = CellStore(tmp_path / "cells")
    three = [*cells(3), *cells(3)]
    with pytest.raises(KeyboardInterrupt):
        run_cells(three, store, progress=SilentProgress(), label="", work=work)
    assert computed == [0, 1, -1]
    results = run_cells(three, store, progress=SilentProgress(), label="", work=work)
    assert computed == [0, 1, -1, 2]
    assert {key: result["test AUC"] for key, result in results.items()} == {
        cell.key: float(cell.seed) for cell in cells(3)
    }
    stored = json.loads((tmp_path / "cells" / f"{three[0].key}.json").read_text())
    assert Cell(**stored["cell"]) == three[0]


def test_a_cell_is_judged_and_measured() -> None:
    result = run_cell(Cell(**{**SMALL, "model": "qnn-alpha", "epochs": 3, "settings": {"embedding_size": 4}}))
    assert 0.3 < result["test AUC"] < 1.0
    assert 0.3 < result["test log loss"] < 1.0
    assert result["epochs"] <= 3
    assert result["movement"] >= 0
    assert result["p50 of 1 rows, ms"] <= result["p99 of 1 rows, ms"]
    assert run_cell(Cell(**SMALL))["movement"] is None


def test_numbers_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    alone = run_cells(cells(2), CellStore(tmp_path / "one"), progress=SilentProgress(), label="")
    together = run_cells(cells(2), CellStore(tmp_path / "two"), workers=2, progress=SilentProgress(), label="")
    for key, result in alone.items():
        for name in ("test AUC", "test log loss", "validation AUC", "epochs", "parameters"):
            assert together[key][name] == result[name]


def test_promotions_are_the_nineteen_columns_split_by_time() -> None:
    spec, tables = tables_of("promotions", 0, 1)
    assert {part: len(table) for part, table in tables.items()} == {
        "train": 338_165,
        "validation": 35_720,
        "test": 45_239,
    }
    assert spec.num_fields == 19
    assert {field.kind for field in spec.fields} == {"categorical"}
    assert not {"label", "split", "week", "transaction_timestamp"} & {field.name for field in spec.fields}
