"""Isotonic, Platt, temperature, beta, histogram: hand-computed numbers, laws, agreement with textbook fits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.special import logit as scipy_logit
from sklearn.isotonic import IsotonicRegression

from palate.calibrate.beta import Beta
from palate.calibrate.histogram import Histogram, HistogramConfig
from palate.calibrate.isotonic import Isotonic
from palate.calibrate.logistic import fit_increasing_logistic
from palate.calibrate.platt import Platt
from palate.calibrate.temperature import Temperature

CLASSICAL = [Histogram, Isotonic, Platt, Temperature, Beta]


def world(rows=4000, seed=0, slope=0.7, shift=-0.4):
    rng = np.random.default_rng(seed)
    z = rng.normal(-1.0, 1.2, rows)
    return expit(z), (rng.random(rows) < expit(slope * z + shift)).astype(float), rng


def log_loss(p, y, w=1.0):
    return float(np.sum(-w * (y * np.log(p) + (1 - y) * np.log1p(-p))))


def test_platt_finds_the_slope_and_offset_that_made_the_labels():
    scores, labels, _ = world(rows=200_000)
    learned = Platt().fit(scores, labels).learned
    assert learned["slope"][0] == pytest.approx(0.7, abs=0.02)
    assert learned["intercept"][0] == pytest.approx(-0.4, abs=0.02)


def test_platt_equals_an_independent_maximum_likelihood_search():
    scores, labels, _ = world()
    z = scipy_logit(scores)
    other = minimize(lambda t: log_loss(expit(t[0] * z + t[1]), labels), [1.0, 0.0], method="BFGS", tol=1e-8)
    learned = Platt().fit(scores, labels).learned
    assert learned["slope"][0] == pytest.approx(other.x[0], abs=1e-4)
    assert learned["intercept"][0] == pytest.approx(other.x[1], abs=1e-4)


def test_temperature_leaves_one_half_alone_and_softens_overconfidence():
    rng = np.random.default_rng(1)
    z = rng.normal(0, 1.5, 50_000)
    labels = rng.random(50_000) < expit(z / 2)
    fitted = Temperature().fit(expit(z), labels)
    assert fitted.predict([0.5]).tolist() == [0.5]
    assert fitted.learned["slope"][0] == pytest.approx(0.5, abs=0.02)


def test_beta_recovers_different_slopes_for_both_tails():
    rng = np.random.default_rng(2)
    s = rng.beta(1.2, 2.0, 300_000).clip(1e-4, 1 - 1e-4)
    labels = rng.random(len(s)) < expit(1.5 * np.log(s) - 0.4 * np.log1p(-s) + 0.3)
    learned = Beta().fit(s, labels).learned
    assert learned["slopes"].tolist() == pytest.approx([1.5, 0.4], abs=0.05)
    assert learned["intercept"][0] == pytest.approx(0.3, abs=0.06)


def test_beta_holds_a_slope_at_zero_when_the_likelihood_wants_it_negative():
    rng = np.random.default_rng(3)
    s = rng.uniform(0.02, 0.98, 20_000)
    labels = rng.random(len(s)) < expit(1.5 * np.log(s) + 0.8 * np.log1p(-s) + 1.0)
    fitted = Beta().fit(s, labels)
    slopes = fitted.learned["slopes"]
    assert slopes[1] == 0.0
    assert slopes[0] > 0
    search = minimize(
        lambda t: log_loss(expit(t[0] * np.log(s) - t[1] * np.log1p(-s) + t[2]).clip(1e-12, 1 - 1e-12), labels),
        [1.0, 1.0, 0.0],
        bounds=[(0, None), (0, None), (None, None)],
        method="L-BFGS-B",
    )
    assert log_loss(fitted.predict(s), labels) <= search.fun + 1e-3


def test_anti_correlated_scores_give_the_base_rate_not_a_falling_map():
    scores, labels, _ = world()
    fitted = Platt().fit(scores, 1 - labels)
    assert fitted.learned["slope"][0] == 0.0
    assert fitted.predict([0.1, 0.9]) == pytest.approx(np.full(2, 1 - labels.mean()), abs=1e-9)


def test_histogram_by_hand():
    scores = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
    labels = [0, 0, 1, 0, 1, 0, 1, 1]
    fitted = Histogram(HistogramConfig(bins=2)).fit(scores, labels)
    assert fitted.learned["edges"].tolist() == [0.5]
    assert fitted.predict([0.0, 0.49, 0.5, 1.0]).tolist() == [0.25, 0.25, 0.75, 0.75]


def test_empty_bins_of_equal_width_take_the_value_between_their_neighbours():
    fitted = Histogram(HistogramConfig(bins=4, binning="width")).fit([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1])
    assert fitted.learned["rates"] == pytest.approx([0.5, 2 / 3, 5 / 6, 1.0])


def test_isotonic_is_the_regression_of_scikit_learn():
    scores, labels, rng = world()
    weight = rng.uniform(0.5, 2.0, len(scores))
    reference = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(scores, labels, sample_weight=weight)
    grid = np.linspace(0.001, 0.999, 500)
    expected = reference.predict(grid).clip(1e-7, 1 - 1e-7)
    assert Isotonic().fit(scores, labels, weight=weight).predict(grid) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", [Isotonic, Platt, Temperature, Beta])
def test_the_map_never_falls(method):
    scores, labels, _ = world(seed=5)
    assert (np.diff(method().fit(scores, labels).predict(np.linspace(0, 1, 2001))) >= 0).all()


@pytest.mark.parametrize("method", [Platt, Temperature, Beta])
def test_the_smooth_maps_rise_and_make_no_ties(method):
    scores, labels, _ = world(seed=6)
    assert (np.diff(method().fit(scores, labels).predict(np.linspace(1e-6, 1 - 1e-6, 2001))) > 0).all()


def test_separable_rows_stay_finite():
    scores, labels = np.linspace(0.05, 0.95, 10), np.repeat([0, 1], 5)
    for method in CLASSICAL:
        predicted = method().fit(scores, labels).predict(scores)
        assert np.isfinite(predicted).all()
        if method is not Temperature:
            assert log_loss(predicted.clip(1e-9, 1 - 1e-9), labels) < log_loss(scores, labels)


def test_constant_scores_become_the_base_rate():
    scores, labels = np.full(200, 0.3), np.repeat([0, 0, 0, 1], 50)
    for method in [Histogram, Isotonic, Platt, Beta]:
        assert method().fit(scores, labels).predict([0.3]) == pytest.approx([0.25], abs=1e-5)


def test_the_solver_meets_its_optimality_conditions():
    scores, labels, rng = world(rows=500, seed=8)
    features = np.column_stack([scipy_logit(scores), scores])
    weight = rng.uniform(0.1, 3, 500)
    slopes, intercept = fit_increasing_logistic(features, labels, weight, start=np.array([1.0, 0.0]))
    residual = weight * (expit(features @ slopes + intercept) - labels)
    gradient = features.T @ residual
    assert residual.sum() == pytest.approx(0, abs=1e-5)
    assert all(abs(g) < 1e-3 if a > 0 else g >= -1e-3 for a, g in zip(slopes, gradient, strict=True))
