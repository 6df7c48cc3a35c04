"""Caser: both convolutions and the taste by hand."""

from __future__ import annotations

import torch

from palate.sequence.caser import Caser, CaserConfig


def test_caser_by_hand() -> None:
    made = Caser(3, CaserConfig(embedding_size=1, window=2, horizontal_filters=1, vertical_filters=1)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.item_embedding.weight[1:, 0] = torch.tensor([1.0, -2.0, 4.0])
        made.taste_embedding.weight[1:, 0] = torch.tensor([1.0, 3.0, 5.0])
        made.horizontal[0].weight.fill_(1.0)  # height 1: the largest positive value of the window
        made.horizontal[1].weight.copy_(torch.tensor([[1.0, 10.0]]))  # height 2: first + 10 second
        made.vertical.weight.copy_(torch.tensor([[1.0, 100.0]]))
        made.joined.weight.copy_(torch.tensor([[1.0, 1.0, 1.0]]))
        states = made.encode(torch.tensor([[1, 2, 3]]), torch.tensor([3]))[0]
    # windows (0, 1), (1, -2), (-2, 4); vertical 100, -199, 398; heights 1, 1, 4 and 10, 0 (-19), 38
    assert states[:, 0].tolist() == [111.0, 0.0, 440.0]
    assert states[:, 1].tolist() == [1.0, 2.0, 3.0]
    assert states[:, 2].tolist() == [1.0, 1.0, 1.0]
