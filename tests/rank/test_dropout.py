from __future__ import annotations

import math

import pytest
import torch

from palate.errors import ConfigError
from palate.rank.dropout import Dropout, random_bits


def test_zeroes_the_stated_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = Dropout(0.1)
    x = torch.ones(2000, 500)
    y = layer(x)
    dropped = (y == 0).double().mean().item()
    assert dropped == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / 1e6))
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - round(0.1 * 65536) / 65536)))
    # No column and no row is favoured.
    assert (y == 0).double().mean(0).sub(0.1).abs().max() < 5 * math.sqrt(0.09 / 2000)
    assert (y == 0).double().mean(1).sub(0.1).abs().max() < 5 * math.sqrt(0.09 / 500)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(1000, 1000)) > 0).double() * 2 - 1
    for shift in (1, 2, 3, 4, 1000):
        flat = kept.flatten()
        assert (flat[shift:] * flat[:-shift]).mean().abs() < 5 / math.sqrt(1e6)


def test_every_value_of_the_bits_occurs_equally_often() -> None:
    torch.manual_seed(2)
    bits = random_bits(1000, 2000, torch.device("cpu")).long() + 32768
    counts = torch.bincount(bits.flatten() // 256, minlength=256).double()
    chi_square = ((counts - 2e6 / 256).square() / (2e6 / 256)).sum().item()
    assert 150 < chi_square < 380  # 255 degrees of freedom


def test_seed_fixes_the_mask_and_draws_differ() -> None:
    layer, x = Dropout(0.5), torch.ones(7, 9)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer(x), second)
    assert not torch.equal(first, second)


def test_gradient_is_the_mask() -> None:
    torch.manual_seed(4)
    x = torch.randn(5, 6, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_keeps_the_dtype(dtype: torch.dtype) -> None:
    assert Dropout(0.3)(torch.ones(4, 4, dtype=dtype)).dtype == dtype


def test_does_nothing_in_evaluation_or_at_rate_zero() -> None:
    x = torch.randn(3, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_rate_out_of_range_is_named(p: float) -> None:
    with pytest.raises(ConfigError, match=f"dropout is {p}"):
        Dropout(p)
