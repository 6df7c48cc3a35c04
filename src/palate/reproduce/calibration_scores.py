"""Scores to calibrate: of planted worlds, and of QNN-alpha on two real tables.

The real scores come from a click model that never sees the rows it is calibrated on: QNN-alpha is trained on the
training part for a fixed number of passes, so the validation part neither stops nor tunes it. What it says of the
validation and test parts is kept as a folder; training happens once per table and seed.

- ``promotions``: offers of The Complete Journey. Trained before week 43, calibrated on weeks 43 to 47, judged on weeks
  48 to 53. Fields: product category, store, income band of the household.
- ``movielens``: MovieLens latest-small, a rating of four or more, split by time 8:1:1. Field: genre.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from scipy.special import expit

from palate.config import Config
from palate.data.context_columns import ContextColumns
from palate.data.encoder import FeaturePlan
from palate.data.opening import open_dataset
from palate.data.rank_source import RankSource
from palate.rank.qnn_alpha import QNNAlpha, QNNAlphaConfig
from palate.rank_recommender import logits_of
from palate.reproduce.planted_calibration import PlantedConfig, PlantedRows, PlantedWorld
from palate.saving import load_folder, save_folder
from palate.tasks import RankTask
from palate.train.contract import TrainConfig
from palate.train.loop import fit

if TYPE_CHECKING:
    from palate.data.rank_table import RankTable

__all__ = ["FIELDS", "RealScores", "RealTable", "ScoredRows", "planted_rows", "real_rows", "train_scores"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
AnyArray = np.ndarray[Any, np.dtype[Any]]
RealTable = Literal["promotions", "movielens"]
Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")
FIELDS: Mapping[RealTable, tuple[str, ...]] = {
    "promotions": ("product_category", "store_id", "income"),
    "movielens": ("genres",),
}
DATASETS: Mapping[RealTable, str] = {"promotions": "complete-journey-promotions", "movielens": "movielens-small"}
# L2 is the middle of the grid of `palate reproduce qnn-alpha`; passes are where its training part is learned well
TRAINING: Mapping[RealTable, Mapping[str, Any]] = {
    "promotions": {"batch_size": 4096, "embedding_l2": 2e-2, "epochs": 3},
    "movielens": {"batch_size": 1024, "embedding_l2": 1e-2, "epochs": 5},
}
KIND = "scored-rows"


@dataclass(frozen=True)
class ScoredRows:
    """Rows to calibrate on or to judge.

    Shapes:
        scores, labels: float64 ``[N]``; fields: by name, each ``[N]``; truth: float64 ``[N]`` where it is known;
        users: int64 ``[N]``, the household or person of each row, where there is one.
    """

    scores: FloatArray
    labels: FloatArray
    fields: Mapping[str, AnyArray]
    truth: FloatArray | None = None
    users: AnyArray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def context(self) -> AnyArray:
        """All fields side by side, ``[N, F]``; an empty text is a missing value, ``None``."""
        table: AnyArray = np.stack(list(self.fields.values()), axis=1)
        if table.dtype == object:
            table[table == ""] = None
        return table

    def take(self, rows: AnyArray) -> Self:
        """Return the chosen rows."""
        fields = {name: column[rows] for name, column in self.fields.items()}
        truth, users = (None if part is None else part[rows] for part in (self.truth, self.users))
        return type(self)(self.scores[rows], self.labels[rows], fields, truth, users)


class RealScores(Config):
    """What decides the scores of a real table.

    Attributes:
        table: Which table.
        seed: Seed of the network's weights, order and masks.
        shrink: The table is cut to ``1 / shrink`` of its rows and passed over once (for a quick look).
    """

    table: RealTable
    seed: int = Field(0, ge=0)
    shrink: int = Field(1, ge=1)

    def folder(self, root: Path) -> Path:
        """Return where the scores are kept: named after everything that decides them."""
        decides = {**self.model_dump(), "training": dict(TRAINING[self.table]), "fields": FIELDS[self.table]}
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
        return root / f"scores-{self.table}-{self.seed}-{digest}"


def planted_rows(world: PlantedConfig, rows: int, seed: int, *, thinned: float = 1.0) -> ScoredRows:
    """Draw rows of a world, scored as by a model that saw only a share ``thinned`` of the negatives."""
    return _of_world(_world(world).draw(rows, seed), thinned)


def train_scores(asked: RealScores, root: Path) -> None:
    """Train QNN-alpha on the table's training part and keep what it says of the other two, unless that is there."""
    folder = asked.folder(root)
    if folder.is_dir():
        return
    dataset = open_dataset(DATASETS[asked.table])
    plan = FeaturePlan.default_for(dataset.schema)
    if asked.table == "promotions":
        # the 19 columns of the table, as in the reproduction of QNN-alpha
        plan = plan.replace(fields=tuple(field for field in plan.fields if field.derive != "history"))
    task = RankTask.prepare(dataset, plan=plan)
    model = _trained(asked, task)
    context = ContextColumns.fit(dataset, task.split.train, FIELDS[asked.table])
    frames: dict[str, pl.DataFrame] = {}
    for part in PARTS:
        table = _cut(task.tables[part], asked.shrink)
        assert table.labels is not None
        assert table.users is not None
        tokens = context.of_dataset(dataset, task.split.part(part)[:: asked.shrink])
        columns = {f"field.{name}": pl.Series(tokens[:, place]) for place, name in enumerate(context.names)}
        frames[part] = pl.DataFrame(
            {"logit": logits_of(model, table), "label": table.labels, "user": table.users, **columns}
        )
    save_folder(folder, kind=KIND, name=asked.table, frames=frames)


