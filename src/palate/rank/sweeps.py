"""Row ranges small enough that several elementwise steps on them stay in the processor's cache."""

from __future__ import annotations

from torch import Tensor

__all__ = ["sweeps"]

_CHUNK = 1 << 17  # numbers per sweep: half a megabyte in float32


def sweeps(x: Tensor) -> list[slice]:
    """Cut the rows of a matrix into ranges of about 2^17 numbers (one range on an accelerator).

    Done tensor by tensor, elementwise work on a CPU costs as much as the matrix products beside it, because every step
    fetches everything from memory; done range by range, it is fetched once.

    Shapes:
        x: ``[B, n]``.

    Example:
        >>> import torch
        >>> sweeps(torch.empty(5, 1 << 16))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    step = max(1, _CHUNK // max(1, x.shape[1])) if x.device.type == "cpu" else max(1, len(x))
    return [slice(start, start + step) for start in range(0, len(x), step)]
