"""Noise on hidden states before they leave the device: always the same for the same state."""

from __future__ import annotations

import hashlib
import math
import secrets
from typing import Any

import numpy as np

from palate.errors import ConfigError

__all__ = ["UploadNoise"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


class UploadNoise:
    """Clip each row to a norm and add Gaussian noise that follows from the row and a secret of the device.

    Equation:
        x * min(1, clip / ||x||) + std * e(secret, x),  e ~ N(0, 1)

    A device sends the same items again and again. With fresh noise every time, the mean of many uploads would be the
    state itself; with noise that follows from the state there is nothing to average. The price: two uploads show that
    they hold the same item.

    Args:
        std: Standard deviation of the noise. States after the norm have a size of about one, so this is about in
            multiples of the signal; ``measure_upload_privacy`` tells what an attack recovers at each size.
        clip: Largest norm of a row, above 0.
        secret: 32 bytes that never leave the device; drawn when ``None``. Keep it over restarts: a new secret is a
            second look at the same states.

    Shapes:
        float32 ``[n, D]`` -> float32 ``[n, D]``.

    Raises:
        ConfigError: If a setting is out of range.

    Example:
        >>> noise = UploadNoise(2.0, clip=8.0)
        >>> states = np.ones((3, 64), np.float32)
        >>> bool((noise(states) == noise(states)).all())
        True
    """

    def __init__(self, std: float, *, clip: float, secret: bytes | None = None) -> None:
        if not (math.isfinite(std) and std >= 0 and math.isfinite(clip) and clip > 0):
            raise ConfigError(f"UploadNoise: std={std} and clip={clip}; std >= 0 and clip > 0 are expected.")
        if secret is not None and len(secret) != 32:
            raise ConfigError(f"UploadNoise: the secret has {len(secret)} bytes; 32 are expected.")
        self.std, self.clip = std, clip
        self._secret = secret or secrets.token_bytes(32)

    def __call__(self, hidden: FloatArray) -> FloatArray:
        """Return what is sent in place of ``hidden``."""
        norms = np.linalg.norm(hidden, axis=1, keepdims=True)
        clipped = hidden * np.minimum(1.0, self.clip / np.maximum(norms, 1e-12))
        drawn = np.array([self._draw(row) for row in np.ascontiguousarray(hidden, np.float32)], np.float32)
        return np.asarray(clipped + self.std * drawn.reshape(hidden.shape), np.float32)

    def _draw(self, row: FloatArray) -> Any:
        seed = hashlib.blake2b(row.tobytes(), key=self._secret, digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(seed, "little")).standard_normal(len(row), np.float32)
