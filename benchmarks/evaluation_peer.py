"""The peers' side of evaluation.py: ranx and ir-measures on the same ranked lists, prepared outside the clock."""

from __future__ import annotations

from typing import Any

from peers import serve

held: dict[str, Any] = {}


def load(path: str) -> dict[str, Any]:
    """Turn the arrays into what each peer wants to be given; this is not part of any timing."""
    import numba
    import numpy as np
    from ir_measures import R, nDCG, pytrec_eval
    from ranx import Qrels, Run

    arrays = np.load(path)
    ranked, items, offsets = (arrays[name] for name in ("ranked", "items", "offsets"))
    names, relevant = ranked.astype(str).tolist(), items.astype(str).tolist()
    scores = list(range(ranked.shape[1], 0, -1))
    qrels = {str(u): dict.fromkeys(relevant[offsets[u] : offsets[u + 1]], 1) for u in range(len(ranked))}
    run = {str(u): dict(zip(row, map(float, scores))) for u, row in enumerate(names)}  # noqa: B905
    held["ranx"] = Qrels(qrels), Run(run)
    held["measures"] = nDCG @ 10, R @ 10
    held["evaluator"] = pytrec_eval.evaluator(held["measures"], qrels)
    held["run"] = run
    return {"threads of numba": numba.get_num_threads()}


def ranx() -> dict[str, float]:
    """Return the means of both metrics by ranx."""
    from ranx import evaluate

    found = evaluate(*held["ranx"], ["recall@10", "ndcg@10"])
    return {name: float(value) for name, value in found.items()}


def ir_measures() -> dict[str, float]:
    """Return the means of both metrics by ir-measures."""
    found = held["evaluator"].calc_aggregate(held["run"])
    ndcg, recall = held["measures"]
    return {"recall@10": float(found[recall]), "ndcg@10": float(found[ndcg])}


if __name__ == "__main__":
    serve({"load": load, "ranx": ranx, "ir_measures": ir_measures})
