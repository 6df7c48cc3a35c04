"""Mamba4Rec: the scan by hand, and how the layer starts."""

from __future__ import annotations

import torch

from palate.sequence.mamba4rec import Mamba4Rec, Mamba4RecConfig, MambaLayer, selective_scan


def test_selective_scan_by_hand() -> None:
    x, delta = torch.tensor([[[2.0], [3.0]]]), torch.tensor([[[1.0], [0.5]]])
    write, read = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]), torch.tensor([[[1.0, 1.0], [1.0, 2.0]]])
    decay = torch.tensor([[-1.0, -2.0]])
    first = torch.tensor([2.0, 0.0])
    second = torch.exp(0.5 * decay[0]) * first + 1.5
    expected = torch.stack([first.sum(), second[0] + 2 * second[1]])
    torch.testing.assert_close(selective_scan(x, delta, decay, write, read).flatten(), expected)


def test_mamba_starts_with_published_step_sizes_and_decays() -> None:
    torch.manual_seed(0)
    made = Mamba4Rec(5, Mamba4RecConfig(embedding_size=32, state_size=4, num_layers=2))
    layer = made.blocks[0].mamba
    steps = torch.nn.functional.softplus(layer.delta.bias)
    assert 9e-4 < steps.min() < steps.max() < 0.101
    torch.testing.assert_close(layer.log_decay[0].exp(), torch.arange(1.0, 5.0))
    assert made.blocks[0].residual
    assert not Mamba4Rec(5, Mamba4RecConfig(num_layers=1)).blocks[0].residual


def test_mamba_parameters_are_near_the_published_count() -> None:
    layer = MambaLayer(64, 32, 4, 2)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 38_784  # "about 39 k" in the cost table
