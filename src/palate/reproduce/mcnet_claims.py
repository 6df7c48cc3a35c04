"""The claims of MCNet, read off the finished table: what counts as reproduced was fixed before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palate.reproduce.claim_forms import Table, above, claim, mean, means, per_seed
from palate.reproduce.mcnet_plan import FREE, REAL
from palate.reproduce.mcnet_real_claims import real_claims

__all__ = ["claims_of"]


def claims_of(table: Sequence[Mapping[str, Any]], compared: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return the claims with their values; a claim that does not hold says why.

    Args:
        table: Rows by name with ``mean`` and ``per_seed`` of each metric.
        compared: Log loss of the methods above that of MCNet on the real tables, with intervals over users.
    """
    rows: Table = {line["row"]: line for line in table}
    planted = [*_expressive(rows), *_context(rows), *_order(rows), *_balance(rows), *_beyond(rows)]
    return [*planted, *(claim for name in REAL for claim in real_claims(name, rows, compared))]


def _expressive(rows: Table) -> list[dict[str, Any]]:
    ours, platt = mean(rows, "MCNet-None", "ECE"), mean(rows, "platt", "ECE")
    better = min(("isotonic", "sir"), key=lambda name: mean(rows, name, "ECE"))
    near = ours / mean(rows, better, "ECE")
    gap = max(
        abs(a - b)
        for a, b in zip(per_seed(rows, "MCNet-None", "AUC"), per_seed(rows, "MCNet-None", "base AUC"), strict=True)
    )
    strict = [name for name in rows if "strict" in name]
    broken = max(
        value for name in strict for part in ("new ties", "order changes") for value in per_seed(rows, name, part)
    )
    return [
        claim(
            "expressive-over-platt",
            "ECE of MCNet without context over that of Platt scaling, 100,000 rows.",
            ours / platt,
            "<= 0.6",
            ours / platt <= 0.6,
            f"ECE {ours:.4f} against {platt:.4f}; how far Platt is off depends on how curved the mixture of maps is.",
        ),
        claim(
            "expressive-as-isotonic",
            f"ECE of MCNet without context over the better of isotonic and SIR ({better}).",
            near,
            "<= 1.1",
            near <= 1.1,
            f"ECE {ours:.4f} against {mean(rows, better, 'ECE'):.4f}.",
        ),
        claim(
            "auc-of-the-base",
            "Largest difference of the AUC of MCNet without context to that of the base scores.",
            gap,
            "<= 0.0005",
            gap <= 5e-4,
            "The soft order term leaves drops at the edges of bins.",
        ),
        claim(
            "strictly-monotone",
            "Largest share of neighbouring scores of one context that strict MCNet ties or swaps, over all tables.",
            broken,
            "0",
            broken == 0,
            "The computed map fell somewhere: this is a defect.",
        ),
    ]


def _context(rows: Table) -> list[dict[str, Any]]:
    free = [name for name in FREE if name in rows]
    best = min(free, key=lambda name: mean(rows, name, "F-RCE"))
    ratio = mean(rows, "MCNet-Field", "F-RCE") / mean(rows, best, "F-RCE")
    sharpest = min(free, key=lambda name: mean(rows, name, "log loss"))
    return [
        claim(
            "context-lowers-field-error",
            f"F-RCE of MCNet-Field over the best method without context ({best}).",
            ratio,
            "<= 0.25",
            ratio <= 0.25,
            f"F-RCE {mean(rows, 'MCNet-Field', 'F-RCE'):.3f} against {mean(rows, best, 'F-RCE'):.3f}.",
        ),
        above(
            "context-lowers-log-loss",
            f"Log loss of the best method without context ({sharpest}) minus that of MCNet-Field.",
            rows,
            (sharpest, "MCNet-Field"),
            "log loss",
        ),
        above(
            "context-bends-the-map",
            "KL to the truth with the context in the offset only, minus that with the context in both parts.",
            rows,
            ("MCNet-Field, context in offset only", "MCNet-Field"),
            "KL to truth",
        ),
    ]


