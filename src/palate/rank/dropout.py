"""Dropout whose masks cost little: 16 random bits per number, drawn in bulk.

torch draws one Bernoulli variable at a time from a serial generator; on a CPU that is slower than the matrix
product beside it. Here a vector generator, seeded from torch's own at every draw, fills an int16 tensor, and a number
is kept where its bits reach a threshold. The drop rate is therefore a multiple of 2^-16, and the kept numbers are
scaled by that exact rate, so that expectations are exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from palate.errors import ConfigError

__all__ = ["Dropout", "random_bits"]

_LEVELS = 1 << 16
_LOWEST = -(1 << 15)


def random_bits(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return int16 ``[rows, columns]``, uniform over all 65,536 values; torch's seed fixes them.

    Example:
        >>> random_bits(2, 3, torch.device("cpu")).dtype
        torch.int16
    """
    if device.type != "cpu":
        return torch.randint(_LOWEST, -_LOWEST, (rows, columns), dtype=torch.int16, device=device)
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()))
    generator = np.random.Generator(np.random.SFC64(seed))
    words = generator.integers(0, 1 << 64, size=-(-rows * columns // 4), dtype=np.uint64)
    return torch.from_numpy(words.view(np.int16))[: rows * columns].view(rows, columns)


class Dropout(nn.Module):
    r"""Zero a share ``p`` of the numbers in training and scale the others; the identity in evaluation.

    .. math:: y_i = \frac{m_i}{1 - p}\, x_i, \qquad m_i \sim \mathrm{Bernoulli}(1 - p)

    Args:
        p: Share that is zeroed, in [0, 1); rounded to a multiple of 2^-16.

    Shapes:
        forward: ``[B, n]`` -> ``[B, n]``.

    Raises:
        ConfigError: If ``p`` is out of range.

    Example:
        >>> Dropout(0.1).eval()(torch.ones(1, 3))
        tensor([[1., 1., 1.]])

    Source:
        Srivastava et al., "Dropout", JMLR 2014.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ConfigError(f"dropout is {p}.", remedy="It must be at least 0 and below 1.")
        self.p = p
        dropped = min(round(p * _LEVELS), _LEVELS - 1)
        self.threshold = _LOWEST + dropped
        self.scale = _LEVELS / (_LEVELS - dropped)

    @property
    def active(self) -> bool:
        """Whether a call would drop anything now."""
        return self.training and self.p > 0.0

    def draw(self, x: Tensor) -> Tensor:
        """Return the bits of one mask for ``x`` ``[B, n]``: a number is kept where they reach ``threshold``."""
        return random_bits(x.shape[0], x.shape[1], x.device)

    def mask(self, bits: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the mask that ``bits`` stand for: 1 where a number is kept, else 0."""
        # Comparing straight into numbers skips the slow way from booleans to floats.
        return torch.ge(bits, self.threshold, out=torch.empty(bits.shape, dtype=dtype, device=bits.device))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with a fresh mask applied."""
        if not self.active:
            return x
        return x * self.mask(self.draw(x), x.dtype).mul_(self.scale)

    def extra_repr(self) -> str:
        """Return the rate shown by ``repr``."""
        return f"p={self.p}"
