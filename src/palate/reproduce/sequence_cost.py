"""What a next-item model costs: its weights beside the item table, and the work of reading a history."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from palate.sequence.neural import NeuralModel

__all__ = ["history_flops", "other_parameters"]


def history_flops(model: NeuralModel, length: int = 50) -> int:
    """Return the floating-point operations of the matrix products that turn a history into the user's state.

    Counted by torch as it runs, two per multiply-add; norms, activations and the scores of items are left out.
    Attention counts whole, also the half above the diagonal.
    """

    def attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    found: Any = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    items = torch.arange(length)[None] % model.num_items + 1
    training = model.training
    model.eval()
    with FlopCounterMode(display=False, custom_mapping=found) as counter:
        model.state(items, torch.tensor([length]))
    model.train(training)
    return int(counter.get_total_flops())


def other_parameters(model: NeuralModel) -> int:
    """Return the number of weights beside the item table."""
    return sum(weight.numel() for weight in model.parameters()) - model.item_embedding.weight.numel()
