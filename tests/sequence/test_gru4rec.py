"""GRU4Rec: the recurrence by hand, and the projection."""

from __future__ import annotations

import torch

from palate.sequence.gru4rec import GRU4Rec, GRU4RecConfig


def test_gru4rec_by_hand() -> None:
    """With all weights of the gates at zero the state moves half-way to the candidate at every step."""
    made = GRU4Rec(3, GRU4RecConfig(embedding_size=2, dropout=0.0)).eval()
    with torch.no_grad():
        for weight in made.gru.parameters():
            weight.zero_()
        made.gru.weight_ih_l0[4:] = torch.eye(2)
        made.item_embedding.weight[1] = torch.tensor([0.5, -0.25])
        states = made.encode(torch.tensor([[1, 1]]), torch.tensor([2]))
    candidate = torch.tanh(torch.tensor([0.5, -0.25]))
    torch.testing.assert_close(states[0], torch.stack([candidate / 2, candidate * 3 / 4]))


def test_gru4rec_projects_only_a_state_of_another_width() -> None:
    assert isinstance(GRU4Rec(3, GRU4RecConfig(hidden_size=64)).output, torch.nn.Identity)
    assert GRU4Rec(3, GRU4RecConfig(hidden_size=48)).output.weight.shape == (64, 48)
