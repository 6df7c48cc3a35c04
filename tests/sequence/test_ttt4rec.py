"""TTT4Rec: the choice of its inner model."""

from __future__ import annotations

from palate.sequence.ttt4rec import TTT4Rec, TTT4RecConfig


def test_ttt4rec_offers_both_inner_models() -> None:
    linear, mlp = (TTT4Rec(5, TTT4RecConfig(inner=inner)) for inner in ("linear", "mlp"))
    assert type(linear.blocks[0].ttt).__name__ == "TTTLinear"
    assert mlp.blocks[0].ttt.first_weight.shape == (4, 16, 64)
