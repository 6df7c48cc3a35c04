"""Weights in fewer bytes: they are widened where they are used, so that only the file and the memory shrink."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.device.item_rows import Precision, encode_rows
from palate.sequence.cocorrrec import CoCorrRec

__all__ = ["SmallLinear", "SmallRows", "with_small_weights"]


class SmallRows(nn.Module):
    """Item vectors in half or one-byte numbers.

    Equation:
        E[i] ~ scale_i rows_i   (without scales in half precision)

    Shapes:
        item int64 ``[B]`` -> float32 ``[B, D]``.

    Example:
        >>> SmallRows(torch.tensor([[0.0, 0.0], [1.0, -0.5]]), "float16")(torch.tensor([1]))
        tensor([[ 1.0000, -0.5000]])
    """

    rows: Tensor
    scales: Tensor | None

    def __init__(self, table: Tensor, precision: Precision) -> None:
        super().__init__()
        rows, scales = encode_rows(table.detach().float().cpu().numpy(), precision)
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("scales", None if scales is None else torch.from_numpy(scales))

    def forward(self, item: Tensor) -> Tensor:
        """Return the vectors of ``item``; only their rows are widened."""
        rows = self.rows[item].to(torch.float32)
        return rows if self.scales is None else rows * self.scales[item][:, None]


class SmallLinear(nn.Module):
    """A linear map without bias whose matrix has one byte a number and a scale for each output.

    Equation:
        y_o = scale_o sum_i rows_oi x_i

    Shapes:
        x ``[.., in]`` -> ``[.., out]``.
    """

    rows: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        rows, scales = encode_rows(layer.weight.detach().float().cpu().numpy(), "int8")
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("scales", torch.from_numpy(scales))

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return functional.linear(x, self.rows.to(torch.float32)) * self.scales


def with_small_weights(model: CoCorrRec, precision: Precision) -> CoCorrRec:
    """Return a copy of the model, in evaluation mode on the CPU, whose weights take fewer bytes.

    ``float16`` stores item vectors in half precision; ``int8`` stores them and the four matrices of the layer in one
    byte a number. Everything is computed in float32, and the state, whose small changes are what the device learns,
    is never quantised.
    """
    small = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    if precision != "float32":
        small.item_embedding = SmallRows(small.item_embedding.weight, precision)  # type: ignore[assignment]
    if precision == "int8":
        for name in ("query", "key", "value", "output"):
            setattr(small.scn.layer, name, SmallLinear(getattr(small.scn.layer, name)))
    return small
