"""How large embedding tables are updated: Adam on every row, Adam on the batch's rows, or row-wise Adagrad on them.

Choices made here, and why:

- A gradient comes as (ids, rows), never as a dense ``[V, D]`` tensor: allocating, filling and clearing that tensor
  costs more than the update itself.
- The L2 term is part of the gradient, so it enters the clipped norm and the moments, as in the published CTR runs; it
  never passes through autograd.
- ``lazy`` corrects the bias by the number of updates of the *table*, not of the row. Dense Adam does the same with a
  row whose gradient was zero so far; it needs no counter per row.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from palate.train.adam import EPSILON, adam
from palate.train.rows import RowGradient, put_rows, row_gradient

__all__ = ["DenseTableAdam", "LazyAdam", "RowwiseAdagrad", "TableUpdate"]

# Elements in one piece of a dense update: its gradient buffer stays in the cache, and the calls stay few.
PIECE = 1 << 20


class TableUpdate(ABC):
    """The update of one table ``E [V, D]``, in two moves: measure the gradient, then apply it, scaled by the clip.

    Args:
        name: Name of the parameter.
        weight: The table.
        l2: ``lambda`` of the term ``lambda / 2 * sum(E^2)``.
    """

    def __init__(self, name: str, weight: nn.Parameter, l2: float) -> None:
        self.name = name
        self.weight = weight
        self.l2 = l2
        self.updates = torch.zeros((), device=weight.device)

    @abstractmethod
    def measure(self) -> float:
        """Return the squared norm of the gradient, L2 term included; 0 when there is no gradient."""

    @abstractmethod
    def apply(self, learning_rate: float, scale: float) -> None:
        """Move the table along ``scale`` times the gradient that was measured."""

    @abstractmethod
    def moments(self) -> dict[str, Tensor]:
        """Return the tensors of the state, by name, themselves and not copies."""


class DenseTableAdam(TableUpdate):
    """Adam on all rows at every step, given a gradient by rows: the reference update at a fraction of its cost.

    With ``g`` zero outside the rows of the batch, and ``c`` the clip::

        |g + l2 E|^2 = |g|^2 + 2 l2 <g, E> + l2^2 |E|^2        (the middle term needs only the rows of the batch)
        Adam on c g + (c l2) E,  all rows, piece by piece

    A table that is also used outside its look-ups (tied to the output layer) has a dense gradient, which is then used
    as it is.

    Shapes:
        weight: ``[V, D]``; both moments ``[V, D]``.
    """

    def __init__(self, name: str, weight: nn.Parameter, l2: float) -> None:
        super().__init__(name, weight, l2)
        self.first = torch.zeros_like(weight, requires_grad=False)
        self.second = torch.zeros_like(weight, requires_grad=False)
        self._gradient: RowGradient | Tensor | None = None
        self._height = max(1, PIECE // max(1, weight.shape[1]))
        self._buffer = weight.new_zeros(min(self._height, weight.shape[0]), weight.shape[1], requires_grad=False)

    def measure(self) -> float:
        """Return ``|g + l2 E|^2``, for a gradient by rows without forming the sum."""
        if self.weight.grad is None:
            return 0.0
        if not self.weight.grad.is_sparse:
            self._gradient = self.weight.grad.add_(self.weight, alpha=self.l2) if self.l2 else self.weight.grad
            return squared_norm(self._gradient)
        ids, rows = self._gradient = row_gradient(self.weight.grad)
        total = squared_norm(rows)
        if self.l2:
            inner = float(torch.dot(rows.flatten(), self.weight.index_select(0, ids).flatten()))
            whole = math.fsum(squared_norm(self.weight[span]) for span in self._spans())
            exact = total + 2 * self.l2 * inner + self.l2**2 * whole
            # Rounding may leave a tiny negative where the terms cancel; NaN must stay NaN.
            total = 0.0 if exact < 0 else exact
        return total

    def apply(self, learning_rate: float, scale: float) -> None:
        """Update every row."""
        if self._gradient is None:
            return
        if isinstance(self._gradient, RowGradient):
            pieces, l2 = self._filled(self._gradient, scale), self.l2 * scale
        else:
            pieces, l2 = self._sliced(self._gradient, scale), 0.0
        for span, gradient in pieces:
            adam(
                [self.weight[span]],
                [gradient],
                [self.first[span]],
                [self.second[span]],
                [self.updates.clone()],
                learning_rate=learning_rate,
                l2=l2,
            )
        self.updates += 1
        self._gradient = None

    def moments(self) -> dict[str, Tensor]:
        """Return both moments, ``[V, D]`` each, and the count of updates."""
        return {
            f"first.{self.name}": self.first,
            f"second.{self.name}": self.second,
            f"updates.{self.name}": self.updates,
        }

    def _spans(self) -> list[slice]:
        height = self.weight.shape[0]
        return [slice(start, min(start + self._height, height)) for start in range(0, height, self._height)]

    def _sliced(self, gradient: Tensor, scale: float) -> Iterator[tuple[slice, Tensor]]:
        """Yield spans of the table with their part of a dense gradient."""
        if scale != 1.0:
            gradient.mul_(scale)
        for span in self._spans():
            yield span, gradient[span]

    def _filled(self, gradient: RowGradient, scale: float) -> Iterator[tuple[slice, Tensor]]:
        """Yield spans of the table with their dense gradient, which lives in one small buffer."""
        ids, rows = gradient.ids, gradient.rows if scale == 1.0 else gradient.rows * scale
        spans = self._spans()
        edges = torch.tensor([span.start for span in spans] + [self.weight.shape[0]], device=ids.device)
        cuts = torch.searchsorted(ids, edges).tolist()
        for span, low, high in zip(spans, cuts[:-1], cuts[1:], strict=True):
            inside = ids[low:high] - span.start
            put_rows(self._buffer, inside, rows[low:high])
            yield span, self._buffer[: span.stop - span.start]
            self._buffer.index_fill_(0, inside, 0)


class LazyAdam(TableUpdate):
    """Adam on the rows that the batch touched; the others rest, moments and all.

    ``g_u <- sum of the gradients of row u in the batch + l2 E_u``, then one Adam update of row ``u``. Equal to dense
    Adam when every id occurs in every batch. It differs otherwise: the moments of a resting row do not decay, and L2
    shrinks a row only when it is touched.

    Shapes:
        weight: ``[V, D]``; both moments ``[V, D]``.
    """

    def __init__(self, name: str, weight: nn.Parameter, l2: float) -> None:
        super().__init__(name, weight, l2)
        self.first = torch.zeros_like(weight, requires_grad=False)
        self.second = torch.zeros_like(weight, requires_grad=False)
        self._touched: tuple[RowGradient, Tensor] | None = None

    def measure(self) -> float:
        """Return the squared norm over the touched rows."""
        self._touched = touched_rows(self.weight, self.l2)
        return 0.0 if self._touched is None else squared_norm(self._touched[0].rows)

    def apply(self, learning_rate: float, scale: float) -> None:
        """Update the touched rows."""
        if self._touched is None:
            return
        (ids, rows), values = self._touched
        if ids.numel():
            first, second = self.first.index_select(0, ids), self.second.index_select(0, ids)
            gradient = rows if scale == 1.0 else rows.mul_(scale)
            adam([values], [gradient], [first], [second], [self.updates.clone()], learning_rate=learning_rate)
            put_rows(self.weight, ids, values)
            put_rows(self.first, ids, first)
            put_rows(self.second, ids, second)
        self.updates += 1
        self._touched = None

    def moments(self) -> dict[str, Tensor]:
        """Return both moments, ``[V, D]`` each, and the count of updates."""
        return {
            f"first.{self.name}": self.first,
            f"second.{self.name}": self.second,
            f"updates.{self.name}": self.updates,
        }


class RowwiseAdagrad(TableUpdate):
    """Adagrad with one accumulator per row, on the rows that the batch touched.

    ``a_u <- a_u + mean_j g_uj^2;  E_u <- E_u - rate * g_u / (sqrt(a_u) + eps)``

    The state is ``1 / (2 D)`` of Adam's. Its steps shrink as rows are seen, so it wants a larger rate than Adam, often
    0.01 to 0.1: see ``TrainConfig.table_learning_rate``.

    Shapes:
        weight: ``[V, D]``; accumulator ``[V]``.

    Source: the exact row-wise Adagrad of the DLRM systems (Mudigere et al., ISCA 2022).
    """

    def __init__(self, name: str, weight: nn.Parameter, l2: float) -> None:
        super().__init__(name, weight, l2)
        self.accumulator = weight.new_zeros(weight.shape[0], requires_grad=False)
        self._touched: tuple[RowGradient, Tensor] | None = None

    def measure(self) -> float:
        """Return the squared norm over the touched rows."""
        self._touched = touched_rows(self.weight, self.l2)
        return 0.0 if self._touched is None else squared_norm(self._touched[0].rows)

    def apply(self, learning_rate: float, scale: float) -> None:
        """Update the touched rows."""
        if self._touched is None:
            return
        (ids, rows), values = self._touched
        if ids.numel():
            gradient = rows if scale == 1.0 else rows.mul_(scale)
            sums = self.accumulator.index_select(0, ids).add_(gradient.square().mean(dim=1))
            self.accumulator.index_copy_(0, ids, sums)
            values.addcdiv_(gradient, sums.sqrt().add_(EPSILON).unsqueeze(1), value=-learning_rate)
            put_rows(self.weight, ids, values)
        self._touched = None

    def moments(self) -> dict[str, Tensor]:
        """Return the accumulator, ``[V]``."""
        return {f"accumulator.{self.name}": self.accumulator}


def touched_rows(weight: nn.Parameter, l2: float) -> tuple[RowGradient, Tensor] | None:
    """Return the gradient by rows with its L2 term, and a copy of these rows of the table."""
    if weight.grad is None:
        return None
    gradient = row_gradient(weight.grad)
    values = weight.index_select(0, gradient.ids)
    if l2:
        gradient.rows.add_(values, alpha=l2)
    return gradient, values


def squared_norm(tensor: Tensor) -> float:
    """Return the sum of squares as a Python float."""
    return float(torch.linalg.vector_norm(tensor)) ** 2
