from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palate.rank import sweeps
from palate.rank.dropout import Dropout, random_bits
from palate.rank.rectified import rectified


class KnownBits(Dropout):
    """Dropout that always hands out the same bits."""

    def __init__(self, p: float, bits: Tensor) -> None:
        super().__init__(p)
        self.bits = bits

    def draw(self, x: Tensor) -> Tensor:
        return self.bits


def test_by_hand_in_the_same_memory() -> None:
    u = torch.tensor([[-1.0, 2.0], [3.0, -4.0]])
    h = rectified(u)
    assert h.tolist() == [[0.0, 2.0], [3.0, 0.0]]
    assert h.data_ptr() == u.data_ptr()


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("chunk", [1, 100])
def test_equals_relu_then_dropout(p: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_CHUNK", chunk)
    x = torch.randn(40, 6, dtype=torch.float64, requires_grad=True)
    dropout = KnownBits(p, random_bits(40, 6, x.device))
    direction = torch.randn(40, 6, dtype=torch.float64)
    h, expected = rectified(2 * x, dropout), dropout((2 * x).relu())
    torch.testing.assert_close(h, expected)
    torch.testing.assert_close(torch.autograd.grad(h, x, direction), torch.autograd.grad(expected, x, direction))


def test_the_gradient_that_came_is_left_alone() -> None:
    x, direction = torch.randn(5, 3, requires_grad=True), torch.ones(5, 3)
    rectified(x * 1.0, Dropout(0.5)).backward(direction)
    assert torch.equal(direction, torch.ones(5, 3))


def test_bfloat16_does_not_round_the_scale() -> None:
    # 1 / 0.9 lies between two neighbours in bfloat16, 1.109375 and 1.1171875: a mask of these would be 0.16 % off.
    u = torch.linspace(1.0, 2.0, 20_000).bfloat16().view(1, -1)
    dropout = KnownBits(0.1, torch.full((1, 20_000), 32_767, dtype=torch.int16))
    before = u.double().mean()
    h = rectified(u, dropout)
    assert (h.double().mean() / before).item() == pytest.approx(dropout.scale, rel=2e-4)


def test_an_inactive_dropout_drops_nothing() -> None:
    u = torch.rand(50, 50) + 1.0
    assert torch.equal(rectified(u.clone(), Dropout(0.5).eval()), u)
