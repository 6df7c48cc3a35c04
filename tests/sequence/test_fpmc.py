"""FPMC: the two parts of its score."""

from __future__ import annotations

import torch

from palate.sequence.fpmc import FPMC


def test_fpmc_is_taste_plus_last_item() -> None:
    made = FPMC(3).eval()
    with torch.no_grad():
        scores = made.score(torch.tensor([[1, 2]]), torch.tensor([2]))[0]
        taste = (made.taste_embedding.weight[1] + made.taste_embedding.weight[2]) / 2
        towards_user, towards_last = made.output_embedding.weight.chunk(2, 1)
        expected = towards_user @ taste + towards_last @ made.item_embedding.weight[2]
    torch.testing.assert_close(scores[1:], expected[1:])
