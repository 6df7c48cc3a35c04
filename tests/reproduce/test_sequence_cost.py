from __future__ import annotations

import pytest

from palate.reproduce.sequence_cost import history_flops, other_parameters
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.costs import gru_cost, self_correction_cost
from palate.sequence.gru4rec import GRU4Rec, GRU4RecConfig
from palate.sequence.sasrec import SASRec, SASRecConfig


def test_counts_by_hand() -> None:
    sasrec = SASRec(30, SASRecConfig(embedding_size=8, num_layers=1, num_heads=2, max_length=20))
    # per item: 3 + 1 projections and two layers as wide as the state, two per multiply-add; attention over all pairs
    assert history_flops(sasrec, 20) == 20 * 12 * 8 * 8 + 4 * 20 * 20 * 8
    gru = GRU4Rec(30, GRU4RecConfig(embedding_size=8))
    assert history_flops(gru, 20) == 20 * 12 * 8 * 8
    assert other_parameters(gru) == 6 * 8 * 8 + 6 * 8 + 8


def test_counts_agree_with_the_formulas() -> None:
    assert history_flops(GRU4Rec(30, GRU4RecConfig(embedding_size=64))) == pytest.approx(
        50 * gru_cost().flops, rel=0.02
    )
    ours = CoCorrRec(30, CoCorrRecConfig(embedding_size=64, num_heads=4, mode="base"))
    assert history_flops(ours) == pytest.approx(50 * self_correction_cost().flops, rel=0.05)
    assert other_parameters(ours) == self_correction_cost().parameters + 2 * 64 * 64 + 2 * 64 + 64


def test_counting_leaves_the_mode_alone() -> None:
    model = GRU4Rec(30).train()
    history_flops(model)
    assert model.training
