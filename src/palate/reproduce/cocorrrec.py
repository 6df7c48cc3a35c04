"""CoCorrRec: a small network that learns on the device while it is used, corrected from the cloud, against its peers.

MovieLens latest-small (each person's last 200 ratings of films with five or more), a planted log whose users change
their taste, and Amazon Beauty where ``PALATE_AMAZON_BEAUTY`` names its file (or the folder with ``sequences.txt.gz``).
Each user's last item is the test, the one before chooses the epoch; full ranking, and 99 sampled items beside. All
models learn by the softmax over the catalogue at all positions (BERT4Rec at its masks) and read the last 50 items. Each
chooses, on every log anew, a step size of three and a dropout of two by the validation items with the first seed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.evaluate import bootstrap_interval, metrics_of_ranks, paired_t
from palate.reproduce.cell_store import CellStore, compute_cells
from palate.reproduce.cocorrrec_cells import LAGS, SequenceCell, facts_of, run_sequence_cell
from palate.reproduce.cocorrrec_claims import Results, claims_of, users_ndcg
from palate.reproduce.cocorrrec_device import DeviceCell, run_device_cell
from palate.reproduce.cocorrrec_logs import BEAUTY, LogName, beauty_digest
from palate.reproduce.cocorrrec_picture import cost_picture
from palate.reproduce.cocorrrec_plan import Choice, Plan, Row, full_plan, smoke_plan
from palate.reproduce.environment import environment_of
from palate.reproduce.planted_drift import DriftConfig, DriftWorld

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["SYSTEM", "run", "run_plan"]

SYSTEM = "cocorrrec"
SELF_ATTENTION = ("SASRec", "BERT4Rec")
SHOWN = ("ndcg@10", "hr@10", "mrr", "ndcg@10, 1:99", "hr@10, 1:99", "train loss", "test loss")
Chosen = dict[LogName, dict[str, Choice]]  # per log and row that chooses
FACTS = ("parameters", "other parameters", "history FLOPs", "epochs", "best epoch", "seconds")


def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]:
    """Train what is missing and return the document; finished cells stay in ``out/cells/cocorrrec``.

    Beside the document stands ``cocorrrec.svg``: accuracy against cost.
    """
    plan = smoke_plan() if smoke else full_plan()
    store = CellStore(out / "cells" / (f"{SYSTEM}-smoke" if smoke else SYSTEM))
    document = {**run_plan(plan, store, workers=workers, progress=progress), "smoke": smoke}
    picture = cost_picture(document["table"], title="NDCG@10 on MovieLens against cost")
    (out / f"{SYSTEM}.svg").write_text(picture, encoding="utf-8")
    return document


def run_plan(plan: Plan, store: CellStore, *, workers: int, progress: Progress) -> dict[str, Any]:
    """Train what ``store`` does not have and return the document."""
    began = time.perf_counter()
    digest = beauty_digest()
    logs: list[LogName] = ["movielens", "drift", *(["beauty"] if digest else [])]  # type: ignore[list-item]
    shared: dict[str, Any] = {"workers": workers, "progress": progress}
    chosen: Chosen = {}
    tried: dict[str, dict[str, Any]] = {}
    for log in logs:
        chosen[log], found = _choose(plan, log, digest, store, shared)
        tried |= found
    cells = {
        (log, row.name): [plan.cell(row, log, seed, _of(chosen, log, row), digest) for seed in plan.seeds[log]]
        for log in logs
        for row in plan.on(log)
    }
    done = _computed((cell for line in cells.values() for cell in line), store, "all seeds", shared)
    asked = _device_cells(plan, chosen)
    measured = compute_cells(
        asked.values(), store, run_device_cell, label="device", facts=lambda cell, _: {"what": cell.what}, **shared
    )
    device = {what: measured[cell.key] for what, cell in asked.items()}
    results: Results = {
        log: {row.name: [done[cell.key] for cell in cells[log, row.name]] for row in plan.on(log)} for log in logs
    }
    return {
        "system": SYSTEM,
        "schema": 1,
        "settings": _settings(plan, chosen, digest),
        "seeds": list(plan.seeds["movielens"]),
        "environment": environment_of(workers),
        "seconds": time.perf_counter() - began,
        "seconds_of_training": sum(cell["seconds"] for cell in {**tried, **done}.values()),
        "cells": len({**tried, **done}) + len(asked),
        "table": _table(plan, results),
        "groups": _groups(results),
        "lags": _lags(results),
        "device": device,
        "claims": claims_of(results, device, SELF_ATTENTION),
    }


def _computed(cells: Any, store: CellStore, label: str, shared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return compute_cells(cells, store, run_sequence_cell, label=label, facts=facts_of, **shared)


def _choose(
    plan: Plan, log: LogName, digest: str, store: CellStore, shared: Mapping[str, Any]
) -> tuple[dict[str, Choice], dict[str, dict[str, Any]]]:
    """Return what each row chooses on a log: a step size at the first dropout, then a dropout at that size."""
    seed, rows = plan.seeds[log][0], plan.choosers(log)

    def cells(options: Mapping[str, Sequence[Choice]]) -> dict[str, list[SequenceCell]]:
        return {row.name: [plan.cell(row, log, seed, option, digest) for option in options[row.name]] for row in rows}

    found: dict[str, dict[str, Any]] = {}
    best: dict[str, Choice] = {}
    options = {row.name: [Choice(rate, plan.dropouts[0]) for rate in plan.learning_rates] for row in rows}
    for what in ("step sizes", "dropout"):
        asked = cells(options)
        label = f"{log}: choosing {what}"
        found |= _computed((cell for line in asked.values() for cell in line), store, label, shared)
        best = {
            name: max(zip(options[name], line, strict=True), key=lambda pair: found[pair[1].key]["validation ndcg@10"])[
                0
            ]
            for name, line in asked.items()
        }
        options = {
            name: [Choice(choice.learning_rate, share) for share in plan.dropouts] for name, choice in best.items()
        }
    return best, found


def _of(chosen: Chosen, log: LogName, row: Row) -> Choice | None:
    return chosen[log].get(row.like or row.name)


def _device_cells(plan: Plan, chosen: Chosen) -> dict[str, DeviceCell]:
    row = next(row for row in plan.rows if row.name == "SCN + GCN")

    def cell(log: LogName) -> SequenceCell:
        return plan.cell(row, log, plan.seeds[log][0], _of(chosen, log, row))

    return {
        "lists": DeviceCell(what="lists", trained=cell("drift"), users=plan.device_users),
        "privacy": DeviceCell(what="privacy", trained=cell("movielens"), attack=dict(plan.attack)),
        "clicks": DeviceCell(what="clicks", lengths=plan.lengths),
    }


def _table(plan: Plan, results: Results) -> list[dict[str, Any]]:
    table = [
        _line(f"{log}: {row}", log, cells) | {"log": log, "model": row}
        for log, rows in results.items()
        for row, cells in rows.items()
    ]
    ceilings = []
    for seed in plan.seeds["drift"]:
        config = DriftConfig(seed=seed, **({"num_users": plan.users["drift"]} if "drift" in plan.users else {}))
        ceilings.append(metrics_of_ranks(DriftWorld(config).best_ranks(), ["ndcg@10", "hr@10"]))
    true = {name: _metric([float(each[name].mean()) for each in ceilings]) for name in ("ndcg@10", "hr@10")}
    return [*table, {"row": "drift: the true chances", **true, "log": "drift", "model": "the true chances"}]


def _line(name: str, log: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    line: dict[str, Any] = {"row": name}
    for metric in SHOWN:
        if metric in cells[0]:
            line[metric] = _metric([cell[metric] for cell in cells])
    users = bootstrap_interval(users_ndcg(cells, pooled=log == "drift"), seed=0)
    line["ndcg@10"]["over users"] = [users.low, users.high]
    for fact in FACTS:
        if cells[0].get(fact) is not None:
            line[fact] = statistics.fmean(cell[fact] for cell in cells)
    if "P, Q" in cells[0]:
        line["P, Q"] = [cell["P, Q"] for cell in cells]
    if "frozen" in cells[0].get("variants", {}):
        line["ndcg@10, update frozen at test"] = _metric([cell["variants"]["frozen"]["ndcg@10"] for cell in cells])
    return line


def _groups(results: Results) -> list[dict[str, Any]]:
    """Return NDCG@10 on planted drift by how long ago the taste has changed."""
    found = []
    for row, cells in results["drift"].items():
        versions = {row: cells}
        if row == "SCN":
            versions["SCN, frozen at test"] = [cell["variants"]["frozen"] for cell in cells]
        for name, line in versions.items():
            means = {group: statistics.fmean(cell["groups"][group] for cell in line) for group in line[0]["groups"]}
            found.append({"row": name, **means})
    return found


def _lags(results: Results) -> list[dict[str, Any]]:
    """Return NDCG@10 against how many items late the cloud's answer is, with the gap to answers without delay."""
    found = []
    for log, rows in results.items():
        cells = rows["SCN + GCN"]
        fresh = users_ndcg(cells, pooled=log == "drift")
        for lag in LAGS:
            name = "no answer" if lag is None else f"lag {lag}"
            late = users_ndcg([cell["variants"].get(name, cell) for cell in cells], pooled=log == "drift")
            gap = bootstrap_interval(late - fresh, seed=0)
            found.append(
                {
                    "log": log,
                    "answer": name,
                    "ndcg@10": float(late.mean()),
                    "against lag 0": float((late - fresh).mean()),
                    "interval": [gap.low, gap.high],
                }
            )
    return found


def _metric(values: list[float]) -> dict[str, Any]:
    found = paired_t(values, [0.0] * len(values)).interval
    return {
        "mean": statistics.fmean(values),
        "interval": None if found is None else [found.low, found.high],
        "per_seed": values,
    }


def _settings(plan: Plan, chosen: Chosen, digest: str) -> dict[str, Any]:
    return {
        "step sizes": list(plan.learning_rates),
        "dropout": list(plan.dropouts),
        "epochs": dict(plan.epochs),
        "seeds": {log: list(seeds) for log, seeds in plan.seeds.items()},
        "rows": {row.name: {"model": row.model, **row.settings, "chosen": _told(chosen, row)} for row in plan.rows},
        "beauty": f"SHA-256 {digest[:16]}" if digest else f"left out: set {BEAUTY} to its file",
        "intervals": "of metrics over seeds; of claims over users, the mean over seeds first",
    }


def _told(chosen: Chosen, row: Row) -> dict[str, Any]:
    choices = {log: _of(chosen, log, row) for log in chosen if log in row.logs}
    return {log: asdict(choice) for log, choice in choices.items() if choice is not None}
