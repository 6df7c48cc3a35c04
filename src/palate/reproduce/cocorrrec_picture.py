"""One picture of accuracy against cost: weights beside the item table, and the work of reading a history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["cost_picture"]

_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#4a4a4a}.grid{stroke:#9994;stroke-width:1}"
    ".whisker{stroke:#8889;stroke-width:2}.dot{fill:#777}.ours{fill:#e8590c}text.ours{font-weight:600}"
    ".variant{fill:none;stroke:#e8590c;stroke-width:1.5}.lead{stroke:#9998;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>"
)
_LEFT, _TOP, _WIDE, _HIGH, _GAP = 60, 40, 350, 330, 70
_LINE = 14  # between two names
_AXES = (("other parameters", "weights beside the item table"), ("history FLOPs", "FLOPs to read 50 items"))


def cost_picture(table: Sequence[Mapping[str, Any]], *, title: str, log: str = "movielens") -> str:
    """Draw NDCG@10 with its interval over users against both costs, as one SVG that stands for itself.

    Variants of the network (``SCN, m = 5``) are small rings that tell their name when pointed at.

    Args:
        table: Rows of the document; those of ``log`` with costs are drawn.
        title: What it shows.
        log: Which log.
    """
    rows = [row for row in table if row.get("log") == log and "history FLOPs" in row]
    width, height = _LEFT + 2 * _WIDE + _GAP + 20, _TOP + _HIGH + 60
    ends = [end for row in rows for end in row["ndcg@10"]["over users"]]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)

    def y(value: float) -> float:
        return _TOP + _HIGH * (high - value) / ((high - low) or 1.0)

    name = escape(title)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{name}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{name}</title>{_STYLE}',
        _text(_LEFT, 20, title, "title"),
    ]
    for step in range(5):
        value = low + (high - low) * step / 4
        for panel in range(2):
            start = _LEFT + panel * (_WIDE + _GAP)
            parts.append(f'<path class="grid" d="M{start} {y(value):.1f}h{_WIDE}"/>')
            parts.append(_text(start - 8, y(value) + 4, f"{value:.3f}", "tick", "end"))
    for panel, (cost, words) in enumerate(_AXES):
        parts += _panel(rows, cost, words, _LEFT + panel * (_WIDE + _GAP), y)
    if any(_variant(row) for row in rows):
        parts.append(_text(_LEFT + 2 * _WIDE + _GAP, 20, "rings: variants of SCN and SCN + GCN", "tick", "end"))
    return "".join([*parts, "</svg>\n"])


def _panel(
    rows: Sequence[Mapping[str, Any]], cost: str, words: str, start: int, y: Callable[[float], float]
) -> list[str]:
    logs = [math.log10(row[cost]) for row in rows]
    low, high = (min(logs) - 0.1, max(logs) + 0.25) if logs else (0.0, 1.0)

    def x(value: float) -> float:
        return start + _WIDE * (math.log10(value) - low) / (high - low)

    parts = [_text(start + _WIDE / 2, _TOP + _HIGH + 44, words, "tick", "middle")]
    for power in range(math.floor(low), math.ceil(high) + 1):
        for factor in (1, 2, 5):
            value = factor * 10.0**power
            if low <= math.log10(value) <= high:
                parts.append(f'<path class="grid" d="M{x(value):.1f} {_TOP}v{_HIGH}"/>')
                parts.append(_text(x(value), _TOP + _HIGH + 18, _short(value), "tick", "middle"))
    named = []
    for row in rows:
        at, metric = x(row[cost]), row["ndcg@10"]
        height, told = y(metric["mean"]), f"<title>{escape(row['model'])}: {metric['mean']:.4f}</title>"
        if _variant(row):
            parts.append(f'<circle class="variant" cx="{at:.1f}" cy="{height:.1f}" r="3">{told}</circle>')
            continue
        ours = "ours" if row["model"].startswith("SCN") else "plain"
        bottom, top = metric["over users"]
        parts.append(f'<path class="whisker" d="M{at:.1f} {y(bottom):.1f}V{y(top):.1f}"/>')
        parts.append(f'<circle class="dot {ours}" cx="{at:.1f}" cy="{height:.1f}" r="4">{told}</circle>')
        named.append((height, at, row["model"], ours))
    return parts + _labels(named, start + _WIDE)


def _labels(named: Sequence[tuple[float, float, str, str]], edge: float) -> list[str]:
    """Write names beside their points, moved down where they would lie on one another."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for height, at, name, style in sorted(named):
        width = 7.2 * len(name)
        side, anchor = (1, "start") if at + 14 + width < edge else (-1, "end")
        left = at + 10 if side > 0 else at - 10 - width
        place = height
        for above, first, last in sorted(taken):
            if abs(place - above) < _LINE and left < last and first < left + width:
                place = above + _LINE
        taken.append((place, left, left + width))
        if place != height:
            parts.append(f'<path class="lead" d="M{at:.1f} {height:.1f}L{at + side * 8:.1f} {place:.1f}"/>')
        parts.append(_text(at + side * 10, place + 4, name, style, anchor))
    return parts


def _variant(row: Mapping[str, Any]) -> bool:
    return str(row["model"]).startswith(("SCN, ", "SCN + GCN, "))


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _short(value: float) -> str:
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:g}{letter}"
    return f"{value:g}"
