"""LRURec: the parallel sums against the recurrence, and how the unit starts."""

from __future__ import annotations

import numpy as np
import torch

from palate.sequence.lrurec import LinearRecurrentUnit, LRURec, LRURecConfig, decayed_sums


def test_decayed_sums_equal_the_recurrence() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 13, 3, dtype=torch.complex128)
    decay = 0.9 * torch.exp(1j * torch.rand(3, dtype=torch.float64))
    state, expected = torch.zeros(2, 3, dtype=torch.complex128), []
    for t in range(13):
        state = decay * state + inputs[:, t]
        expected.append(state)
    torch.testing.assert_close(decayed_sums(inputs, decay), torch.stack(expected, 1))


def test_linear_recurrent_unit_starts_on_its_ring_and_keeps_variance() -> None:
    torch.manual_seed(0)
    unit = LinearRecurrentUnit(4, 500, 0.8, 0.99, 0.02)
    radius = unit.decay().abs()
    assert 0.8 <= radius.min() <= radius.max() <= 0.99
    torch.testing.assert_close(unit.log_gamma.exp().square(), 1 - radius.square(), atol=1e-5, rtol=1e-4)


def test_lrurec_reads_the_real_part() -> None:
    unit = LinearRecurrentUnit(1, 1, 0.8, 0.99, 0.02)
    with torch.no_grad():
        unit.nu.fill_(float(np.log(np.log(2.0))))  # |decay| = 1/2
        unit.theta.fill_(float(np.log(np.pi / 2)))  # a quarter turn
        unit.log_gamma.zero_()
        unit.inputs.weight.copy_(torch.tensor([[1.0], [0.0]]))
        unit.outputs.weight.copy_(torch.tensor([[1.0, 0.0]]))
        out = unit(torch.tensor([[[1.0], [0.0], [0.0], [0.0], [0.0]]]))
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 0.0, -0.25, 0.0, 0.0625]), atol=1e-6, rtol=0)


def test_lrurec_settings_reach_the_unit() -> None:
    made = LRURec(5, LRURecConfig(embedding_size=8, expand=3, num_layers=2))
    assert len(made.blocks) == 2
    assert made.blocks[0].unit.nu.shape == (24,)
