"""Clenshaw-Curtis quadrature: an integral as a weighted sum at cosine-spaced points, whole or panel by panel."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.errors import ConfigError

__all__ = ["clenshaw_curtis", "panel_rule"]


def clenshaw_curtis(intervals: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights on [-1, 1].

    ``INT_a^u f(t) dt  ~=  (u - a)/2 * sum_j w_j f(a + (u - a)(x_j + 1)/2)``

    with ``x_j = cos(j pi / n)`` and, for even n,
    ``w_j = c_j / n * (1 - sum_{k=1}^{n/2} b_k / (4k^2 - 1) cos(2 k j pi / n))``, ``c_j`` 1 at both ends and 2
    inside, ``b_k`` 1 for ``k = n/2`` and 2 otherwise. All weights are positive and add up to 2; polynomials up to
    degree n are integrated exactly.

    Args:
        intervals: Even ``n`` of at least 2; there are ``n + 1`` nodes.

    Raises:
        ConfigError: If ``intervals`` is odd or below 2.

    Example:
        >>> nodes, weights = clenshaw_curtis(4)
        >>> (weights * 15).round(9).tolist()
        [1.0, 8.0, 12.0, 8.0, 1.0]

    Source:
        Clenshaw and Curtis (1960); used for monotone networks by Wehenkel and Louppe (2019).
    """
    if intervals < 2 or intervals % 2:
        raise ConfigError(f"nodes = {intervals} is not valid: an even number of at least 2 is expected.")
    j = np.arange(intervals + 1)
    k = np.arange(1, intervals // 2 + 1)
    b = np.where(k == intervals // 2, 1.0, 2.0)
    c = np.where((j == 0) | (j == intervals), 1.0, 2.0)
    cosines = np.cos(2.0 * np.pi * np.outer(j, k) / intervals)
    weights = c / intervals * (1.0 - cosines @ (b / (4.0 * k**2 - 1.0)))
    return np.cos(j * np.pi / intervals), weights


def panel_rule(panels: int, intervals: int) -> tuple[FloatArray, FloatArray]:
    """Return ascending points on [0, 1] and the matrix that turns values there into the mean over each panel.

    ``mean_p = sum_j f(x_j) R[j, p]`` is the Clenshaw-Curtis rule inside ``[p/P, (p+1)/P]``; neighbouring panels share
    the point between them, so there are ``P n + 1`` points. Every entry of R is zero or positive and every column
    adds up to 1: means of a positive function are positive.

    Example:
        >>> points, rule = panel_rule(2, 2)
        >>> points.tolist(), (rule * 6).round(9).T.tolist()
        ([0.0, 0.25, 0.5, 0.75, 1.0], [[1.0, 4.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 4.0, 1.0]])
    """
    nodes, weights = clenshaw_curtis(intervals)
    unit = (nodes[::-1] + 1.0) / 2.0
    points = np.append(((np.arange(panels)[:, None] + unit[:-1]) / panels).ravel(), 1.0)
    rule = np.zeros((panels * intervals + 1, panels))
    for panel in range(panels):
        rule[panel * intervals : (panel + 1) * intervals + 1, panel] = weights[::-1] / 2.0
    return points, rule
