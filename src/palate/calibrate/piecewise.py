"""Piecewise-linear maps: where a position lies between knots, and the line that joins them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from palate.calibrate.contract import FloatArray

__all__ = ["between_knots", "mass_knots", "piecewise_linear"]


def mass_knots(position: FloatArray, weight: FloatArray, knots: int) -> FloatArray:
    """Return at most ``knots`` ascending knots with equal mass between them, from the lowest to the highest position.

    Knots that float32 cannot tell apart become one; there are always at least two.
    """
    order = np.argsort(position, kind="stable")
    mass = np.cumsum(weight[order])
    places = np.searchsorted(mass, np.linspace(0.0, 1.0, knots) * mass[-1] * (1.0 - 1e-12))
    found = np.unique(position[order][np.minimum(places, len(order) - 1)].astype(np.float32)).astype(np.float64)
    return found if len(found) > 1 else np.array([found[0] - 1.0, found[0] + 1.0])


def between_knots(position: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """Return the segment of each position (int64) and how far along it lies; outside, the fraction leaves [0, 1].

    Shapes:
        position: ``[N]``; knots: ascending ``[K]`` -> ``[N]``, ``[N]``.
    """
    segment = (position.unsqueeze(1) >= knots[1:-1]).sum(1)
    left, right = knots[segment], knots[segment + 1]
    return segment, (position - left) / (right - left)


def piecewise_linear(position: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the line through ``(knots, values)``; outside the knots the map goes on with slope 1.

    Shapes:
        position: ``[N]``; knots: ``[K]``; values: ``[N, K]`` (or ``[1, K]`` for all) -> ``[N]``.
    """
    inside = torch.minimum(torch.maximum(position, knots[0]), knots[-1])
    segment, fraction = between_knots(inside, knots)
    rows = values.expand(len(position), -1)
    at = segment.unsqueeze(1)
    low, high = rows.gather(1, at).squeeze(1), rows.gather(1, at + 1).squeeze(1)
    return low + fraction * (high - low) + (position - inside)
