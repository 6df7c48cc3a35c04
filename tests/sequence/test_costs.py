"""The cost formulas against counted parameters and counted operations."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from palate.sequence.blocks import TransformerBlock
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.costs import gru_cost, sasrec_cost, self_correction_cost
from palate.sequence.device_step import DeviceStep


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("size", "heads", "m"), [(64, 4, 10), (32, 2, 5), (48, 4, 1)])
def test_self_correction_against_the_model(size: int, heads: int, m: int) -> None:
    config = CoCorrRecConfig(embedding_size=size, num_heads=heads, mini_batch_size=m, mode="base")
    model, cost = CoCorrRec(5, config), self_correction_cost(size, heads, m)
    assert cost.parameters == count(model.scn)
    state = model.initial_state()
    assert cost.state == sum(part.numel() for part in state[:4])
    with FlopCounterMode(display=False) as counter:
        DeviceStep(model)(torch.tensor([1]), *state)
    # Products are counted; 4 D d of the formula are updates of the state, coordinate by coordinate.
    assert counter.get_total_flops() == cost.flops - 4 * size * (size // heads)


def test_the_published_table() -> None:
    assert self_correction_cost().flops == pytest.approx(43_500, rel=0.01)
    assert gru_cost() == (count(torch.nn.GRU(64, 64)), 49_792, 64)
    block = TransformerBlock(64, 4, 256, 0.0, 0.0)
    assert sasrec_cost(length=10).parameters == count(block) + 640
    assert count(block) == 49_984
    assert sasrec_cost(length=10).flops == pytest.approx(101_000, rel=0.01)
    assert sasrec_cost(length=50, cached=False).flops == pytest.approx(5_600_000, rel=0.1)
    assert sasrec_cost(length=100).state * 4 == pytest.approx(51_000, rel=0.01)


def test_only_attention_grows_with_the_history() -> None:
    assert sasrec_cost(length=1000).state == 100 * sasrec_cost(length=10).state
    assert sasrec_cost(length=1000).flops > 3 * sasrec_cost(length=10).flops
