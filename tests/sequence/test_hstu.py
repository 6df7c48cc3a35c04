"""HSTU: one unit by hand, and scores by cosine."""

from __future__ import annotations

import torch

from palate.sequence.hstu import HSTU, HSTUConfig


def test_hstu_by_hand() -> None:
    """Without projections of query and key, attention is silu of the distance bias over the maximum length."""
    block = HSTU(3, HSTUConfig(embedding_size=2, num_heads=1, num_layers=1, max_length=4, dropout=0.0)).blocks[0]
    with torch.no_grad():
        block.inputs.weight.zero_()
        block.inputs.weight[2:4] = torch.eye(2)  # values
        block.inputs.bias.copy_(torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]))  # gates
        block.output.weight.copy_(torch.eye(2))
        block.distance_bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        x = torch.tensor([[[1.0, 3.0], [2.0, -2.0]]])
        silu = torch.nn.functional.silu
        value = silu(torch.nn.functional.layer_norm(x, (2,)))[0]
        first = silu(torch.tensor(1.0)) / 4 * value[0]
        second = silu(torch.tensor(2.0)) / 4 * value[0] + silu(torch.tensor(1.0)) / 4 * value[1]
        mixed = torch.nn.functional.layer_norm(torch.stack([first, second]), (2,))
        expected = x[0] + mixed * silu(torch.tensor(1.0))
        torch.testing.assert_close(block(x)[0], expected)


def test_hstu_with_a_temperature_scores_by_cosine() -> None:
    made = HSTU(9, HSTUConfig.sized("tiny", temperature=0.05)).eval()
    with torch.no_grad():
        scores = made.score(torch.tensor([[1, 2]]), torch.tensor([2]))[0, 1:]
    assert scores.abs().max() <= 20.0 + 1e-4
