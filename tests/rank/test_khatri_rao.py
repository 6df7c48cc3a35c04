from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palate.rank import khatri_rao
from palate.rank.dropout import Dropout
from palate.rank.khatri_rao import rectified_row_sum


class KnownBits(Dropout):
    """Dropout whose bits are given."""

    def __init__(self, p: float, bits: Tensor) -> None:
        super().__init__(p)
        self.bits = bits

    def draw(self, x: Tensor) -> Tensor:
        return self.bits


def by_hand(u: Tensor, num_heads: int, num_rows: int, keep: Tensor, scale: float) -> Tensor:
    h = torch.relu(u) * keep * scale
    return h.view(len(u), num_heads, num_rows, -1).sum(2).flatten(1)


@pytest.mark.parametrize(("num_heads", "num_rows"), [(1, 1), (1, 3), (2, 2), (4, 5)])
@pytest.mark.parametrize("chunk", [1, 50, 1 << 17])
def test_equals_the_plain_form_in_value_and_gradient(
    num_heads: int, num_rows: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(khatri_rao, "_CHUNK", chunk)
    torch.manual_seed(0)
    u = torch.randn(9, num_rows * 8, dtype=torch.float64, requires_grad=True)
    dropout = KnownBits(0.3, torch.randint(-32768, 32768, u.shape, dtype=torch.int16))
    keep = (dropout.bits >= dropout.threshold).double()
    out = rectified_row_sum(u, num_heads, num_rows, dropout)
    expected = by_hand(u, num_heads, num_rows, keep, dropout.scale)
    torch.testing.assert_close(out, expected)
    direction = torch.randn_like(out)
    torch.testing.assert_close(torch.autograd.grad(out, u, direction), torch.autograd.grad(expected, u, direction))


def test_gradient_is_numerically_right() -> None:
    torch.manual_seed(1)
    u = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    dropout = KnownBits(0.4, torch.randint(-32768, 32768, u.shape, dtype=torch.int16))
    assert torch.autograd.gradcheck(lambda v: rectified_row_sum(v, 2, 3, dropout), (u,))


def test_without_dropout_training_equals_evaluation() -> None:
    u = torch.randn(4, 12)
    torch.testing.assert_close(
        rectified_row_sum(u, 2, 3, Dropout(0.0)), rectified_row_sum(u, 2, 3, Dropout(0.5).eval())
    )


def test_takes_columns_that_are_not_contiguous() -> None:
    u = torch.randn(12, 6).t()
    bits = torch.randint(-32768, 32768, u.shape, dtype=torch.int16)
    torch.testing.assert_close(
        rectified_row_sum(u, 1, 2, KnownBits(0.5, bits)),
        rectified_row_sum(u.contiguous(), 1, 2, KnownBits(0.5, bits)),
    )


def test_bfloat16_comes_out_in_float32() -> None:
    u = torch.randn(16, 24)
    dropout = KnownBits(0.1, torch.randint(-32768, 32768, u.shape, dtype=torch.int16))
    rough = rectified_row_sum(u.bfloat16().requires_grad_(), 1, 3, dropout)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, rectified_row_sum(u, 1, 3, dropout), rtol=0.02, atol=0.02)
    rough.sum().backward()
