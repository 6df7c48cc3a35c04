"""One click on the device: a pure function from (item, state) to (user vector, state), ready for export.

Everything passes through the signature, nothing is branched on, and the inner gradient is a formula, so the same
module runs in PyTorch, ONNX Runtime and ExecuTorch. The initial state is shipped beside it
(:meth:`palate.sequence.cocorrrec.CoCorrRec.initial_state`).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.ttt import InnerState
from palate.sequence.ttt_layer import Correction

__all__ = ["CorrectedDeviceStep", "CorrectedState", "DeviceStep"]


class DeviceStep(nn.Module):
    """A click without the cloud.

    Shapes:
        item int64 ``[B]``; weight, weight_sum ``[B, h, d, d]``; bias, bias_sum ``[B, h, 1, d]``; position int64
        ``[B]`` -> user ``[B, D]`` and the new weight, bias, weight_sum, bias_sum, position.

    Example:
        >>> import torch
        >>> model = CoCorrRec(50).eval()
        >>> user, *state = DeviceStep(model)(torch.tensor([7]), *model.initial_state())
        >>> user.shape, state[-1]
        (torch.Size([1, 32]), tensor([1]))
    """

    def __init__(self, model: CoCorrRec) -> None:
        super().__init__()
        self.item_embedding = model.item_embedding
        self.scn = model.scn

    def forward(
        self, item: Tensor, weight: Tensor, bias: Tensor, weight_sum: Tensor, bias_sum: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the user vector after the click and the new state."""
        hidden = self.scn.norm(self.item_embedding(item))
        out, state = self.scn.linear.step(hidden, InnerState(weight, bias, weight_sum, bias_sum, position))
        return (self.scn.finish(hidden, out), *state)


class CorrectedState(NamedTuple):
    """The state of a device that applies corrections: also the keys and updates of the mini-batch so far.

    Shapes:
        weight .. position as in :class:`~palate.sequence.ttt.InnerState`; keys, updates ``[B, h, m, d]``.
    """

    weight: Tensor
    bias: Tensor
    weight_sum: Tensor
    bias_sum: Tensor
    position: Tensor
    keys: Tensor
    updates: Tensor

    @classmethod
    def initial(cls, model: CoCorrRec, batch: int = 1) -> CorrectedState:
        """Return the state before the first item."""
        state = model.initial_state(batch)
        layer = model.scn.linear
        shape = (batch, layer.num_heads, layer.mini_batch_size, layer.width)
        return cls(*state, state.weight.new_zeros(shape), state.weight.new_zeros(shape))


class CorrectedDeviceStep(nn.Module):
    """A click with the last answer of the cloud; weights of 0 give exactly the click without it.

    Shapes:
        item int64 ``[B]``; the seven parts of :class:`CorrectedState`; attention ``[B, h, m, m]``,
        bias_correction ``[B, h, m, d]``, attention_weight and bias_weight scalars -> user ``[B, D]`` and the seven
        parts of the new state.
    """

    def __init__(self, model: CoCorrRec) -> None:
        super().__init__()
        self.item_embedding = model.item_embedding
        self.scn = model.scn

    def forward(
        self,
        item: Tensor,
        weight: Tensor,
        bias: Tensor,
        weight_sum: Tensor,
        bias_sum: Tensor,
        position: Tensor,
        keys: Tensor,
        updates: Tensor,
        attention: Tensor,
        bias_correction: Tensor,
        attention_weight: Tensor,
        bias_weight: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the user vector after the click and the new state."""
        hidden = self.scn.norm(self.item_embedding(item))
        out, state, keys, updates = self.scn.linear.corrected_step(
            hidden,
            InnerState(weight, bias, weight_sum, bias_sum, position),
            keys,
            updates,
            Correction(attention, bias_correction, attention_weight, bias_weight),
        )
        return (self.scn.finish(hidden, out), *state, keys, updates)
