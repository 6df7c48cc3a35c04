"""The claims of MCNet on real scores, where nothing but labels tells: intervals are over users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from palate.reproduce.claim_forms import Table, claim, mean
from palate.reproduce.mcnet_plan import AWARE, FREE

__all__ = ["real_claims"]


def real_claims(table: str, rows: Table, compared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims on a real table.

    Args:
        table: Its name.
        rows: Rows of the reproduction by name.
        compared: Log loss above that of MCNet, by method, with intervals over users.
    """
    if f"{table}: MCNet" not in rows:
        return []
    ours = f"{table}: MCNet"
    losses = {line["method"]: line for line in compared if line["table"] == table}
    free = min((name for name in FREE if name != "none"), key=lambda name: mean(rows, f"{table}: {name}", "log loss"))
    aware = min(AWARE, key=lambda name: mean(rows, f"{table}: {name}", "log loss"))
    even = min(FREE, key=lambda name: mean(rows, f"{table}: {name}", "MF-RCE"))
    ratio = mean(rows, ours, "MF-RCE") / mean(rows, f"{table}: {even}", "MF-RCE")
    error, before = (mean(rows, name, "ECE") for name in (ours, f"{table}: none"))
    return [
        claim(
            f"{table}-lowers-calibration-error",
            "ECE of MCNet minus that of the scores as they are, on the test part.",
            error - before,
            "< 0",
            error < before,
            f"ECE {error:.4f} against {before:.4f}: the test part has drifted away from the calibration part.",
        ),
        claim(
            f"{table}-lowers-field-error",
            f"MF-RCE of MCNet over that of the best method without context ({even}).",
            ratio,
            "< 1",
            ratio < 1,
            f"MF-RCE {mean(rows, ours, 'MF-RCE'):.3f} against {mean(rows, f'{table}: {even}', 'MF-RCE'):.3f}: what the "
            "fields showed on the calibration part did not last, or was noise.",
        ),
        _lower(f"{table}-over-context-free", losses[free], "the best method without context"),
        _lower(f"{table}-over-context-aware", losses[aware], "the best other method with context"),
        _lower(f"{table}-over-platt-per-field", losses["platt-per-field"], "the simple rule"),
    ]


def _lower(name: str, line: Mapping[str, Any], what: str) -> dict[str, Any]:
    gap, ends = line["log loss above MCNet"], line["interval"]
    side = "a tie" if ends[1] >= 0 else "MCNet is worse"
    return claim(
        name,
        f"Log loss of {line['method']} ({what}) minus that of MCNet on the test part.",
        gap,
        "> 0, 95 % interval over users above 0",
        ends[0] > 0,
        f"Difference {gap:+.5f} over {line['users']:,} users, 95 % {ends[0]:+.5f} to {ends[1]:+.5f}: {side}.",
        interval=ends,
    )
