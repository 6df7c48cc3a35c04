"""Dropout by integers: shares, scale, gradient and repeatability."""

from __future__ import annotations

import pytest
import torch

from palate.sequence.blocks import attend
from palate.sequence.dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_shares_and_scale(share: float) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(200_000), share)
    assert (out == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    assert len(out.unique()) == 2


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5) > 0).float().view(-1, 4) - 0.5
    for step in range(1, 4):  # pieces of the same random number
        assert (kept[:, 0] * kept[:, step]).mean().abs() < 0.005


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5), (4, 3, 7)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert dropout(torch.ones(shape), 0.3).shape == shape


def test_the_gradient_is_the_mask() -> None:
    x = torch.randn(1000, requires_grad=True)
    out = dropout(x, 0.4)
    out.sum().backward()
    torch.testing.assert_close(out, x * x.grad)


def test_the_same_seed_gives_the_same_mask() -> None:
    masks = []
    for _ in range(2):
        torch.manual_seed(7)
        masks.append(dropout(torch.ones(100), 0.5))
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], dropout(torch.ones(100), 0.5))


def test_it_rests_outside_training_and_at_zero() -> None:
    x = torch.randn(10)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_with_and_without_dropout_is_the_same_on_average(causal: bool) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)
    seen = None if causal else torch.tensor([True, True, True, False, False]).view(1, 1, 1, 5)
    exact = attend(query, key, value, causal=causal, seen=seen)
    many = [attend(query, key, value, causal=causal, seen=seen, dropout_share=0.1) for _ in range(4000)]
    torch.testing.assert_close(torch.stack(many).mean(0), exact, atol=0.05, rtol=0)
    if causal:
        torch.testing.assert_close(exact[:, :, 0], value[:, :, 0])
