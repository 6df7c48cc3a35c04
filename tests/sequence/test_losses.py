"""The losses: against their definitions, their gradients, and what they cost."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from palate.sequence.losses import bce_loss, bpr_loss, bpr_max_loss, sampled_softmax_loss, softmax_loss


def tensors(count: int = 7, items: int = 11, width: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    states = torch.randn(count, width, dtype=torch.float64, requires_grad=True)
    table = torch.randn(items + 1, width, dtype=torch.float64, requires_grad=True)
    return states, table, torch.randint(1, items + 1, (count,))


@pytest.mark.parametrize("scale", [1.0, 10.0])  # without and with the shift by the maximum
@pytest.mark.parametrize("cells", [1, 200, 10**6])
def test_softmax_equals_cross_entropy_in_value_and_gradient(
    cells: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palate.sequence.losses._CELLS", cells)
    torch.manual_seed(0)
    states, table = torch.randn(50, 8), scale * torch.randn(31, 8)
    targets = torch.randint(1, 31, (50,))
    gradients = []
    for loss_of in (
        lambda s, t: softmax_loss(s, t, targets),
        lambda s, t: torch.nn.functional.cross_entropy(s @ t[1:].T, targets - 1),
    ):
        s, t = states.clone().requires_grad_(), table.clone().requires_grad_()
        loss = loss_of(s, t)
        (2 * loss).backward()
        gradients.append((loss.detach(), s.grad, t.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert gradients[0][2][0].abs().max() == 0  # padding learns nothing


def test_softmax_survives_large_logits() -> None:
    table = torch.tensor([[0.0], [1000.0], [-1000.0]])
    assert softmax_loss(torch.ones(1, 1), table, torch.tensor([2])).item() == pytest.approx(2000.0)


def test_softmax_at_the_start_is_the_log_of_the_catalogue() -> None:
    loss = softmax_loss(torch.zeros(4, 8), torch.randn(101, 8), torch.tensor([1, 2, 3, 100]))
    assert loss.item() == pytest.approx(math.log(100), abs=1e-5)


def test_softmax_stores_no_logits() -> None:
    states, table = torch.randn(3000, 4, requires_grad=True), torch.randn(2001, 4, requires_grad=True)
    loss = softmax_loss(states, table, torch.randint(1, 2001, (3000,)))
    saved = sum(tensor.numel() for tensor in loss.grad_fn.saved_tensors)
    assert saved == states.numel() + table.numel()


def test_bce_by_hand() -> None:
    table = torch.tensor([[0.0], [2.0], [-1.0], [0.5]])
    states, targets = torch.ones(1, 1), torch.tensor([1])
    expected = math.log(1 + math.exp(-2)) + (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.5))) / 2
    assert bce_loss(states, table, targets, torch.tensor([[2, 3]])).item() == pytest.approx(expected, abs=1e-6)
    assert bce_loss(states, table, targets, torch.tensor([2, 3])).item() == pytest.approx(expected, abs=1e-6)


def test_a_negative_that_is_the_target_does_not_count() -> None:
    table = torch.tensor([[0.0], [2.0], [-1.0], [0.5]])
    states, targets = torch.ones(1, 1), torch.tensor([1])
    for loss in (bce_loss, bpr_loss):
        with_it = loss(states, table, targets, torch.tensor([[2, 1, 3]]))
        assert with_it.item() == pytest.approx(loss(states, table, targets, torch.tensor([[2, 3]])).item())


def test_bpr_by_hand() -> None:
    table = torch.tensor([[0.0], [2.0], [-1.0]])
    loss = bpr_loss(torch.ones(1, 1), table, torch.tensor([1]), torch.tensor([[2]]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)), abs=1e-6)


def test_sampled_softmax_of_all_items_is_the_softmax() -> None:
    states, table, targets = tensors()
    everything = torch.arange(1, 12)
    sampled = sampled_softmax_loss(states, table, targets, everything)
    assert sampled.item() == pytest.approx(softmax_loss(states, table, targets).item(), abs=1e-5)


def test_sampled_softmax_estimates_the_mass_without_bias() -> None:
    torch.manual_seed(1)
    states, table, targets = torch.randn(1, 3), torch.randn(12, 3), torch.tensor([4])
    q = torch.rand(11) + 0.1
    q = q / q.sum()
    draws = torch.multinomial(q, 200_000, replacement=True)
    target = (states @ table[4]).item()
    masses = []
    for part in draws.view(4000, 50):
        loss = sampled_softmax_loss(states, table, targets, part + 1, q[part].log())
        masses.append(math.exp(loss.item() + target))
    exact = (states @ table[1:].T).exp().sum().item()
    assert sum(masses) / len(masses) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("loss", [sampled_softmax_loss, bce_loss, bpr_loss])
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_sampled_losses(loss, shared: bool) -> None:
    states, table, targets = tensors()
    negatives = torch.randint(1, 12, (5,) if shared else (7, 5))
    loss(states, table, targets, negatives).backward()
    step = 1e-3
    for row, column in ((0, 0), (3, 2)):
        moved = [states.detach().clone(), states.detach().clone()]
        moved[0][row, column] += step
        moved[1][row, column] -= step
        up, down = (loss(each, table, targets, negatives).item() for each in moved)
        assert (up - down) / (2 * step) == pytest.approx(states.grad[row, column].item(), abs=2e-3)


def test_no_targets_cost_nothing() -> None:
    states, table, targets = torch.zeros(0, 3, requires_grad=True), torch.randn(5, 3), torch.zeros(0, dtype=torch.long)
    negatives = torch.zeros(0, 2, dtype=torch.long)
    assert softmax_loss(states, table, targets).item() == 0
    for loss in (sampled_softmax_loss, bce_loss, bpr_loss):
        assert loss(states, table, targets, negatives).item() == 0


def test_bpr_max_by_hand() -> None:
    table = torch.tensor([[0.0], [2.0], [-1.0], [1.0]])
    weights = torch.tensor([-1.0, 1.0]).softmax(0)
    won = (weights * torch.sigmoid(2.0 - torch.tensor([-1.0, 1.0]))).sum()
    expected = -won.log() + 0.5 * weights.sum()
    for negatives in (torch.tensor([[2, 3]]), torch.tensor([[2, 1, 3]])):
        loss = bpr_max_loss(torch.ones(1, 1), table, torch.tensor([1]), negatives, regularisation=0.5)
        torch.testing.assert_close(loss, expected)
    assert bpr_max_loss(torch.ones(1, 1), table, torch.tensor([1]), torch.tensor([[1, 1]])).item() == 0
