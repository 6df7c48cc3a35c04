"""Clenshaw-Curtis: the exact nodes and weights, what they integrate, and the rule per panel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from palate.calibrate.quadrature import clenshaw_curtis, panel_rule
from palate.errors import ConfigError


def test_nodes_and_weights_for_four_intervals():
    nodes, weights = clenshaw_curtis(4)
    assert nodes == pytest.approx([1, 0.707107, 0, -0.707107, -1], abs=1e-6)
    assert weights == pytest.approx([1 / 15, 8 / 15, 4 / 5, 8 / 15, 1 / 15], abs=1e-14)


def test_weights_for_eight_intervals():
    _, weights = clenshaw_curtis(8)
    assert weights[:5] == pytest.approx([0.015873, 0.146219, 0.279365, 0.361718, 0.393651], abs=1e-6)
    assert weights == pytest.approx(weights[::-1], abs=1e-15)


@pytest.mark.parametrize("intervals", [2, 4, 8, 16, 50])
def test_weights_are_positive_sum_to_two_and_integrate_squares(intervals):
    nodes, weights = clenshaw_curtis(intervals)
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(2, abs=1e-13)
    assert weights @ nodes**2 == pytest.approx(2 / 3, abs=1e-13)


def gauss_integral(intervals, upper=1.7):
    nodes, weights = clenshaw_curtis(intervals)
    return upper / 2 * float(weights @ np.exp(-((upper * (nodes + 1) / 2) ** 2)))


def test_the_integral_of_a_bell():
    assert gauss_integral(4) == pytest.approx(0.8712775678, abs=1e-10)
    assert gauss_integral(8) == pytest.approx(0.8718615544, abs=1e-10)
    exact = math.sqrt(math.pi) / 2 * math.erf(1.7)
    assert exact == pytest.approx(0.8718615934, abs=1e-10)
    assert gauss_integral(16) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("intervals", [0, 1, 3, -2])
def test_an_odd_number_of_intervals_is_refused(intervals):
    with pytest.raises(ConfigError, match="an even number"):
        clenshaw_curtis(intervals)


@pytest.mark.parametrize(("panels", "intervals"), [(1, 4), (3, 4), (8, 2), (5, 6)])
def test_panel_means_add_up_to_the_integral(panels, intervals):
    points, rule = panel_rule(panels, intervals)
    assert points[0] == 0.0
    assert points[-1] == 1.0
    assert (np.diff(points) > 0).all()
    assert (rule >= 0).all()
    assert rule.sum(0) == pytest.approx(np.ones(panels))
    means = points**2 @ rule
    starts = np.arange(panels) / panels
    assert means == pytest.approx(panels * ((starts + 1 / panels) ** 3 - starts**3) / 3)
