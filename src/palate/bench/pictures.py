"""Small pictures as inline SVG: intervals, reliability, the long tail. They need no script and no network.

Colours come from the page's style sheet (``var(--ink)``, ``var(--accent)``, ...), so the pictures follow its
light and dark look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "Bar",
    "Curve",
    "Panel",
    "interval_picture",
    "long_tail_picture",
    "panels_picture",
    "reliability_picture",
]


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of an interval picture: a value with its interval; ``chosen`` rows stand out."""

    label: str
    value: float
    low: float
    high: float
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """One reliability curve: mean prediction, observed rate and its interval, and rows per bin."""

    name: str
    predicted: Sequence[float]
    observed: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class Panel:
    """One small reliability picture among several."""

    title: str
    curves: Sequence[Curve]


def interval_picture(bars: Sequence[Bar], *, title: str, unit: str = "") -> str:
    """Draw values as dots with their 95 % intervals, best readable when sorted by the caller."""
    width, left, right, row = 640, 150, 70, 26
    values = [number for bar in bars for number in (bar.low, bar.high, bar.value) if math.isfinite(number)]
    if not values:
        return ""
    ticks = _ticks(min(values), max(values))
    lowest, highest = ticks[0], ticks[-1]
    height = row * len(bars) + 46

    def x(value: float) -> float:
        return left + (value - lowest) / ((highest - lowest) or 1.0) * (width - left - right)

    parts = [_open(width, height, title)]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="8" y2="{height - 34}"/>')
        parts.append(_text(x(tick), height - 18, _number(tick), "tick", "middle"))
    for place, bar in enumerate(bars):
        y = 8 + row * place + row / 2
        shade = "chosen" if bar.chosen else "plain"
        parts.append(_text(left - 12, y + 4, bar.label, f"label {shade}", "end"))
        parts.append(f'<line class="whisker {shade}" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot {shade}" cx="{x(bar.value):.1f}" cy="{y}" r="4.5"/>')
        parts.append(_text(width - right + 12, y + 4, f"{bar.value:.4f}{unit}", f"value {shade}", "start"))
    return "".join([*parts, "</svg>"])


