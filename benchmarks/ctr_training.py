"""Training of click models against FuxiCTR: same rows, same batches per epoch, same optimiser, same quality.

    OMP_NUM_THREADS=1 python benchmarks/ctr_training.py            # about half an hour
    OMP_NUM_THREADS=1 python benchmarks/ctr_training.py --smoke    # a minute, to see that it runs

A generated table of 200,000 rows, 39 fields and 910,747 ids (the sizes of Criteo's vocabularies) with a planted signal.
Both sides train LR, FM, DeepFM, DCNv2 and QNN-alpha with dense Adam at 1e-3, L2 1e-5 on the embeddings, gradients
clipped at 10 and batches of 4,096, through their own loader and trainer; FuxiCTR runs in an environment of its own.
Ours in float32, ours in bfloat16 and the peer train one epoch each in turns, so that a slow minute hits all. Timed are
whole epochs without validation, and the time from a stored table to the first batch, everything on one core; beside
the ratios of wall time stand those of processor time, which a busy machine changes less. The matrix products of a step
are also run alone: they are the same work for both sides, and bound the ratio that a processor can show. Quality is
compared over four seeds of each side on a quarter of the table: four epochs on rare ids leave a spread of .003 between
seeds of the same code, so one run against one run would say nothing. The mean of ours may not fall short by more than
.003, or nothing is written. Writes ``results/benchmarks/ctr_training.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
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
from products import Products
from turns import Turns

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


FULL = Size(rows=200_000, batch=4096, epochs=3, shrink=1)
SMOKE = Size(rows=10_000, batch=512, epochs=3, shrink=100)
Precision = Literal["float32", "bf16"]
# What quality is compared on: a quarter of the table and of its ids, four seeds of each side.
JUDGED = Size(rows=50_000, batch=2048, epochs=3, shrink=4)
SEEDS = 4
SHORTFALL = 0.003  # of the mean AUC


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


def trained(
    case: Case, spec: FeatureSpec, folder: Path, size: Size, peer: Peer, precisions: Sequence[Precision]
) -> list[dict[str, Any]]:
    """Train the peer and ours in each precision, epoch by epoch in turns, and return the rows of the result."""
    peer.call("build", model=case.name, settings=dict(case.settings), folder=str(folder), batch_size=size.batch)
    validation = RankTable.open(folder / "validation")
    judge = partial(auc_of, validation=validation)
    table, config = RankTable.open(folder / "train"), settings(size)
    products = {name: products_of(case, name, spec, table, size) for name in precisions if case.bf16 is not None}
    ours = {
        name: Turns(made(case, spec), RankSource(table, size.batch, seed=0), config.replace(precision=name), judge)
        for name in precisions
    }
    mine: dict[str, list[Timing]] = {name: [] for name in ours}
    theirs: list[Timing] = []
    for number in range(config.epochs):
        sides = [*ours, "peer"]
        for side in sides if number % 2 else reversed(sides):  # who starts changes every round
            if side == "peer":
                answer = peer.call("train_epoch")["value"]
                theirs.append(Timing(answer["seconds"], None, answer["cpu"]))
            else:
                mine[side].append(ours[side].turn())
    judged = peer.call("validate")["value"]
    rows = []
    for name, turns in ours.items():
        measured = Alternation(tuple(mine[name][1:]), tuple(theirs[1:]))
        facts = {"validation AUC": turns.end(), "peer validation AUC": judged["auc"]}
        facts |= {"parameters": judged["parameters"]}
        if name in products:
            facts |= products_facts(products[name], measured, steps=-(-size.train // size.batch))
        target = case.bf16 if name == "bf16" and case.bf16 is not None else case.float32
        rows.append(
            measure.row(
                f"{case.name}, {name}",
                measured,
                amount=size.train,
                unit="rows/s",
                peer_name=PEER,
                target=target,
                facts=facts,
            )
        )
    return rows


def auc_of(model: nn.Module, validation: RankTable) -> float:
    """Return the AUC on the validation part."""
    logits = np.concatenate([model(batch).float().numpy() for batch in iterate(validation, 8192)])
    return auc(logits, validation.labels)


def quality(
    case: Case, spec: FeatureSpec, folder: Path, size: Size, peer: Peer, precisions: Sequence[Precision], seeds: int
) -> dict[str, list[float]]:
    """Return the validation AUC of every seed, of the peer and of ours in each precision."""
    table, validation = RankTable.open(folder / "train"), RankTable.open(folder / "validation")
    found: dict[str, list[float]] = {name: [] for name in ("peer", *precisions)}
    for seed in range(seeds):
        shared = {"model": case.name, "settings": dict(case.settings), "folder": str(folder)}
        peer.call("build", **shared, batch_size=size.batch, seed=seed)
        for _ in range(size.epochs + 1):
            peer.call("train_epoch")
        found["peer"].append(peer.call("validate")["value"]["auc"])
        for name in precisions:
            model = made(case, spec, seed)
            fit(model, RankSource(table, size.batch, seed=seed), settings(size).replace(precision=name, seed=seed))
            with torch.inference_mode():
                found[name].append(auc_of(model.eval(), validation))
    return found


def quality_facts(found: Mapping[str, Sequence[float]], precision: Precision) -> dict[str, float]:
    """Return what a row says of the quality of both sides."""
    return {
        "mean AUC over seeds": statistics.fmean(found[precision]),
        "peer mean AUC over seeds": statistics.fmean(found["peer"]),
        "spread of the peer's seeds": statistics.stdev(found["peer"]) if len(found["peer"]) > 1 else math.nan,
    }


def made(case: Case, spec: FeatureSpec, seed: int = 0) -> nn.Module:
    """Return a fresh model of ours."""
    torch.manual_seed(seed)
    factory: Any = find("ranker", case.name).factory
    model: nn.Module = factory(spec, factory.Config(**case.settings))
    return model


def settings(size: Size) -> TrainConfig:
    """Return the peer's settings: Adam at 1e-3, clip at 10, L2 on the tables; one epoch to warm up."""
    return TrainConfig(
        epochs=size.epochs + 1, patience=100, learning_rate_decay=1.0, gradient_clip=10.0, embedding_l2=1e-5, seed=0
    )