def _order(rows: Table) -> list[dict[str, Any]]:
    claims = []
    for prefix, label in (("", "100,000"), ("40k: ", "40,000")):
        soft = f"{prefix}MCNet-Field" if not prefix else f"{prefix}MCNet-Field, alpha 0.01"
        plain = f"{prefix}MCNet-Field, alpha 0"
        after, before = means(rows, (soft, plain), "edge violation")
        fall = 1.0 - after / before if before > 0 else 0.0
        size = label.replace(",", "")
        claims.append(
            claim(
                f"order-term-lowers-violation-{size}",
                f"Share of the edge violation that the order term (alpha 0.01) removes, {label} rows.",
                fall,
                "> 0.3",
                fall > 0.3,
                f"Violation {after:.4f} against {before:.4f}.",
            )
        )
        with_term, without_term = means(rows, (soft, plain), "log loss")
        cost = with_term - without_term
        claims.append(
            claim(
                f"order-term-costs-no-log-loss-{size}",
                f"Log loss with the order term minus without, {label} rows.",
                cost,
                "<= 0.0001",
                cost <= 1e-4,
                "The term pulls neighbouring bins together where the truth keeps them apart.",
            )
        )
    heavy, light = means(rows, ("MCNet-Field, alpha 1", "MCNet-Field"), "log loss")
    cost = heavy - light
    claims.append(
        claim(
            "a-large-order-weight-hurts",
            "Log loss with alpha 1 minus alpha 0.01, 100,000 rows.",
            cost,
            "> 0",
            cost > 0,
            "With this start and these averages the term is not the burden that it was found to be.",
        )
    )
    return claims


def _balance(rows: Table) -> list[dict[str, Any]]:
    balanced, plain = "MCNet-Field, beta 0.3", "MCNet-Field"
    cost = abs(mean(rows, balanced, "log loss") - mean(rows, plain, "log loss"))
    strong = mean(rows, plain, "spread") - mean(rows, "MCNet-Field, beta 1", "spread")
    fall = above(
        "balance-term-lowers-spread",
        "Spread of the calibration error over field values without the balance term minus with it (beta 0.3).",
        rows,
        (plain, balanced),
        "spread",
    )
    if not fall["holds"]:
        fall["why"] += (
            f" With beta 1 it changes by {strong:+.5f}. What is left after the main loss is mostly the noise of the "
            "calibration labels in rare values, which no term on those labels can see (inferred)."
        )
    return [
        fall,
        claim(
            "balance-term-keeps-log-loss",
            "Difference of log loss with and without the balance term (beta 0.3).",
            cost,
            "<= 0.001",
            cost <= 1e-3,
            "The term competes with the likelihood.",
        ),
    ]


def _beyond(rows: Table) -> list[dict[str, Any]]:
    kl = "KL to truth"
    ours, strict = "MCNet-Field", "MCNet-Field, strict"
    pairs = [
        ("network-over-platt-per-field", "platt-per-field", ours, "100,000 rows"),
        ("network-over-platt-per-field-40000", "40k: platt-per-field", "40k: MCNet-Field, alpha 0.01", "40,000 rows"),
        (
            "network-over-platt-per-field-hard",
            "hard: platt-per-field",
            f"hard: {ours}",
            "rarer values, more curved maps",
        ),
        ("network-over-platt-per-field-fields", "fields: platt-per-field", f"fields: {ours}", "three fields"),
        ("strict-over-platt-per-field", "platt-per-field", strict, "100,000 rows, chained bins"),
        (
            "strict-over-platt-per-field-40000",
            "40k: platt-per-field",
            "40k: MCNet-Field, strict",
            "40,000, chained bins",
        ),
        ("network-over-sbcr", "sbcr", ours, "100,000 rows"),
        ("network-over-sbcr-hard", "hard: sbcr", f"hard: {ours}", "rarer values, more curved maps"),
        ("network-over-sbcr-fields", "fields: sbcr", f"fields: {ours}", "three fields"),
        ("network-over-umc", "umc", ours, "100,000 rows"),
        ("network-over-adacalib", "adacalib", ours, "100,000 rows"),
    ]
    claims = [
        above(name, f"KL to the truth of {peer} minus that of {mine}: {where}.", rows, (peer, mine), kl)
        for name, peer, mine, where in pairs
    ]
    thinned = mean(rows, "thinned: MCNet-None", kl)
    within, without = means(rows, (f"fields: {ours}", "fields: MCNet-None"), "MF-RCE")
    several = within / without
    return [
        *claims,
        above(
            "chained-bins-help",
            "Log loss of MCNet-Field minus that with chained bins (strict, ours), 100,000 rows.",
            rows,
            (ours, strict),
            "log loss",
        ),
        claim(
            "several-fields-at-once",
            "MF-RCE over three fields of MCNet over that of MCNet without context.",
            several,
            "<= 0.25",
            several <= 0.25,
            "The fields share one network, and their pairs interact.",
        ),
        claim(
            "undoes-down-sampling",
            "KL to the truth of MCNet without context after negatives were thinned to a tenth.",
            thinned,
            "< 0.001",
            thinned < 1e-3,
            "With a known rate the exact correction needs no rows at all.",
        ),
    ]
