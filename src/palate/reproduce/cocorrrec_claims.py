"""The claims of CoCorrRec, read off finished cells: what counts as reproduced was fixed before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from palate.evaluate import bootstrap_ratio, metrics_of_ranks, paired_bootstrap, paired_t
from palate.reproduce.claim_forms import claim
from palate.sequence.costs import gru_cost, sasrec_cost, self_correction_cost

__all__ = ["Results", "claims_of", "users_ndcg"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
# log -> row -> results, one for each seed
Results = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
WHERE = {"movielens": "On MovieLens", "beauty": "On Amazon Beauty", "drift": "On planted drift"}
_FLAT = 1.25  # a click after 1,000 others may take so much longer than one after 10


def claims_of(results: Results, device: Mapping[str, Mapping[str, Any]], tuned: Sequence[str]) -> list[dict[str, Any]]:
    """Return the claims with their values; a claim that does not hold says why.

    Args:
        results: Finished cells.
        device: What the device cells found, by ``lists``, ``privacy`` and ``clicks``.
        tuned: Names of the rows of self-attention among which the best counts.
    """
    found = []
    for log in results:
        found += _against_baselines(log, results[log], tuned)
    for log in results:
        found.append(_update_helps(log, results[log]))
        found.append(_update_at_test_helps(log, results[log]))
    found += _costs(device["clicks"])
    for log in results:
        found += _corrections(log, results[log])
    return [*found, _same_lists(device["lists"])]


def users_ndcg(cells: Sequence[Mapping[str, Any]], *, pooled: bool) -> FloatArray:
    """Return NDCG@10 for each user: the mean over seeds, or, where a seed draws its own users, all of them in a row."""
    rows = []
    for cell in cells:
        hits = cell["hits"]
        ndcg = np.zeros(hits["of"])
        if hits["users"]:
            ndcg[hits["users"]] = metrics_of_ranks(hits["ranks"], ["ndcg@10"])["ndcg@10"]
        rows.append(ndcg)
    return np.concatenate(rows) if pooled else np.asarray(np.mean(rows, axis=0))


def _pair(log: str, first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    return users_ndcg(first, pooled=log == "drift"), users_ndcg(second, pooled=log == "drift")


def _relative(first: FloatArray, second: FloatArray) -> tuple[float, list[float]]:
    """Return the gain of the first over the second relative to the second, with its interval over users.

    Without a hit of the second there is no such thing, and a gain of 0 stands for "nothing to compare with".
    """
    if not second.any():
        return 0.0, [0.0, 0.0]
    ends = bootstrap_ratio(first, second, seed=0)
    return float(first.sum() / second.sum() - 1.0), [ends.low - 1.0, ends.high - 1.0]


def _against_baselines(
    log: str, rows: Mapping[str, Sequence[Mapping[str, Any]]], tuned: Sequence[str]
) -> list[dict[str, Any]]:
    ours, gru = _pair(log, rows["SCN"], rows["GRU4Rec"])
    test = paired_bootstrap(ours, gru, seed=0, resamples=2000)
    ends = None if test.interval is None else [test.interval.low, test.interval.high]
    best = max((name for name in tuned if name in rows), key=lambda name: users_ndcg(rows[name], pooled=True).mean())
    share, around = _relative(*_pair(log, rows["SCN"], rows[best]))
    undamped = max(users_ndcg(rows[name], pooled=True).mean() for name in rows if name.startswith("transitions"))
    counted = f"Counted transitions reach {undamped:.4f}."
    return [
        claim(
            f"scn-at-least-gru4rec-{log}",
            f"{WHERE[log]} the mean NDCG@10 of the self-correction network (SCN) is at least GRU4Rec's.",
            test.difference,
            ">= 0",
            test.difference >= 0,
            f"SCN {ours.mean():.4f}, GRU4Rec {gru.mean():.4f}. {counted}",
            interval=ends,
        ),
        claim(
            f"scn-within-5-percent-of-self-attention-{log}",
            f"{WHERE[log]} the mean NDCG@10 of SCN is at most 5 % below that of the best tuned model with "
            f"self-attention ({best}).",
            share,
            ">= -0.05",
            share >= -0.05,
            f"SCN {ours.mean():.4f}, {best} {users_ndcg(rows[best], pooled=True).mean():.4f}. {counted}",
            interval=around,
        ),
    ]


def _update_helps(log: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    ours, without = _pair(log, rows["SCN"], rows["SCN, a = 0"])
    share, ends = _relative(ours, without)
    return claim(
        f"inner-update-helps-{log}",
        f"{WHERE[log]} SCN beats SCN without inner update (a = 0), tuned for itself, by more than 5 % in NDCG@10.",
        share,
        "> 0.05",
        share > 0.05,
        f"SCN {ours.mean():.4f}, without update {without.mean():.4f}.",
        interval=ends,
    )


def _update_at_test_helps(log: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    frozen = [cell["variants"]["frozen"] for cell in rows["SCN"]]
    ours, without = _pair(log, rows["SCN"], frozen)
    share, ends = _relative(ours, without)
    return claim(
        f"update-at-test-helps-{log}",
        f"{WHERE[log]} the same SCN ranks better with its inner update in service than with the update frozen there.",
        share,
        "> 0, 95 % interval above 0",
        ends[0] > 0,
        f"With update {ours.mean():.4f}, frozen {without.mean():.4f}.",
        interval=ends,
    )


def _costs(clicks: Mapping[str, Any]) -> list[dict[str, Any]]:
    ours, gru, sasrec = self_correction_cost(), gru_cost(), sasrec_cost(hidden_factor=1)
    transform = 2 * 64 * 64 + 2 * 64
    times = clicks["milliseconds"]
    first, last = (min(times["step"], key=int), max(times["step"], key=int))
    ratio, grown = (times[name][last] / times[name][first] for name in ("step", "SASRec"))
    return [
        claim(
            "fewer-parameters",
            "The layer on the device has fewer weights than GRU4Rec's and than one block of SASRec with 10 positions "
            "(width 64; T(E) is shipped as a table, so T itself stays in the cloud).",
            ours.parameters / min(gru.parameters, sasrec.parameters),
            "< 1",
            ours.parameters < min(gru.parameters, sasrec.parameters),
            f"{ours.parameters:,}, {gru.parameters:,} and {sasrec.parameters:,}.",
        ),
        claim(
            "fewer-parameters-with-target-transform",
            "The same with the weights of T counted, as a model is trained.",
            (ours.parameters + transform) / min(gru.parameters, sasrec.parameters),
            "< 1",
            ours.parameters + transform < min(gru.parameters, sasrec.parameters),
            f"{ours.parameters + transform:,}, {gru.parameters:,} and {sasrec.parameters:,}.",
        ),
        claim(
            "fewer-operations-per-click",
            "A click takes fewer floating-point operations than with GRU4Rec and than with one block of SASRec that "
            "keeps its keys and values (10 items, width 64).",
            ours.flops / min(gru.flops, sasrec.flops),
            "< 1",
            ours.flops < min(gru.flops, sasrec.flops),
            f"{ours.flops:,}, {gru.flops:,} and {sasrec.flops:,}.",
        ),
        claim(
            "click-time-is-flat",
            f"A click after {int(last):,} others takes as long as one after {int(first):,}, while SASRec's grows "
            f"(here x{grown:.1f}).",
            ratio,
            f"<= {_FLAT}, below SASRec's",
            ratio <= _FLAT and grown > ratio,
            f"The click grew x{ratio:.2f}, SASRec's x{grown:.2f}.",
        ),
    ]


def _corrections(log: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    ours, plain = _pair(log, rows["SCN + GCN"], rows["SCN"])
    test = paired_bootstrap(ours, plain, seed=0, resamples=2000)
    ends = None if test.interval is None else [test.interval.low, test.interval.high]
    silent = [cell["variants"]["no answer"] for cell in rows["SCN + GCN"]]
    alone = users_ndcg(silent, pooled=True).mean()
    gaps = [[cell["test loss"] - cell["train loss"] for cell in rows[name]] for name in ("SCN", "SCN + GCN")]
    narrower = paired_t(*gaps)
    around = None if narrower.interval is None else [narrower.interval.low, narrower.interval.high]
    over = float(np.mean(gaps[0])), float(np.mean(gaps[1]))
    return [
        claim(
            f"correction-helps-{log}",
            f"{WHERE[log]} the mean NDCG@10 of SCN with causal corrections is at least that of SCN alone.",
            test.difference,
            ">= 0",
            test.difference >= 0,
            f"With corrections {ours.mean():.4f}, alone {plain.mean():.4f}; the corrected model without any answer "
            f"{alone:.4f}.",
            interval=ends,
        ),
        claim(
            f"correction-lessens-over-fitting-{log}",
            f"{WHERE[log]} test loss minus training loss is smaller with corrections than without.",
            over[0] - over[1],
            "> 0",
            over[0] > over[1],
            f"Without {over[0]:.3f}, with {over[1]:.3f}.",
            interval=around,
        ),
    ]


def _same_lists(found: Mapping[str, Any]) -> dict[str, Any]:
    users, same = found.get("users", 0), found.get("same but for ties", 0)
    exact = f"; {found['same lists']:,} of them to the place" if found.get("same lists", same) < same else ""
    statement = f"The exported step (ONNX, with corrections) gives {users:,} users the eager model's top 10{exact}."
    why = found.get("missing") or f"{users - same} lists differ."
    return claim("exported-lists-are-equal", statement, float(same), f"= {users}", users > 0 and same == users, why)
