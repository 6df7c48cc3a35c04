"""The claims of QNN-alpha, read off the finished table: what counts as reproduced was fixed before the run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from palate.evaluate import paired_t

__all__ = ["claims_of"]

ALPHA, ALPHA_BCE = "QNN-alpha, self-ensemble", "QNN-alpha, cross-entropy"
QUADRATIC = ("T9", "T9, ReLU after", "T19", ALPHA_BCE, ALPHA)
BASELINES = ("LR", "FM", "DNN 400 x 3", "DeepFM", "DCNv2", "FinalMLP")
STUDIED = tuple(f"T{number}" for number in range(9, 27))

SIGNED = (
    "Signed products of pairs are what a layer without activation represents directly; a gate that is never negative "
    "can only amplify a coordinate (inferred)."
)


def claims_of(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims with their values; a claim that does not hold says why.

    Args:
        table: Rows named ``planted: ...``, ``promotions: ...`` and ``sweep: ...``, with ``test AUC`` per seed.
    """
    scores: dict[str, list[float]] = {line["row"]: line["test AUC"]["per_seed"] for line in table}
    return [
        *_planted({name.removeprefix("planted: "): s for name, s in scores.items() if name.startswith("planted: ")}),
        _sweep({name.removeprefix("sweep: "): s[0] for name, s in scores.items() if name.startswith("sweep: ")}),
        *_promotions({n.removeprefix("promotions: "): s for n, s in scores.items() if n.startswith("promotions: ")}),
    ]


def _planted(scores: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    after = _difference(
        "post-activation-hurts",
        "On planted data T9 without an activation beats T9 with ReLU after the layer, in every seed.",
        scores["T9"],
        scores["T9, ReLU after"],
        target="> 0 in every seed",
    )
    after["holds"] = all(a > b for a, b in zip(scores["T9"], scores["T9, ReLU after"], strict=True))
    best = _best(scores, QUADRATIC)
    others = [name for name in scores if name != ALPHA]
    return [
        _said(after, "Seeds differ in which of the two is ahead."),
        _difference(
            "self-ensemble-loss-helps",
            "On planted data the self-ensemble loss beats cross-entropy for QNN-alpha.",
            scores[ALPHA],
            scores[ALPHA_BCE],
        ),
        _order(scores, best),
        _difference(
            "mid-activation-helps",
            "On planted data T19 (ReLU inside the product) beats T9.",
            scores["T19"],
            scores["T9"],
            why=SIGNED,
        ),
        _difference(
            "qnn-alpha-is-best",
            f"On planted data QNN-alpha beats the best other row ({_best(scores, others)}).",
            scores[ALPHA],
            scores[_best(scores, others)],
            why=SIGNED,
        ),
    ]


def _order(scores: Mapping[str, Sequence[float]], best: str) -> dict[str, Any]:
    """Best quadratic format > DNN of equal width > FM, in all seeds; the value is the smallest gap of any seed."""
    above = [a - b for a, b in zip(scores[best], scores["DNN of equal width"], strict=True)]
    below = [a - b for a, b in zip(scores["DNN of equal width"], scores["FM"], strict=True)]
    claim = {
        "name": "quadratic-beats-dnn-beats-fm",
        "statement": f"On planted data the best quadratic row ({best}) beats a DNN of equal width, and that beats FM.",
        "value": min(*above, *below),
        "interval": None,
        "target": "> 0 in every seed",
        "holds": min(*above, *below) > 0,
    }
    return _said(claim, f"Smallest gaps: {min(above):+.4f} over the DNN, {min(below):+.4f} of the DNN over FM.")


def _sweep(scores: Mapping[str, float]) -> dict[str, Any]:
    studied = [name for name in STUDIED if name in scores]
    better = [name for name in studied if scores[name] > scores[f"{name}, ReLU after"]]
    claim = {
        "name": "post-activation-hurts-most-formats",
        "statement": f"On planted data most of T9 to T26 ({len(studied)} here) do better without ReLU after the layer.",
        "value": float(len(better)),
        "interval": None,
        "target": f"> {len(studied) / 2:g}",
        "holds": len(better) > len(studied) / 2,
    }
    return _said(claim, "It helps: " + ", ".join(name for name in studied if name not in better) + ".")


def _promotions(scores: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    baseline = _best(scores, [name for name in BASELINES if name in scores])
    others = [name for name in scores if name != ALPHA]
    second = _best(scores, others)
    lead = statistics.fmean(scores[ALPHA]) - statistics.fmean(scores[second])
    best = {
        "name": "promotions-qnn-alpha-is-best",
        "statement": f"On the promotion table QNN-alpha has the best mean AUC of all rows (the next is {second}).",
        "value": lead,
        "interval": None,
        "target": "> 0",
        "holds": lead > 0,
    }
    return [
        _said(best, f"{second} has the higher mean."),
        _difference(
            "promotions-mid-activation-helps",
            "On the promotion table T19 (ReLU inside the product) beats T9.",
            scores["T19"],
            scores["T9"],
        ),
        _difference(
            "promotions-self-ensemble-loss-helps",
            "On the promotion table the self-ensemble loss beats cross-entropy for QNN-alpha.",
            scores[ALPHA],
            scores[ALPHA_BCE],
        ),
        _difference(
            "promotions-beats-best-baseline",
            f"On the promotion table QNN-alpha beats the best baseline ({baseline}).",
            scores[ALPHA],
            scores[baseline],
        ),
    ]


def _difference(
    name: str,
    statement: str,
    first: Sequence[float],
    second: Sequence[float],
    *,
    target: str = "> 0, 95 % interval above 0",
    why: str = "",
) -> dict[str, Any]:
    """Return the claim that ``first`` is above ``second``: mean difference over seeds with its paired interval."""
    test = paired_t(first, second)
    ends = None if test.interval is None else [test.interval.low, test.interval.high]
    claim = {
        "name": name,
        "statement": statement,
        "value": test.difference,
        "interval": ends,
        "target": target,
        "holds": ends is not None and ends[0] > 0,
    }
    wins = sum(a > b for a, b in zip(first, second, strict=True))
    return _said(
        claim, f"Ahead in {wins} of {len(first)} seeds by {test.difference:+.4f} AUC on average. {why}".strip()
    )


def _said(claim: dict[str, Any], why: str) -> dict[str, Any]:
    return claim if claim["holds"] else {**claim, "why": why}


def _best(scores: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    return max(names, key=lambda name: statistics.fmean(scores[name]))
