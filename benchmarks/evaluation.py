"""Metrics against scikit-learn, ranx and ir-measures: same rows, same lists, same numbers, in one run.

    python benchmarks/evaluation.py

takes about four minutes on two cores, most of them for ranx to build its own form of the lists, which is not timed.
Writes ``results/benchmarks/evaluation.json``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

import measure
from palate.evaluate import Relevance, auc, log_loss, metrics_of_lists
from peers import Peer, peer_environment

PEERS = ["ranx==0.3.21", "ir-measures==0.4.3", "numba==0.68.1", "numpy==2.4.6", "pytrec-eval-terrier==0.5.11"]


def clicks(rows: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels of a log with about 27 % clicks."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1.2, 1.0, rows)
    labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.int8)
    return (1.0 / (1.0 + np.exp(-logits - rng.normal(0.0, 0.5, rows)))).astype(dtype), labels


def against_scikit_learn(rows: int, dtype: type) -> dict[str, Any]:
    """Time AUC and log loss of the same rows on both sides."""
    from sklearn import metrics

    probabilities, labels = clicks(rows, dtype)
    measured = measure.alternate(
        lambda: (auc(probabilities, labels), log_loss(probabilities, labels)),
        lambda: (
            metrics.roc_auc_score(labels, probabilities),
            metrics.log_loss(labels, probabilities.astype(np.float64)),
        ),
    )
    gap = float(np.abs(np.subtract(measured.ours[0].result, measured.peer[0].result)).max())
    if not gap < 1e-12:
        raise SystemExit(f"The two sides differ by {gap}: {measured.ours[0].result} and {measured.peer[0].result}.")
    name = np.dtype(dtype).name
    return measure.row(
        f"AUC and log loss of {rows:,} rows, {name}",
        measured,
        amount=rows,
        unit="rows/s",
        peer_name=f"scikit-learn {sklearn.__version__}",
        target=2.0,
        facts={"largest difference": gap},
    )


def ranked_lists(users: int) -> tuple[np.ndarray, Relevance]:
    """Return ten ranked items per user out of 20,000, and 1 to 10 relevant ones that the lists find now and then."""
    rng = np.random.default_rng(1)
    pool = np.argsort(rng.random((users, 40)), axis=1) * 500 + rng.integers(1, 501, (users, 1))
    counts = rng.integers(1, 11, users)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    shuffled = rng.permuted(pool, axis=1)
    return pool[:, :10], Relevance(shuffled[np.arange(40) < counts[:, None]], offsets)


def against_list_metrics(users: int) -> list[dict[str, Any]]:
    """Time Recall@10 and NDCG@10 of the same lists; the peers get their own forms of the data ready made."""
    ranked, relevant = ranked_lists(users)
    python = peer_environment("evaluation", PEERS)
    rows = []
    with tempfile.TemporaryDirectory() as folder, Peer(python, "evaluation_peer.py") as peer:
        path = Path(folder) / "lists.npz"
        np.savez(path, ranked=ranked, items=relevant.items, offsets=relevant.offsets)
        threads = peer.call("load", path=str(path))["value"]
        for function, name in (("ranx", PEERS[0]), ("ir_measures", PEERS[1])):

            def theirs(function: str = function) -> measure.Timing:
                answer = peer.call(function)
                return measure.Timing(answer["seconds"], answer["value"])

            measured = measure.alternate(lambda: metrics_of_lists(ranked, relevant, ["recall@10", "ndcg@10"]), theirs)
            ours = {metric: float(values.mean()) for metric, values in measured.ours[0].result.items()}
            gap = max(abs(value - measured.peer[0].result[metric]) for metric, value in ours.items())
            if not gap < 1e-12:
                raise SystemExit(f"{function} differs by {gap}: {ours} and {measured.peer[0].result}.")
            rows.append(
                measure.row(
                    f"Recall@10 and NDCG@10 of {users:,} users",
                    measured,
                    amount=users,
                    unit="users/s",
                    peer_name=name.replace("==", " "),
                    target=3.0,
                    facts={"largest difference": gap, **(threads if function == "ranx" else {})},
                )
            )
    return rows


def main() -> None:
    """Run all comparisons and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the click log")
    parser.add_argument("--users", type=int, default=100_000, help="users with a ranked list")
    parser.add_argument("--folder", type=Path, default=measure.RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    rows = [against_scikit_learn(options.rows, dtype) for dtype in (np.float64, np.float32)]
    rows += against_list_metrics(options.users)
    measure.write("evaluation", rows, folder=options.folder)


if __name__ == "__main__":
    main()
