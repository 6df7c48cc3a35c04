"""Gauss scaling: a quadratic in the log-odds that never falls."""

from __future__ import annotations

from palate.calibrate.contract import FloatArray
from palate.calibrate.end_slopes import EndSlopes
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Gauss", "GaussConfig"]


class GaussConfig(ModelConfig):
    """Gauss scaling has nothing to set."""


@register("calibrator", "gauss", source="Kweon, Kang and Yu, AAAI 2022, personalized ranking models")
class Gauss(EndSlopes):
    """Gauss scaling: what follows when the scores of both classes are normal with different variances.

    ``p = sigmoid(a * z^2 + b * z + c)``, ``z = logit(s)``, with ``2 a z + b >= 0`` at both ends of the z range.

    One bend more than Platt scaling. Beyond the scores that were fitted the slope stays as it was at the end.

    Example:
        >>> Gauss().fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.3, 0.7]).shape
        (2,)
    """

    Config = GaussConfig

    def left_share(self, distance: FloatArray, length: float) -> FloatArray:
        """The slope of a quadratic is linear in z: ``INT_0^d (1 - t/L) dt = d - d^2 / 2L``."""
        return distance - distance**2 / (2.0 * length)
