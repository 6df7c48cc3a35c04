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
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>"
)
_LEFT, _TOP, _WIDE, _HIGH, _GAP = 60, 40, 350, 330, 70
_AXES = (("other parameters", "weights beside the item table"), ("history FLOPs", "FLOPs to read 50 items"))


def cost_picture(table: Sequence[Mapping[str, Any]], *, title: str, log: str = "movielens") -> str:
    """Draw NDCG@10 with its interval over users against both costs, as one SVG that stands for itself.

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
    for row in rows:
        ours = "ours" if row["model"].startswith("SCN") else "plain"
        at, metric = x(row[cost]), row["ndcg@10"]
        bottom, top = metric["over users"]
        parts.append(f'<path class="whisker" d="M{at:.1f} {y(bottom):.1f}V{y(top):.1f}"/>')
        parts.append(f'<circle class="dot {ours}" cx="{at:.1f}" cy="{y(metric["mean"]):.1f}" r="4"/>')
        parts.append(_text(at + 7, y(metric["mean"]) + 4, row["model"], ours))
    return parts


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _short(value: float) -> str:
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:g}{letter}"
    return f"{value:g}"
