from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palate.rank import sweeps
from palate.rank.dropout import Dropout, random_bits
from palate.rank.khatri_rao import KhatriRaoShape, khatri_rao_plain, khatri_rao_training


class KnownBits(Dropout):
    """Dropout that hands out the same list of bits, one after another, again and again."""

    def __init__(self, p: float, bits: list[Tensor]) -> None:
        super().__init__(p)
        self.bits, self.calls = bits, 0

    def draw(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.bits[(self.calls - 1) % len(self.bits)]

    def keep(self, place: int) -> Tensor:
        return (self.bits[place] >= self.threshold).double() * self.scale


def bits(rows: int, columns: int, passes: int) -> list[Tensor]:
    return [random_bits(rows, columns, torch.device("cpu")) for _ in range(passes)]


SHAPES = [
    KhatriRaoShape(3, 4, num_heads, num_rows, aligned)
    for num_heads, num_rows in ((1, 1), (1, 3), (2, 2), (4, 5))
    for aligned in (False, True)
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("chunk", [1, 100, 1 << 17])
@pytest.mark.parametrize("passes", [1, 2])
def test_equals_the_plain_form_in_value_and_gradients(
    shape: KhatriRaoShape, chunk: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_CHUNK", chunk)
    torch.manual_seed(0)
    x = torch.randn(9, 12, dtype=torch.float64, requires_grad=True)
    u = torch.randn(9, 12 * shape.num_rows, dtype=torch.float64, requires_grad=True)
    factor, output = KnownBits(0.3, bits(9, u.shape[1], passes)), KnownBits(0.4, bits(9, 12, passes))
    out = khatri_rao_training(x, u, shape, factor, output, passes)
    expected = torch.cat(
        [khatri_rao_plain(x, u.relu() * factor.keep(i), shape) * output.keep(i) for i in range(passes)]
    )
    torch.testing.assert_close(out, expected)
    direction = torch.randn_like(out)
    ours = torch.autograd.grad(out, (x, u), direction)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (x, u), direction))


def test_gradients_are_numerically_right() -> None:
    torch.manual_seed(1)
    shape = KhatriRaoShape(2, 4, num_heads=2, num_rows=2, aligned=True)
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    u = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    factor, output = KnownBits(0.4, bits(3, 16, 2)), KnownBits(0.4, bits(3, 8, 2))
    assert torch.autograd.gradcheck(lambda a, b: khatri_rao_training(a, b, shape, factor, output, 2), (x, u))


def test_plain_form_by_hand() -> None:
    shape = KhatriRaoShape(2, 2, num_heads=2, num_rows=1, aligned=False)
    x, h = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    # Head 0 is [1, 3], head 1 is [2, 4]: products [10, 60, 60, 160], added to x as they come.
    assert khatri_rao_plain(x, h, shape).tolist() == [[11.0, 62.0, 63.0, 164.0]]
    aligned = KhatriRaoShape(2, 2, num_heads=2, num_rows=1, aligned=True)
    assert khatri_rao_plain(x, h, aligned).tolist() == [[11.0, 62.0, 63.0, 164.0]]
    assert khatri_rao_plain(x, h * torch.tensor([1, 1, 2, 2]), aligned).tolist() == [[11.0, 122.0, 63.0, 324.0]]


def test_takes_columns_that_are_not_contiguous() -> None:
    shape = KhatriRaoShape(3, 2, num_heads=1, num_rows=2, aligned=False)
    x, u = torch.randn(6, 5).t(), torch.randn(12, 5).t()
    factor, output = KnownBits(0.5, bits(5, 12, 1)), KnownBits(0.5, bits(5, 6, 1))
    torch.testing.assert_close(
        khatri_rao_training(x, u, shape, factor, output),
        khatri_rao_training(x.contiguous(), u.contiguous(), shape, factor, output),
    )


def test_bfloat16_factor_gives_a_float32_output() -> None:
    shape = KhatriRaoShape(4, 4, num_heads=1, num_rows=3, aligned=False)
    x, u = torch.randn(16, 16, requires_grad=True), torch.randn(16, 48)
    factor, output = KnownBits(0.1, bits(16, 48, 1)), KnownBits(0.1, bits(16, 16, 1))
    half = u.bfloat16().requires_grad_()
    rough = khatri_rao_training(x, half, shape, factor, output)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, khatri_rao_training(x, u, shape, factor, output), rtol=0.03, atol=0.03)
    rough.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
