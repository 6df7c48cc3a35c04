"""Shared blocks: cutting histories, the last state, the norm."""

from __future__ import annotations

import math

import torch

from palate.sequence.blocks import RMSNorm, keep_last, last_state


def test_keep_last_cuts_each_row_at_its_own_end() -> None:
    items = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0], [8, 0, 0, 0], [0, 0, 0, 0]])
    kept, lengths = keep_last(items, torch.tensor([4, 3, 1, 0]), 2)
    assert kept.tolist() == [[3, 4], [6, 7], [8, 0], [0, 0]]
    assert lengths.tolist() == [2, 2, 1, 0]


def test_last_state_takes_the_last_real_position() -> None:
    states = torch.arange(6.0).view(2, 3, 1)
    assert last_state(states, torch.tensor([2, 0])).tolist() == [[1.0], [3.0]]


def test_rms_norm_by_hand() -> None:
    out = RMSNorm(2, eps=0.0)(torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(out, torch.tensor([3.0, 4.0]) / math.sqrt(12.5))
