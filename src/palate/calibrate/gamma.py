"""Gamma scaling: a logarithm and a line in the log-odds that never fall."""

from __future__ import annotations

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.end_slopes import EndSlopes
from palate.config import ModelConfig
from palate.registry import register

__all__ = ["Gamma", "GammaConfig"]


class GammaConfig(ModelConfig):
    """Gamma scaling has nothing to set."""


@register("calibrator", "gamma", source="Kweon, Kang and Yu, AAAI 2022, personalized ranking models")
class Gamma(EndSlopes):
    """Gamma scaling: what follows when the shifted scores of both classes are gamma distributed.

    ``p = sigmoid(a * log(t) + b * t + c)``, ``t = z - z_min + 1``, with ``a / t + b >= 0`` on the range of t.

    Bends near the lowest scores and straightens after. Beyond the scores that were fitted the slope stays.

    Example:
        >>> Gamma().fit([0.2, 0.3, 0.6, 0.8], [0, 1, 0, 1]).predict([0.3, 0.7]).shape
        (2,)
    """

    Config = GammaConfig

    def left_share(self, distance: FloatArray, length: float) -> FloatArray:
        """The slope is linear in ``1 / t``: with ``T = 1 + L``, ``INT w = (ln t - d / T) / (1 - 1 / T)``."""
        last = 1.0 + length
        return np.asarray((np.log1p(distance) - distance / last) / (1.0 - 1.0 / last))
