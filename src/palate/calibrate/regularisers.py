"""The two extra terms of MCNet's loss: order across bins, and balance across the values of a field."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["FieldBalance", "order_violation"]


def order_violation(below: Tensor, above: Tensor) -> Tensor:
    """Return how far the map falls at the edges between bins, summed over edges and averaged over contexts.

    ``L_order = 1/|C| sum_c sum_k max(f_k(e_k, c) - f_{k+1}(e_k, c), 0)``

    Args:
        below: Probability on each edge from the bin below, ``[C, K - 1]``.
        above: The same from the bin above.

    Example:
        >>> below, above = torch.tensor([[0.10, 0.22, 0.20]]), torch.tensor([[0.12, 0.19, 0.25]])
        >>> round(order_violation(below, above).item(), 6)
        0.03
    """
    return (below - above).clamp(min=0).sum(1).mean() if below.numel() else below.new_zeros(())


class FieldBalance:
    """Are the values of a field equally well calibrated?

    ``e_z = sum_{i in z} w_i (p_i - y_i) / D_z``, ``L_balance = sqrt(Var_z(e_z) + 1e-12)``

    over the values with at least ``min_rows`` rows, each weighted by its rows. ``D_z`` is the number of rows
    (``absolute``) or of positives plus one (``relative``). Numerator and denominator are moving averages over the
    batches, so that the term follows the model's error and not the label noise of one batch; the gradient flows
    through the current batch only, so a batch counts for about a share ``1 - decay`` of it.

    Args:
        values: Number of ids of the field, the 0 included.
        mode: ``absolute`` or ``relative`` error.
        decay: Share of the past that is kept at each batch; 0 looks at the current batch alone.
        min_rows: Rows (as averaged) that a value needs to count.
    """

    def __init__(
        self,
        values: int,
        *,
        mode: Literal["absolute", "relative"] = "absolute",
        decay: float = 0.95,
        min_rows: float = 20.0,
    ) -> None:
        self.mode, self.decay, self.min_rows = mode, decay, min_rows
        self.error, self.rows, self.positives = (torch.zeros(values, dtype=torch.float64) for _ in range(3))
        self.eligible = 0

    def __call__(self, probabilities: Tensor, labels: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        """Return the term for one batch, and remember the batch.

        Shapes:
            all ``[B]``; ids int64. Fewer than two eligible values give 0.
        """
        dtype = probabilities.dtype
        error = self._moved(self.error, weight * (probabilities - labels), ids)
        rows = self._moved(self.rows, weight, ids)
        positives = self._moved(self.positives, weight * labels, ids)
        self.error, self.rows, self.positives = (part.detach().double() for part in (error, rows, positives))
        counted = rows >= self.min_rows
        self.eligible = int(counted.sum())
        if self.eligible < 2:
            return probabilities.new_zeros(())
        scale = rows if self.mode == "absolute" else positives + 1.0
        gap = error[counted] / scale[counted].to(dtype)
        share = (rows[counted] / rows[counted].sum()).to(dtype)
        centred = gap - (share * gap).sum()
        return torch.sqrt((share * centred**2).sum() + 1e-12)

    def _moved(self, past: Tensor, values: Tensor, ids: Tensor) -> Tensor:
        current = values.new_zeros(len(past)).scatter_add(0, ids, values)
        return self.decay * past.to(values.dtype) + current