def products_of(case: Case, precision: Precision, spec: FeatureSpec, table: RankTable, size: Size) -> Products:
    """Return the matrix products of one of our training steps."""
    model, batch = made(case, spec).train(), table.batch(slice(0, size.batch))
    with Products() as products, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss: Any = model.loss(batch)  # type: ignore[operator]
        loss.backward()
    return products


def products_facts(products: Products, measured: Alternation, steps: int) -> dict[str, float]:
    """Return how much of an epoch the products are, and the ratio that nothing but them would give."""
    seconds = products.seconds()
    cpu = [[timing.cpu_seconds or math.nan for timing in side] for side in (measured.ours, measured.peer)]
    mine, theirs = (statistics.median(side) for side in cpu)
    return {
        "matrix products, GFLOP per step": products.flops / 1e9,
        "matrix products alone, GFLOP/s": products.flops / 1e9 / seconds,
        "their share of our processor time": steps * seconds / mine,
        "cpu ratio if nothing else took time": theirs / (steps * seconds),
    }


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
    parser.add_argument(
        "--models", nargs="*", default=[case.name for case in CASES], help="the rows of the others stay as they are"
    )
    chosen = parser.parse_args()
    size = SMOKE if chosen.smoke else FULL
    python = peer_environment("fuxictr", [FUXICTR], first=[TORCH])
    one_core()
    folder = Path(tempfile.mkdtemp(prefix="palate-ctr-"))
    rows: list[dict[str, Any]] = []
    try:
        spec, best = generate(size, folder)
        judged, seeds = (SMOKE, 2) if chosen.smoke else (JUDGED, SEEDS)
        smaller = folder / "judged"
        smaller.mkdir()
        small_spec, small_best = generate(judged, smaller)
        with Peer(python, "ctr_training_peer.py") as peer:
            rows.append(first_batch(folder, size, peer))
            for case in (case for case in CASES if case.name in chosen.models):
                precisions: tuple[Precision, ...] = ("float32",) if case.bf16 is None else ("float32", "bf16")
                found = quality(case, small_spec, smaller, judged, peer, precisions, seeds)
                for name, row in zip(precisions, trained(case, spec, folder, size, peer, precisions), strict=True):
                    best_known = {"AUC of the true probabilities": best, "mean AUC, at best": small_best}
                    rows.append({**row, **quality_facts(found, name), **best_known})
                    print(json.dumps(rows[-1]), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out = Path(tempfile.mkdtemp(prefix="palate-ctr-smoke-")) if chosen.smoke else measure.RESULTS
    if not chosen.smoke:  # two seeds of a tiny table say nothing
        check_quality(rows)
    others = tuple(f"{case.name}," for case in CASES if case.name not in chosen.models)
    measure.write("ctr_training", [*rows, *measure.rows_written("ctr_training", others, folder=out)], folder=out)


def one_core() -> None:
    """Bind this process, and the peer's that it starts, to one core: the peer's loader works on a second otherwise."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def check_quality(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a comparison in which ours learns less than the peer, in any precision."""
    for row in rows:
        if "mean AUC over seeds" not in row:
            continue
        ours, theirs = row["mean AUC over seeds"], row["peer mean AUC over seeds"]
        if not ours >= theirs - SHORTFALL:
            raise SystemExit(f"{row['what']}: mean AUC {ours:.4f}, peer {theirs:.4f}. Nothing is written.")


if __name__ == "__main__":
    main()
