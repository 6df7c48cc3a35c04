"""One request for one user: our ``recommend`` against scoring the whole catalogue row by row.

    OMP_NUM_THREADS=1 python benchmarks/request.py            # about two minutes
    OMP_NUM_THREADS=1 python benchmarks/request.py --smoke    # seconds, to see that it runs; writes nothing

A generated log of users, items with a list of tags, and times; the models get a user, an item, the item's tags and the
user's last twenty items. One request scores every item of the catalogue for one user and returns the ten best. The
other side does what a trainer's ``predict`` does, in two ways:

- *full gather*: the encoded catalogue is at hand as for ours, but every row looks up the history of the user by itself;
- *rows of the log*: user and item ids of every row go through ``score``.

Both sides must come to the same ten scores. How much is gained depends on how much of a request is matrix products:
nearly everything in a tower of three times 400 units. Writes
``results/benchmarks/request.json``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import measure
import palate
from palate.data.dataset import Dataset
from palate.data.rank_table import RankTable
from palate.rank_recommender import RankRecommender, logits_of

MODELS = (("lr", "tiny"), ("deepfm", "tiny"), ("deepfm", "small"), ("qnn-alpha", "small"))
CATALOGUES = (1_000, 10_000, 50_000)
TARGETS = {"full gather": 1.2, "rows of the log": 2.0}  # set before anything was measured


def generate(num_items: int, rows: int, seed: int = 0) -> Dataset:
    """Return a log in which every item occurs, popular ones more often."""
    rng = np.random.default_rng(seed)
    items = np.concatenate([np.arange(num_items), (num_items * rng.random(rows) ** 3).astype(int)])
    log = pl.DataFrame(
        {
            "user": rng.integers(0, 500, len(items)),
            "item": items,
            "time": 1_600_000_000 + np.arange(len(items)),
            "label": (rng.random(len(items)) < 0.4).astype(np.int8),
        }
    )
    tags = [[f"t{tag}" for tag in rng.integers(0, 40, 5)] for _ in range(num_items)]
    catalogue = pl.DataFrame({"item": np.arange(num_items), "tags": tags})
    return Dataset.from_tables(log, items=catalogue, time="time", label="label", lists=["tags"], name="generated")


def compare(ranker: RankRecommender, num_items: int, what: str, repeats: int) -> list[dict[str, Any]]:
    """Time both sides on the same user."""
    assert ranker.catalogue is not None
    now = int(time.time())
    frame = pl.DataFrame({"item": ranker.catalogue.ids}).with_columns(
        pl.lit(3).alias("user"), pl.lit(now, dtype=pl.Int64).alias("time")
    )

    def gathered() -> RankTable:
        table = ranker.candidates(user=3)
        return table.replace(sequences=tuple(np.ascontiguousarray(column) for column in table.sequences))

    def best(scores: np.ndarray) -> list[float]:
        return scores[np.argsort(-scores, kind="stable")[:10]].tolist()

    sides = {
        "full gather": lambda: best(logits_of(ranker.model, gathered())),
        "rows of the log": lambda: best(ranker.score(frame).scores),
    }
    rows = []
    for name, theirs in sides.items():
        measured = measure.alternate(
            lambda: [item.score for item in ranker.recommend(user=3, k=10, exclude_seen=False)], theirs, repeats=repeats
        )
        gap = float(np.abs(np.subtract(measured.ours[0].result, measured.peer[0].result)).max())
        if not gap < 1e-5:
            raise SystemExit(f"{what}: {measured.ours[0].result} against {measured.peer[0].result}.")
        milliseconds = [1000 * statistics.median(t.seconds for t in side) for side in (measured.ours, measured.peer)]
        rows.append(
            measure.row(
                f"request, {what}, {num_items:,} items",
                measured,
                amount=1,
                unit="requests/s",
                peer_name=name,
                target=TARGETS[name],
                facts={"ours, ms": milliseconds[0], "peer, ms": milliseconds[1], "largest difference": gap},
            )
        )
    return rows


def main() -> None:
    """Run all comparisons and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a small catalogue, to see that it runs; writes nothing")
    smoke = parser.parse_args().smoke
    rows = []
    for num_items in (200,) if smoke else CATALOGUES:
        data = generate(num_items, rows=1_000 if smoke else 20_000)
        for model, size in MODELS:
            ranker: Any = palate.fit(data, model, size=size, seed=0, training={"epochs": 1})
            rows += compare(ranker, num_items, f"{model} {size}", repeats=3 if smoke else 11)
    out = Path(tempfile.mkdtemp(prefix="palate-request-smoke-")) if smoke else measure.RESULTS
    measure.write("request", rows, folder=out)


if __name__ == "__main__":
    main()
