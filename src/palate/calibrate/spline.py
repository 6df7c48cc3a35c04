"""The rational quadratic that joins two points with given slopes and never falls."""

from __future__ import annotations

from torch import Tensor

__all__ = ["rational_quadratic"]


def rational_quadratic(fraction: Tensor, mean: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return how far the curve has risen at ``fraction`` of the way, for a stretch of length 1.

    ``g(x) = m (m x^2 + l x(1 - x)) / (m + (l + r - 2m) x(1 - x))``

    ``g(0) = 0``, ``g(1) = m``, ``g'(0) = l``, ``g'(1) = r``; for positive m, l, r it rises strictly, whatever their
    ratios, and it follows the integral of a smooth slope to fourth order.

    Args:
        fraction: x in [0, 1].
        mean: m, the mean slope over the stretch.
        left: l, the slope where it begins.
        right: r, the slope where it ends.

    Shapes:
        all broadcast against one another.

    Source:
        Gregory and Delbourgo (1982); Durkan et al. (2019) use it in flows.
    """
    mixed = fraction * (1.0 - fraction)
    return mean * (mean * fraction * fraction + left * mixed) / (mean + (left + right - 2.0 * mean) * mixed)