def reliability_picture(curves: Sequence[Curve], *, title: str) -> str:
    """Draw observed rate against mean prediction; the diagonal is perfect calibration, whiskers are 95 %."""
    width, height, margin, plot = 460, 470, 52, 380
    parts = [_open(width, height, title)]

    def x(value: float) -> float:
        return margin + value * plot

    def y(value: float) -> float:
        return 14 + (1 - value) * plot

    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y(0)}" y2="{y(1)}"/>')
        parts.append(f'<line class="grid" x1="{x(0)}" x2="{x(1)}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(x(tick), y(0) + 18, f"{tick:.1f}", "tick", "middle"))
        parts.append(_text(x(0) - 8, y(tick) + 4, f"{tick:.1f}", "tick", "end"))
    parts.append(f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    parts.append(_text(x(0.5), y(0) + 40, "mean predicted probability", "tick", "middle"))
    across = _text(0, 0, "observed share", "tick", "middle")
    parts.append(f'<g transform="translate(14 {y(0.5):.1f}) rotate(-90)">{across}</g>')
    for place, curve in enumerate(curves):
        shade = "chosen" if place == len(curves) - 1 else "plain"
        parts += _curve_parts(curve, shade, x, y, radius=3.5)
        parts.append(f'<circle class="dot {shade}" cx="{x(0.05):.1f}" cy="{y(0.95) + 20 * place:.1f}" r="4"/>')
        parts.append(_text(x(0.05) + 10, y(0.95) + 20 * place + 4, curve.name, f"label {shade}", "start"))
    return "".join([*parts, "</svg>"])


def panels_picture(panels: Sequence[Panel], *, title: str) -> str:
    """Draw reliability curves side by side, all on one scale that ends at the highest rate that occurs."""
    if not panels:
        return ""
    across, plot, left, top = min(4, len(panels)), 150, 40, 30
    step_x, step_y = plot + 34, plot + 62
    reached = [max(max(c.predicted), max(c.high)) for panel in panels for c in panel.curves if len(c.predicted)]
    ticks = [tick for tick in _ticks(0.0, min(max(reached, default=1.0), 1.0), 4) if tick <= 1.0]
    highest = max(ticks[-1], *(min(value, 1.0) for value in reached))
    rows = math.ceil(len(panels) / across)
    parts = [_open(left + across * step_x, rows * step_y + 10, title)]
    for place, panel in enumerate(panels):
        x0, y0 = left + place % across * step_x, top + place // across * step_y

        def x(value: float, x0: float = x0) -> float:
            return x0 + value / highest * plot

        def y(value: float, y0: float = y0) -> float:
            return y0 + (1 - value / highest) * plot

        parts.append(_text(x0, y0 - 10, _shortened(panel.title, 26), "label plain", "start"))
        for tick in ticks:
            parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y0}" y2="{y0 + plot}"/>')
            parts.append(f'<line class="grid" x1="{x0}" x2="{x0 + plot}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
            parts.append(_text(x(tick), y0 + plot + 15, _number(tick), "tick", "middle"))
            if place % across == 0:
                parts.append(_text(x0 - 6, y(tick) + 4, _number(tick), "tick", "end"))
        parts.append(f'<line class="ideal" x1="{x0}" y1="{y0 + plot}" x2="{x0 + plot}" y2="{y0}"/>')
        for number, curve in enumerate(panel.curves):
            parts += _curve_parts(curve, "chosen" if number == len(panel.curves) - 1 else "plain", x, y, radius=2.5)
    return "".join([*parts, "</svg>"])


def long_tail_picture(counts: Iterable[int], *, title: str) -> str:
    """Draw the share of interactions that the most popular items hold: the more bent, the longer the tail."""
    ordered = sorted((int(count) for count in counts), reverse=True)
    total = sum(ordered)
    if not total:
        return ""
    width, height, margin, plot_width, plot_height = 460, 240, 52, 380, 170
    shares, running = [0.0], 0
    for count in ordered:
        running += count
        shares.append(running / total)
    step = max(len(shares) // 120, 1)
    places = [*range(0, len(shares), step), len(shares) - 1]

    def x(value: float) -> float:
        return margin + value * plot_width

    def y(value: float) -> float:
        return 12 + (1 - value) * plot_height

    line = " ".join(f"{x(place / (len(shares) - 1)):.1f},{y(shares[place]):.1f}" for place in places)
    parts = [_open(width, height, title)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line class="grid" x1="{x(0)}" x2="{x(1)}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(x(0) - 8, y(tick) + 4, f"{tick:.0%}", "tick", "end"))
        parts.append(_text(x(tick), y(0) + 18, f"{tick:.0%}", "tick", "middle"))
    parts.append(f'<polyline class="curve chosen" points="{line}"/>')
    parts.append(_text(x(0.5), y(0) + 38, "items, most popular first", "tick", "middle"))
    return "".join([*parts, "</svg>"])


def _curve_parts(
    curve: Curve, shade: str, x: Callable[[float], float], y: Callable[[float], float], *, radius: float
) -> list[str]:
    """Return a reliability curve with its whiskers and dots."""
    points = list(zip(curve.predicted, curve.observed, curve.low, curve.high, strict=True))
    line = " ".join(f"{x(p):.1f},{y(o):.1f}" for p, o, _, _ in points)
    parts = [f'<polyline class="curve {shade}" points="{line}"/>']
    for predicted, observed, low, high in points:
        parts.append(
            f'<line class="whisker {shade}" x1="{x(predicted):.1f}" x2="{x(predicted):.1f}"'
            f' y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        )
        parts.append(f'<circle class="dot {shade}" cx="{x(predicted):.1f}" cy="{y(observed):.1f}" r="{radius}"/>')
    return parts


def _shortened(words: str, most: int) -> str:
    """Return a title that fits; what is in brackets at its end stays."""
    if len(words) <= most:
        return words
    head, bracket, tail = words.rpartition(" (")
    return f"{head[: max(most - len(bracket + tail) - 1, 1)]}…{bracket}{tail}"


def _open(width: int, height: int, title: str) -> str:
    name = escape(title)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{name}" xmlns="http://www.w3.org/2000/svg"><title>{name}</title>'
    )


def _text(x: float, y: float, words: str, style: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") or "0"


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover ``low`` to ``high``."""
    span = max(high - low, 1e-6 * max(abs(high), 1.0))
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [place * step for place in range(first, last + 1)]
