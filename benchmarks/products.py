"""The matrix products of one training step, run alone: how fast the step could be if nothing else took time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Products"]

Operand = tuple[torch.Size, torch.dtype, bool]


class Products(TorchDispatchMode):
    """Writes down every product of two matrices that runs inside.

    with Products() as products:
        model.loss(batch).backward()
    products.seconds()
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[Operand, Operand]] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.addmm.out):
            left, right = args[-2:]
            self.found[_described(left), _described(right)] += 1
        return function(*args, **(kwargs or {}))

    @property
    def flops(self) -> int:
        """Floating point operations of all products."""
        return sum(2 * count * left[0][0] * left[0][1] * right[0][1] for (left, right), count in self.found.items())

    def seconds(self, repeats: int = 3) -> float:
        """Return the processor time of all products on fresh matrices of the same shapes, types and layouts."""
        total = 0.0
        for (left, right), count in self.found.items():
            a, b = _made(left), _made(right)
            total += count * min(_time(lambda a=a, b=b: a @ b) for _ in range(repeats + 1))
        return total


def _described(matrix: Tensor) -> Operand:
    return matrix.shape, matrix.dtype, matrix.stride(0) < matrix.stride(1)


def _made(operand: Operand) -> Tensor:
    shape, dtype, transposed = operand
    return torch.randn(*shape[::-1]).to(dtype).t() if transposed else torch.randn(*shape).to(dtype)


def _time(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
