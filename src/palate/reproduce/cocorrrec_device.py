"""What CoCorrRec's claims say of the device: the exported step, the time of a click, and what uploads give away."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from pydantic import Field

from palate.config import Config
from palate.data.dataset import Dataset
from palate.data.sequences import SequenceLog, pad_histories
from palate.device.correction import Correction
from palate.device.device_model import DeviceModel
from palate.device.export import export_device
from palate.errors import MissingExtraError
from palate.fitting import fit_next_item
from palate.next_item_recommender import NextItemRecommender
from palate.reproduce.cell_store import cell_key
from palate.reproduce.cocorrrec_cells import LENGTH, SequenceCell, trained
from palate.reproduce.cocorrrec_logs import prepared_log
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.device_step import DeviceStep
from palate.sequence.sasrec import SASRec, SASRecConfig
from palate.sequence.upload_privacy import measure_upload_privacy
from palate.tasks import NextItemTask

__all__ = ["DeviceCell", "run_device_cell"]

K = 10
_ROUNDS, _CLICKS = 7, 40


class DeviceCell(Config):
    """What decides a cell's numbers.

    Attributes:
        what: ``lists`` of the exported step against those of the model, ``privacy`` of uploads, or the time of
            ``clicks``.
        trained: The model that is exported or attacked.
        users: Users whose lists are compared.
        attack: Settings of the attack.
        lengths: Clicks before the one that is timed.
    """

    what: Literal["lists", "privacy", "clicks"]
    trained: SequenceCell | None = None
    users: int = Field(1000, ge=1)
    attack: dict[str, int] = Field(default_factory=dict)
    lengths: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Name of the cell's file."""
        return cell_key(self, "device", self.what)


def run_device_cell(cell: DeviceCell) -> dict[str, Any]:
    """Measure what the cell asks for."""
    if cell.what == "clicks":
        return click_times(cell.lengths)
    assert cell.trained is not None
    return exported_lists(cell.trained, cell.users) if cell.what == "lists" else _privacy(cell.trained, cell.attack)


def exported_lists(cell: SequenceCell, users: int) -> dict[str, Any]:
    """Fit by the public way, export to ONNX, play the users' clicks with a cloud beside, and compare the lists."""
    recommender = _fitted(cell)
    model, log = recommender.model, recommender.users.log
    assert isinstance(model, CoCorrRec)
    chosen = np.arange(min(users, log.num_users))
    with tempfile.TemporaryDirectory() as folder:
        try:
            opened = DeviceModel.open(export_device(recommender, Path(folder) / "device", to="onnx"))
        except MissingExtraError as missing:
            return {"missing": str(missing)}
        played = [_played(opened, model, log, int(user)) for user in chosen]
    return {"users": len(chosen), **_agreement(model, log, chosen, played)}


def _fitted(cell: SequenceCell) -> NextItemRecommender:
    log = prepared_log(cell.log, seed=cell.seed, users=cell.users).log
    owners = np.repeat(np.arange(log.num_users), log.lengths)
    frame = pl.DataFrame({"user": owners, "item": log.items, "time": np.arange(len(log.items))})
    task = NextItemTask.prepare(Dataset.from_tables(frame, user="user", item="item", time="time", name=cell.log))
    return fit_next_item(
        task,
        cell.model,
        seed=cell.seed,
        settings=cell.settings,
        training={"learning_rate": cell.learning_rate, "epochs": cell.epochs, "patience": cell.patience},
        batch_size=cell.batch_size,
        judged=False,
    )


def _played(opened: DeviceModel, model: CoCorrRec, log: SequenceLog, user: int) -> np.ndarray[Any, Any]:
    """Return the scores ``[V + 1]`` on the device after the user's last clicks, answered at every upload."""
    state = opened.initial()
    for item in log.items[log.offsets[user] : log.offsets[user + 1]][-LENGTH:].tolist():
        state = opened.after(state, item)
        if state.seen % opened.manifest.sync_every == 0:
            state = state.corrected_by(_answer(model, state.upload(), state.seen))
    scores = np.array(opened.rows.scores(state.user), np.float32)
    scores[0] = -np.inf
    return scores


