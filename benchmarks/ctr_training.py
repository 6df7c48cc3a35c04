"""Training of click models against FuxiCTR: same rows, same batches per epoch, same optimiser, same quality.

    OMP_NUM_THREADS=1 python benchmarks/ctr_training.py            # about forty minutes
    OMP_NUM_THREADS=1 python benchmarks/ctr_training.py --smoke    # a minute, to see that it runs

A generated table of 200,000 rows, 39 fields and 910,747 ids (the sizes of Criteo's vocabularies) with a planted signal.
Both sides train LR, FM, DeepFM, DCNv2 and QNN-alpha with dense Adam at 1e-3, L2 1e-5 on the embeddings, gradients
clipped at 10 and batches of 4,096, through their own loader and trainer; FuxiCTR runs in an environment of its own.
After every epoch of ours the peer trains one of its own, so that a slow minute hits both. Timed are whole epochs
without validation, and the time from a stored table to the first batch. Afterwards the validation AUC of both sides
is compared. Writes ``results/benchmarks/ctr_training.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

import measure
from measure import Alternation, Timing
from palate.data.features import FeatureSpec
from palate.data.rank_source import RankSource
from palate.data.rank_table import RankTable, iterate
from palate.evaluate import auc
from palate.registry import find
from palate.train.contract import TrainConfig
from palate.train.loop import fit
from peers import Peer, peer_environment

FUXICTR = "fuxictr==2.3.10"
TORCH = "torch==2.13.0"
PEER = "fuxictr 2.3.10"
# Vocabularies of Criteo (13 bucketed numbers, then 26 categories); those that are not published are filled in so that
# the total is the published 910,747.
NUMBERS = (44, 99, 122, 41, 220, 112, 80, 69, 92, 6, 27, 37, 72)
LARGEST = (157_339, 156_656, 154_564, 148_913, 117_822)
TOTAL_IDS = 910_747


@dataclass(frozen=True)
class Case:
    """One model on both sides, with the ratios of rates to reach."""

    name: str
    settings: Mapping[str, Any]
    float32: float
    bf16: float | None = None


CASES = (
    Case("lr", {}, 5.0),
    Case("fm", {"embedding_size": 16}, 5.0),
    Case("deepfm", {"embedding_size": 16, "hidden": (400, 400, 400), "dropout": 0.1}, 2.0, 3.0),
    Case("dcnv2", {"embedding_size": 16, "num_layers": 3, "hidden": (400, 400, 400), "dropout": 0.1}, 2.0, 3.0),
    Case("qnn-alpha", {"embedding_size": 16, "num_layers": 3, "num_rows": 2, "dropout": 0.1}, 1.25, 2.0),
)
FIRST_BATCH = 10.0


@dataclass(frozen=True)
class Size:
    """How much work there is."""

    rows: int
    batch: int
    epochs: int
    shrink: int  # vocabularies are divided by this

    @property
    def train(self) -> int:
        """Rows to train on; the rest validates."""
        return self.rows * 4 // 5


FULL = Size(rows=200_000, batch=4096, epochs=4, shrink=1)
SMOKE = Size(rows=10_000, batch=512, epochs=3, shrink=100)


def vocabularies(shrink: int) -> list[int]:
    """Return the number of ids of the 39 fields, PAD and OOV included; they add up to the published total."""
    rest = TOTAL_IDS - sum(NUMBERS) - sum(LARGEST)
    shape = np.geomspace(1.0, 4000.0, 21)
    others = np.maximum(4, (shape / shape.sum() * rest)).astype(int)
    others[-1] += rest - others.sum()
    return [max(4, size // shrink) for size in (*NUMBERS, *others.tolist(), *LARGEST)]


def generate(size: Size, folder: Path, seed: int = 0) -> tuple[FeatureSpec, float]:
    """Write the table in both forms; return its fields and the AUC of the true probabilities on the validation part.

    Ids of a field are log-uniform. The true logit has an effect per id and products of pairs of fields.
    """
    rng = np.random.default_rng(seed)
    sizes = vocabularies(size.shrink)
    columns = [np.minimum((known - 2) ** rng.random(size.rows), known - 2).astype(np.int64) for known in sizes]
    vectors = [rng.normal(size=(known, 4)) for known in sizes]
    effects = sum(rng.normal(size=known)[ids] for known, ids in zip(sizes, columns, strict=True))
    pairs = np.zeros(size.rows)
    for f, g in rng.permutation(list(combinations(range(39), 2)))[:60]:
        pairs += np.einsum("bk,bk->b", vectors[f][columns[f]], vectors[g][columns[g]])
    logits = 0.9 * effects / effects.std() + 0.9 * pairs / pairs.std() - 1.2
    labels = (rng.random(size.rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    spec = FeatureSpec.from_sizes(**{f"F{place}": known for place, known in enumerate(sizes)})
    ids = np.stack(columns, axis=1)
    (folder / "sizes.json").write_text(json.dumps({field.name: field.size for field in spec.fields}))
    for part, rows in (("train", slice(0, size.train)), ("validation", slice(size.train, size.rows))):
        named = {field.name: ids[rows, place] for place, field in enumerate(spec.fields)}
        np.savez(folder / f"{part}.npz", label=labels[rows], **named)
        fused = (ids[rows] + [field.offset for field in spec.fields]).astype(np.int32)
        RankTable(ids=fused, labels=labels[rows]).save(folder / part)
    return spec, auc(logits[size.train :], labels[size.train :])


class Turns:
    """Trains one epoch of ours, then one of the peer's, and so on; the first of each is not counted."""

    def __init__(self, peer: Peer, validation: RankTable) -> None:
        self.peer, self.validation = peer, validation
        self.ours: list[Timing] = []
        self.theirs: list[Timing] = []
        self.auc = float("nan")
        self._began = time.perf_counter()

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Take the time of our epoch, let the peer train its own, and start the clock again."""
        self.ours.append(Timing(time.perf_counter() - self._began, None))
        self.theirs.append(Timing(self.peer.call("train_epoch")["value"]["seconds"], None))
        logits = np.concatenate([model(batch).float().numpy() for batch in iterate(self.validation, 8192)])
        self.auc = auc(logits, self.validation.labels)
        self._began = time.perf_counter()
        return {"auc": self.auc}

    @property
    def measured(self) -> Alternation:
        """The timings without the first epoch of each side."""
        return Alternation(tuple(self.ours[1:]), tuple(self.theirs[1:]))


def train(
    case: Case, precision: Literal["float32", "bf16"], spec: FeatureSpec, folder: Path, size: Size, peer: Peer
) -> dict[str, Any]:
    """Train both sides in turns and return the row of the result."""
    peer.call("build", model=case.name, settings=dict(case.settings), folder=str(folder), batch_size=size.batch)
    factory: Any = find("ranker", case.name).factory
    model = factory(spec, factory.Config(**case.settings))
    turns = Turns(peer, RankTable.open(folder / "validation"))
    config = TrainConfig(epochs=size.epochs + 1, patience=100, learning_rate_decay=1.0, embedding_l2=1e-5)
    config = config.replace(precision=precision, seed=0)
    source = RankSource(RankTable.open(folder / "train"), size.batch, seed=0)
    fit(model, source, config, validate=turns)
    theirs = peer.call("validate")["value"]
    return measure.row(
        f"{case.name}, {precision}",
        turns.measured,
        amount=size.train,
        unit="rows/s",
        peer_name=PEER,
        target=case.float32 if precision == "float32" else case.bf16 or case.float32,
        facts={
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "peer parameters": theirs["parameters"],
            "validation AUC": turns.auc,
            "peer validation AUC": theirs["auc"],
        },
    )


def first_batch(folder: Path, size: Size, peer: Peer) -> dict[str, Any]:
    """Time the way from a stored table to the first batch of a shuffled epoch."""

    def ours() -> int:
        source = RankSource(RankTable.open(folder / "train"), size.batch, seed=0)
        return len(source.batch(0, 0))

    def theirs() -> Timing:
        answer = peer.call("first_batch", folder=str(folder), batch_size=size.batch)["value"]
        return Timing(answer["seconds"], answer["rows"])

    measured = measure.alternate(ours, theirs)
    assert {timing.result for timing in (*measured.ours, *measured.peer)} == {size.batch}
    return measure.row(
        "first batch",
        measured,
        amount=1,
        unit="batches/s",
        peer_name=PEER,
        target=FIRST_BATCH,
        facts={"rows": size.train},
    )


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small table, to see that it runs; writes nothing")
    parser.add_argument("--models", nargs="*", default=[case.name for case in CASES], help="which of the models")
    chosen = parser.parse_args()
    size = SMOKE if chosen.smoke else FULL
    python = peer_environment("fuxictr", [FUXICTR], first=[TORCH])
    folder = Path(tempfile.mkdtemp(prefix="palate-ctr-"))
    rows: list[dict[str, Any]] = []
    try:
        spec, best = generate(size, folder)
        with Peer(python, "ctr_training_peer.py") as peer:
            rows.append(first_batch(folder, size, peer))
            for case in CASES:
                for precision in ("float32", "bf16"):
                    if case.name in chosen.models and (precision == "float32" or case.bf16 is not None):
                        rows.append(train(case, precision, spec, folder, size, peer))
                        rows[-1]["AUC of the true probabilities"] = best
                        print(rows[-1], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out = Path(tempfile.mkdtemp(prefix="palate-ctr-smoke-")) if chosen.smoke else measure.RESULTS
    measure.write("ctr_training", rows, folder=out)
    check_quality(rows, tolerance=0.02 if chosen.smoke else 0.003)


def check_quality(rows: list[dict[str, Any]], tolerance: float) -> None:
    """Refuse a comparison in which ours learns less than the peer, or bf16 less than float32."""
    by_name = {row["what"]: row for row in rows if "validation AUC" in row}
    for name, row in by_name.items():
        if row["validation AUC"] < row["peer validation AUC"] - tolerance:
            raise SystemExit(
                f"{name}: validation AUC {row['validation AUC']:.4f}, peer {row['peer validation AUC']:.4f}."
            )
        full = by_name.get(name.replace("bf16", "float32"), row)
        if row["validation AUC"] < full["validation AUC"] - tolerance:
            raise SystemExit(
                f"{name}: validation AUC {row['validation AUC']:.4f}, float32 {full['validation AUC']:.4f}."
            )


if __name__ == "__main__":
    main()