def real_rows(asked: RealScores, root: Path) -> tuple[ScoredRows, ScoredRows]:
    """Return the kept rows to calibrate on (validation) and to judge (test)."""
    return _kept(asked.folder(root))


def _trained(asked: RealScores, task: RankTask) -> QNNAlpha:
    training = TRAINING[asked.table]
    loop = TrainConfig(
        epochs=training["epochs"] if asked.shrink == 1 else 1,
        embedding_l2=training["embedding_l2"],
        seed=asked.seed,
    )
    config = QNNAlphaConfig(embedding_size=8, num_layers=2, num_rows=2, batch_norm=True)
    torch.manual_seed(asked.seed)
    model = QNNAlpha(task.encoder.spec, config)
    source = RankSource(_cut(task.tables["train"], asked.shrink), training["batch_size"], seed=asked.seed)
    result = fit(model, source, loop)
    if result.stopped_because == "interrupted":
        raise KeyboardInterrupt
    return model


def _cut(table: RankTable, shrink: int) -> RankTable:
    return table if shrink == 1 else table.take(slice(0, None, shrink))


@lru_cache(maxsize=4)
def _kept(folder: Path) -> tuple[ScoredRows, ScoredRows]:
    saved = load_folder(folder, kind=KIND)
    found = []
    for part in PARTS:
        frame = saved.frame(part)
        columns = [name for name in frame.columns if name.startswith("field.")]
        fields = {
            name.removeprefix("field."): np.asarray(frame[name].fill_null("").to_list(), dtype=object)
            for name in columns
        }
        found.append(
            ScoredRows(
                expit(frame["logit"].to_numpy()),
                frame["label"].cast(pl.Float64).to_numpy(),
                fields,
                users=frame["user"].to_numpy(),
            )
        )
    return found[0], found[1]


@lru_cache(maxsize=8)
def _world(config: PlantedConfig) -> PlantedWorld:
    return PlantedWorld(config)


def _of_world(rows: PlantedRows, thinned: float) -> ScoredRows:
    table = rows.context.reshape(len(rows.context), -1)
    names = ["context", *(f"field {place}" for place in range(2, table.shape[1] + 1))]
    scores = rows.scores
    if thinned < 1.0:
        # a base model that is right on its thinned table: all that is wrong is the base rate
        scores = rows.truth / (rows.truth + (1.0 - rows.truth) * thinned)
    return ScoredRows(scores, rows.labels.astype(np.float64), dict(zip(names, table.T, strict=True)), rows.truth)
