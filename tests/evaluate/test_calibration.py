from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss

from palate.errors import ConfigError, DataError
from palate.evaluate.calibration import brier, ece, pcoc, probability_bins, reliability_curve

Y = [1, 0, 0, 1, 0, 1, 0, 0]
P = [0.8, 0.3, 0.2, 0.6, 0.4, 0.5, 0.1, 0.1]


def test_hand_numbers() -> None:
    assert pcoc(P, Y) == pytest.approx(1.0, abs=1e-15)
    assert ece(P, Y, bins=5) == pytest.approx(0.175, abs=1e-12)
    assert probability_bins(np.array(P), np.ones(8), kind="width", bins=5).tolist() == [4, 1, 1, 3, 2, 2, 0, 0]
    # masses of 2: {.1,.1} {.2,.3} {.4,.5} {.6,.8}: |.2| + |.5| + |1-.9| + |2-1.4| = 1.4 over 8 rows
    assert ece(P, Y, kind="mass", bins=4) == pytest.approx(1.4 / 8, abs=1e-12)
    assert brier([0.5, 1.0, 0.2], [0, 1, 1]) == pytest.approx((0.25 + 0.64) / 3)
    assert math.isnan(pcoc([0.2, 0.3], [0, 0]))
    assert pcoc([0.6, 0.4], [1, 0], [1, 3]) == pytest.approx(1.8)


def test_edges_of_the_width_bins() -> None:
    bins = probability_bins(np.array([0.0, 0.29, 0.57, 0.9999, 1.0]), np.ones(5), kind="width", bins=100)
    assert bins.tolist() == [0, 29, 57, 99, 99]


def test_mass_bins_hold_equal_shares_and_keep_ties_together() -> None:
    p = np.random.default_rng(0).random(1000)
    assert np.bincount(probability_bins(p, np.ones(1000), kind="mass", bins=8)).tolist() == [125] * 8
    tied = np.repeat([0.1, 0.5, 0.9], [700, 200, 100])
    bins = probability_bins(tied, np.ones(1000), kind="mass", bins=10)
    assert bins.tolist() == [3] * 700 + [8] * 200 + [9] * 100


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    p, w = rng.random(500), rng.random(500)
    y = rng.random(500) < p
    assert abs(brier(p, y) - brier_score_loss(y, p)) < 1e-12
    assert abs(brier(p, y, w) - brier_score_loss(y, p, sample_weight=w)) < 1e-12


def test_calibrated_scores_have_small_error_and_shifted_ones_the_shift() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.7, 400_000)
    y = rng.random(400_000) < p
    for kind in ("width", "mass"):
        assert ece(p, y, kind=kind, bins=20) < 0.004
        assert ece(p + 0.1, y, kind=kind, bins=20) == pytest.approx(0.1, abs=0.004)
    assert pcoc(p, y) == pytest.approx(1.0, abs=0.005)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.integers(0, 3)), min_size=1, max_size=50),
    st.integers(1, 12),
    st.integers(0, 1000),
)
def test_order_repetition_and_doubling_laws(drawn: list[tuple[int, bool, int]], bins: int, seed: int) -> None:
    p = np.array([row[0] for row in drawn]) / 20
    y = np.array([row[1] for row in drawn])
    w = np.array([row[2] for row in drawn])
    w[0] = max(w[0], 1)
    order = np.random.default_rng(seed).permutation(len(p))
    for metric in (
        brier,
        pcoc,
        lambda *rows: ece(*rows, bins=bins),
        lambda *rows: ece(*rows, kind="mass", bins=bins),
    ):
        for left, right in (
            (metric(p, y), metric(p[order], y[order])),
            (metric(p, y), metric(np.tile(p, 2), np.tile(y, 2))),
            (metric(p, y, w), metric(np.repeat(p, w), np.repeat(y, w))),
        ):
            np.testing.assert_allclose(left, right, atol=1e-12)


def test_reliability_curve_counts_rates_and_wilson_intervals() -> None:
    curve = reliability_curve(P, Y, kind="width", bins=5)
    assert curve.rows.tolist() == [2, 2, 2, 1, 1]
    assert curve.observed.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    np.testing.assert_allclose(curve.predicted, [0.1, 0.25, 0.45, 0.6, 0.8])
    for k, n, low, high in zip([0, 0, 1, 1, 1], curve.rows, curve.low, curve.high, strict=True):
        exact = binomtest(k, int(n)).proportion_ci(0.95, method="wilson")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    json.dumps(curve.to_dict(), allow_nan=False)


def test_reliability_curve_leaves_out_empty_bins_and_weighs() -> None:
    curve = reliability_curve([0.05, 0.95, 0.95], [0, 1, 0], [1.0, 3.0, 1.0], kind="width", bins=10)
    assert curve.observed.tolist() == [0.0, 0.75]
    assert curve.weight.tolist() == [1.0, 4.0]
    narrow = reliability_curve([0.05, 0.95, 0.95], [0, 1, 0], kind="width", bins=10, level=0.5)
    assert (narrow.high - narrow.low < curve.high - curve.low).all()


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match='binning "mas".*Did you mean "mass"'):
        ece(P, Y, kind="mas")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="bins = 0"):
        ece(P, Y, bins=0)
    with pytest.raises(ConfigError, match=r"level = 95"):
        reliability_curve(P, Y, level=95)
    with pytest.raises(DataError, match="outside"):
        ece([1.5], [1])
