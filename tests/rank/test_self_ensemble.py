from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palate.rank.self_ensemble import self_ensemble_loss


def logits(*probabilities: float) -> Tensor:
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64)).requires_grad_()


def naive(z1: Tensor, z2: Tensor, labels: Tensor) -> Tensor:
    p1, p2 = z1.sigmoid(), z2.sigmoid()
    mean = (p1 + p2) / 2
    target = mean.detach()
    bce = functional.binary_cross_entropy
    return bce(mean, labels) + bce(p1, target) + bce(p2, target)


def test_known_value_and_gradients() -> None:
    z1, z2 = logits(0.6), logits(0.8)
    loss = self_ensemble_loss(z1, z2, torch.ones(1, dtype=torch.float64))
    assert loss.item() == pytest.approx(0.356675 + 0.632465 + 0.639032, abs=1e-6)
    assert loss.item() == pytest.approx(1.628172, abs=1e-6)
    loss.backward()
    # dL/dp = dL/dz / (p (1 - p)); a target with a gradient of its own would give other numbers
    assert z1.grad is not None
    assert z2.grad is not None
    assert z1.grad.item() / (0.6 * 0.4) == pytest.approx(-1.130952, abs=1e-6)
    assert z2.grad.item() / (0.8 * 0.2) == pytest.approx(-0.089286, abs=1e-6)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_equal_passes_give_the_gradient_of_cross_entropy(label: float) -> None:
    labels = torch.tensor([label], dtype=torch.float64)
    z, plain = logits(0.7), logits(0.7)
    loss = self_ensemble_loss(z, z, labels)
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.3))
    bce = functional.binary_cross_entropy_with_logits(plain, labels)
    assert loss.item() == pytest.approx(bce.item() + 2 * entropy)
    loss.backward()
    bce.backward()
    torch.testing.assert_close(z.grad, plain.grad)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.sampled_from([0.0, 1.0])), min_size=1, max_size=8))
def test_equals_the_naive_form_and_is_symmetric(rows: list[tuple[float, float, float]]) -> None:
    table = torch.tensor(rows, dtype=torch.float64)
    z1, z2, labels = table[:, 0].clone().requires_grad_(), table[:, 1].clone().requires_grad_(), table[:, 2]
    loss = self_ensemble_loss(z1, z2, labels)
    torch.testing.assert_close(loss, naive(z1, z2, labels))
    torch.testing.assert_close(loss, self_ensemble_loss(z2, z1, labels))
    torch.testing.assert_close(
        torch.autograd.grad(loss, (z1, z2)), torch.autograd.grad(naive(z1, z2, labels), (z1, z2))
    )


def test_stays_finite_and_right_where_the_naive_form_saturates() -> None:
    z1 = torch.tensor([200.0, -200.0, 90.0], requires_grad=True)
    z2 = torch.tensor([100.0, -300.0, -90.0], requires_grad=True)
    loss = self_ensemble_loss(z1, z2, torch.tensor([0.0, 1.0, 1.0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert z1.grad is not None
    assert z1.grad.isfinite().all()
    # Rows: -log(mean of e^-200, e^-100) = 100 + log 2; -log mean(e^-200, e^-300) = 200 + log 2;
    # opposite certainties: log 2 + 45 + 45.
    assert loss.item() == pytest.approx((100 + 200 + 90 + 3 * math.log(2)) / 3, rel=1e-6)


def test_weights_scale_rows() -> None:
    z1, z2, labels = torch.randn(3, 6, dtype=torch.float64).unbind()
    labels = (labels > 0).double()
    rows = torch.stack([self_ensemble_loss(z1[i : i + 1], z2[i : i + 1], labels[i : i + 1]) for i in range(6)])
    weights = torch.arange(6.0, dtype=torch.float64)
    torch.testing.assert_close(self_ensemble_loss(z1, z2, labels, weights), (rows * weights).mean())
