"""The global correction network: its start, its shapes, and the two recurrences that run as one."""

from __future__ import annotations

import math

import pytest
import torch

from palate.sequence.correction import Corrector, GlobalCorrectionNetwork


@pytest.mark.parametrize("size", [16, 64])
def test_the_joint_recurrence_is_both_recurrences(size: int) -> None:
    torch.manual_seed(0)
    network = GlobalCorrectionNetwork(size, 4, 3)
    hidden = torch.randn(2, 7, size)
    attention, bias = network.summaries(hidden)
    torch.testing.assert_close(attention, network.attention.summaries(hidden), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(bias, network.bias.summaries(hidden), atol=1e-6, rtol=1e-5)


def test_gradients_of_the_joint_recurrence() -> None:
    torch.manual_seed(0)
    network = GlobalCorrectionNetwork(8, 2, 3)
    hidden = torch.randn(2, 5, 8)
    joint, apart = [], []
    for found, states in (
        (joint, network.summaries(hidden)),
        (apart, (network.attention.summaries(hidden), network.bias.summaries(hidden))),
    ):
        network.zero_grad()
        (states[0].square().sum() + states[1].sum()).backward()
        found += [parameter.grad for parameter in (*network.attention.gru.parameters(), *network.bias.gru.parameters())]
    for ours, theirs in zip(joint, apart, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_summary_knows_its_prefix_only() -> None:
    network = GlobalCorrectionNetwork(8, 2, 3)
    hidden = torch.randn(1, 6, 8)
    later = hidden.clone()
    later[:, 4:] += 1.0
    for before, after in zip(network.summaries(hidden), network.summaries(later), strict=True):
        assert torch.equal(before[:, :4], after[:, :4])
        assert not torch.equal(before[:, 4:], after[:, 4:])


def test_corrections_have_a_row_per_token_of_a_mini_batch() -> None:
    network = GlobalCorrectionNetwork(16, 2, 5)
    attention, bias = network(torch.randn(3, 64), torch.randn(3, 64))
    assert attention.shape == (3, 2, 5, 5)
    assert bias.shape == (3, 2, 5, 8)


def test_layers_start_from_the_published_bounds_and_have_no_biases() -> None:
    torch.manual_seed(0)
    corrector = Corrector(8, 400)
    bound = math.sqrt(6.0 / (1 + 4) / 64)  # Kaiming-uniform with a slope of 2
    for layer in (corrector.first, corrector.second, corrector.third):
        assert layer.bias is None
        assert 0.95 * bound < layer.weight.abs().max() <= bound


def test_one_path_by_hand() -> None:
    corrector = Corrector(2, 1)
    with torch.no_grad():
        for layer in (corrector.first, corrector.second, corrector.third):
            layer.weight.zero_()
            layer.weight[0, 0] = -1.0
        summary = torch.zeros(1, 64)
        summary[0, 0] = 2.0
        # -2, leaky -0.02, second layer +0.02, leaky +0.02, third layer -0.02
        assert corrector(summary).item() == pytest.approx(-0.02)