@torch.inference_mode()
def _answer(model: CoCorrRec, hidden: np.ndarray[Any, Any], seen: int) -> Correction:
    answer = model.correct(torch.from_numpy(hidden)[None], torch.tensor([len(hidden)]))
    p, q = float(answer.attention_weight), float(answer.bias_weight)
    # It holds until the next upload is answered, as when the batch form is scored without lag.
    return Correction(answer.attention[0].numpy(), answer.bias[0].numpy(), p, q, seen, model.config.sync_every)


@torch.inference_mode()
def _agreement(
    model: CoCorrRec, log: SequenceLog, users: np.ndarray[Any, Any], played: list[np.ndarray[Any, Any]]
) -> dict[str, Any]:
    """Compare lists place by place; items may change places where their scores are equal but for rounding."""
    scores = np.concatenate(
        [
            model.score(*pad_histories(log, part, LENGTH)).numpy()
            for part in np.array_split(users, len(users) // 256 + 1)
        ]
    )
    same, same_but_for_ties, worst = 0, 0, 0.0
    for eager, exported in zip(scores, played, strict=True):
        mine, theirs = np.argsort(-eager, kind="stable")[:K], np.argsort(-exported, kind="stable")[:K]
        worst = max(worst, float(np.abs(eager[1:] - exported[1:]).max()))
        same += bool((mine == theirs).all())
        same_but_for_ties += bool(np.allclose(eager[mine], eager[theirs], atol=1e-4, rtol=1e-4))
    return {"same lists": same, "same but for ties": same_but_for_ties, "largest difference of scores": worst}


def _privacy(cell: SequenceCell, attack: Mapping[str, Any]) -> dict[str, Any]:
    data = prepared_log(cell.log, seed=cell.seed if cell.log == "drift" else 0, users=cell.users)
    model, _ = trained(cell, data)
    assert isinstance(model, CoCorrRec)
    rows = measure_upload_privacy(model, *data.held_out(0), exclude_seen=data.exclude_seen, **attack)
    return {"rows": [row.to_row() for row in rows]}


def click_times(lengths: tuple[int, ...]) -> dict[str, Any]:
    """Time one click after ``N`` others: CoCorrRec's step, and SASRec reading the whole history again.

    Random weights, on which no time depends. Rounds go through all lengths in turn, and the median of the rounds'
    fastest quarter counts, so that a slow moment of the machine hits no length alone.
    """
    torch.manual_seed(0)
    items = 3416
    ours = CoCorrRec(items, CoCorrRecConfig(embedding_size=64, num_heads=4, mode="base")).eval()
    settings: dict[str, Any] = {"num_layers": 1, "num_heads": 4, "hidden_factor": 4, "max_length": max(lengths)}
    sasrec = SASRec(items, SASRecConfig(embedding_size=64, **settings)).eval()
    step, found = DeviceStep(ours), dict[str, dict[str, float]]()
    with torch.inference_mode():
        works: dict[tuple[str, int], Callable[[], Any]] = {}
        for length in lengths:
            history = torch.randint(1, items + 1, (1, length))
            state = ours.initial_state()
            for place in range(length):
                _, *state = step(history[:, place], *state)
            works["step", length] = partial(step, torch.tensor([7]), *state)
            works["SASRec", length] = partial(sasrec.encode, history, torch.tensor([length]))
        times: dict[tuple[str, int], list[float]] = {key: [] for key in works}
        for _ in range(_ROUNDS):
            for key, work in works.items():
                times[key].append(_fastest_quarter(work))
    for (name, length), taken in times.items():
        found.setdefault(name, {})[str(length)] = 1000 * statistics.median(taken)
    return {"milliseconds": found}


def _fastest_quarter(work: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_CLICKS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.fmean(sorted(taken)[: _CLICKS // 4])
