"""A stack of layers that can run twice under different masks and share what the masks do not touch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["Layer", "Trunk", "counting_twice"]

_JOINED = 1 << 20  # numbers up to which two passes run as one batch


class Layer(nn.Module, ABC):
    """A layer that says where its noise begins: ``prepare`` has none, ``finish`` draws the masks.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.
    """

    @abstractmethod
    def prepare(self, x: Tensor) -> Tensor:
        """Return what two passes over the same ``x`` have in common."""

    @abstractmethod
    def finish(self, x: Tensor, prepared: Tensor) -> Tensor:
        """Return the layer's output, with fresh masks in training."""

    def finish_twice(self, x: Tensor, prepared: Tensor) -> Tensor:
        """Return two outputs under independent masks, ``[2 B, d]``."""
        return torch.cat([self.finish(x, prepared), self.finish(x, prepared)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output ``[B, d]``."""
        return self.finish(x, self.prepare(x))


class Trunk(nn.Module):
    r"""Layers of equal width, one after another: ``x_{l+1} = Q_l(x_l)``.

    Args:
        layers: At least one.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.
        twice: ``[B, d]`` -> two times ``[B, d]``.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        later = self.layers[1:]
        self._can_join = not any(isinstance(part, nn.BatchNorm1d) for layer in later for part in layer.modules())

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of one pass."""
        for layer in self.layers:
            x = layer(x)
        return x

    def twice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return two passes that differ in their masks only; the same function as calling the trunk twice.

        The first layer sees the same input in both passes, so its part before the masks is computed once. The later
        layers take both passes as one batch of ``2 B`` rows, unless one of them holds a BatchNorm, whose statistics
        must stay apart, or the batch is large: then there is nothing to save, and smaller buffers are reused.
        """
        first, *later = (cast(Layer, layer) for layer in self.layers)
        with counting_twice(first):
            both = first.finish_twice(x, first.prepare(x))
        if self._can_join and both.numel() <= _JOINED:
            for layer in later:
                both = layer(both)
            one, two = both.chunk(2)
        else:
            one, two = both.chunk(2)
            for layer in later:
                one, two = layer(one), layer(two)
        return one, two


@contextmanager
def counting_twice(module: nn.Module) -> Iterator[None]:
    """Let one call update the running statistics of every BatchNorm as two calls on the same batch would.

    Two updates with momentum ``m`` leave a share ``(1 - m)^2`` of the old value: one update with momentum
    ``1 - (1 - m)^2``.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d) and part.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        if norm.momentum is not None:
            norm.momentum = 1.0 - (1.0 - norm.momentum) ** 2
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
