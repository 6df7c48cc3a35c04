"""The order term and the balance term: hand-computed numbers, gradients, moving averages."""

from __future__ import annotations

import pytest
import torch

from palate.calibrate.regularisers import FieldBalance, order_violation


def test_the_order_term_by_hand():
    below = torch.tensor([[0.10, 0.22, 0.20]], dtype=torch.float64, requires_grad=True)
    above = torch.tensor([[0.12, 0.19, 0.25]], dtype=torch.float64, requires_grad=True)
    term = order_violation(below, above)
    assert term.item() == pytest.approx(0.03, abs=1e-12)
    term.backward()
    assert below.grad.tolist() == [[0.0, 1.0, 0.0]]
    assert above.grad.tolist() == [[0.0, -1.0, 0.0]]


def test_the_order_term_is_averaged_over_contexts_and_zero_without_edges():
    below, above = torch.tensor([[0.3], [0.1]]), torch.tensor([[0.1], [0.3]])
    assert order_violation(below, above).item() == pytest.approx(0.1)
    assert order_violation(torch.zeros(4, 0), torch.zeros(4, 0)).item() == 0.0


def balance(p, y, z, weight=None, **settings):
    term = FieldBalance(int(max(z)) + 1, **settings)
    p = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    y, z = torch.tensor(y, dtype=torch.float64), torch.tensor(z)
    w = torch.ones_like(p) if weight is None else torch.tensor(weight, dtype=torch.float64)
    return p, term(p, y, w, z), term


def test_the_balance_term_by_hand():
    # value 0: mean error (0.4 + 0.4)/2 - 0.5 = -0.1 over 2 rows; value 1: 0.3 - 0 = 0.3 over 1 row
    _, term, state = balance([0.4, 0.4, 0.3], [1, 0, 0], [0, 0, 1], decay=0, min_rows=1)
    mean = (2 * -0.1 + 0.3) / 3
    variance = (2 * (-0.1 - mean) ** 2 + (0.3 - mean) ** 2) / 3
    assert term.item() == pytest.approx(variance**0.5, abs=1e-9)
    assert state.eligible == 2


def test_the_relative_error_divides_by_positives_plus_one():
    _, term, _ = balance([0.4, 0.4, 0.3], [1, 0, 0], [0, 0, 1], decay=0, min_rows=1, mode="relative")
    gaps = [-0.2 / 2, 0.3 / 1]
    mean = (2 * gaps[0] + gaps[1]) / 3
    assert term.item() == pytest.approx(((2 * (gaps[0] - mean) ** 2 + (gaps[1] - mean) ** 2) / 3) ** 0.5, abs=1e-9)


def test_values_with_few_rows_do_not_count_and_one_value_gives_zero():
    _, term, state = balance([0.4, 0.4, 0.9], [1, 0, 0], [0, 0, 1], decay=0, min_rows=2)
    assert state.eligible == 1
    assert term.item() == 0.0


def test_a_weight_of_two_is_the_row_twice():
    _, once, _ = balance([0.4, 0.4, 0.3], [1, 0, 0], [0, 0, 1], weight=[2, 1, 1], decay=0, min_rows=1)
    _, twice, _ = balance([0.4, 0.4, 0.4, 0.3], [1, 1, 0, 0], [0, 0, 0, 1], decay=0, min_rows=1)
    assert once.item() == pytest.approx(twice.item(), abs=1e-12)


def test_the_average_keeps_the_past_and_the_gradient_only_the_present():
    term = FieldBalance(2, decay=0.5, min_rows=1)
    first = torch.tensor([0.9, 0.1], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([0.6, 0.1], dtype=torch.float64, requires_grad=True)
    labels, weight, ids = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), torch.tensor([0, 1])
    term(first, labels, weight, ids)
    value = term(second, labels, weight, ids)
    gaps = torch.tensor([(0.5 * 0.9 + 0.6) / 1.5, (0.5 * 0.1 + 0.1) / 1.5])
    assert value.item() == pytest.approx(gaps.std(correction=0).item(), abs=1e-6)
    value.backward()
    assert first.grad is None
    assert second.grad[0] > 0 > second.grad[1]


def test_the_gradient_of_equal_errors_is_finite():
    p, term, _ = balance([0.4, 0.4], [0, 0], [0, 1], decay=0, min_rows=1)
    term.backward()
    assert torch.isfinite(p.grad).all()
