from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from palate.errors import ConfigError, DataError
from palate.evaluate.intervals import Interval, bootstrap_interval, bootstrap_ratio, draws, resampled_ratios


def coverage_of(method: str, units: int, trials: int, draw) -> float:
    """Share of intervals that hold the true mean, which is 1."""
    rng = np.random.default_rng(7)
    held = [
        1.0 in bootstrap_interval(draw(rng, units), method=method, seed=trial, resamples=400) for trial in range(trials)
    ]
    return float(np.mean(held))


@pytest.mark.parametrize("method", ["bca", "percentile", "normal"])
def test_intervals_cover_a_known_mean_as_often_as_they_say(method: str) -> None:
    # 300 trials: the standard error of a share of .95 is .0126
    assert 0.91 < coverage_of(method, 60, 300, lambda rng, n: rng.normal(1.0, 2.0, n)) < 0.985


def test_bca_covers_a_skewed_mean_better_than_the_normal_interval() -> None:
    def draw(rng: np.random.Generator, units: int) -> np.ndarray:
        return rng.lognormal(-0.72, 1.2, units)  # mean exp(-.72 + .72) = 1

    bca, normal = coverage_of("bca", 30, 300, draw), coverage_of("normal", 30, 300, draw)
    assert bca > normal
    assert bca > 0.83


def test_few_distinct_values_are_drawn_by_counts_with_the_same_distribution() -> None:
    hits = np.repeat([0.0, 1.0], [900, 100])
    drawn = resampled_ratios(hits, np.ones(1000), 4000, np.random.default_rng(0))
    exact = stats.binom(1000, 0.1)
    assert drawn.mean() == pytest.approx(0.1, abs=4 * exact.std() / 1000 / math.sqrt(4000))
    assert drawn.std() == pytest.approx(exact.std() / 1000, rel=0.05)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx((exact.ppf(0.025) / 1000, exact.ppf(0.975) / 1000), abs=0.0015)


def test_agrees_with_scipy_on_continuous_values() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=80)
    for method, name in (("bca", "BCa"), ("percentile", "percentile")):
        mine = bootstrap_interval(values, method=method, resamples=20_000)
        theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method=name, rng=1).confidence_interval
        assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_normal_interval_by_hand() -> None:
    interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0], method="normal")
    reach = 1.959963984540054 * math.sqrt(5 / 3 / 4)
    assert (interval.low, interval.high) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert interval.method == "normal"
    assert interval.width == pytest.approx(2 * reach)


def test_weights_make_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(5)
    values, weight = rng.random(200), rng.integers(1, 5, 200).astype(float)
    for method in ("bca", "percentile", "normal"):
        by_weight = bootstrap_interval(values, weight, method=method, seed=1)
        assert by_weight == bootstrap_ratio(values * weight, weight, method=method, seed=1)
        assert np.average(values, weights=weight) in by_weight
    assert bootstrap_interval(values, weight) != bootstrap_interval(values)


def test_same_seed_same_interval_and_level_widens() -> None:
    values = np.random.default_rng(1).random(300)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, level=0.5).width < bootstrap_interval(values, level=0.99).width


def test_undefined_units_are_left_out_and_too_few_give_no_interval() -> None:
    values = np.array([0.1, np.nan, 0.5, 0.4, np.nan, 0.9])
    assert bootstrap_interval(values) == bootstrap_interval(values[~np.isnan(values)])
    for few in ([0.5], [math.nan, math.nan], [math.nan, 0.3]):
        assert math.isnan(bootstrap_interval(few).low)
    constant = bootstrap_interval([0.25] * 9)
    assert (constant.low, constant.high) == (0.25, 0.25)


def test_auto_draws_while_that_is_cheap_and_says_when_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(8).random(500)
    assert bootstrap_interval(values) == bootstrap_interval(values, method="bca")
    monkeypatch.setattr("palate.evaluate.intervals._DRAWS", 1000)
    assert bootstrap_interval(values) == bootstrap_interval(values, method="normal")
    assert bootstrap_interval(values).method == "normal"
    assert bootstrap_interval(np.round(values, 1)).method == "bca bootstrap"  # few distinct values stay cheap


def test_draws_count_every_unit_fairly() -> None:
    counts = np.stack(list(draws(50, 3000, np.random.default_rng(0))))
    assert counts.shape == (3000, 50)
    assert (counts.sum(1) == 50).all()
    np.testing.assert_allclose(counts.mean(0), 1.0, atol=0.1)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: bootstrap_interval([1.0, 2.0], level=95), ConfigError, "level = 95"),
        (lambda: bootstrap_interval([1.0, 2.0], method="bcaa"), ConfigError, 'Did you mean "bca"'),
        (lambda: bootstrap_interval([1.0, 2.0], resamples=0), ConfigError, "resamples = 0"),
        (lambda: bootstrap_interval([1.0, 2.0], [1.0]), DataError, "weight has 1 rows"),
        (lambda: bootstrap_interval([1.0, 2.0], [1.0, -1.0]), DataError, "not negative"),
        (lambda: bootstrap_interval([1.0, math.inf]), DataError, "finite"),
        (lambda: bootstrap_ratio([1.0], [1.0, 2.0]), DataError, "differ in shape"),
    ],
)
def test_bad_input_is_named(call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_interval_says_what_it_is() -> None:
    assert Interval(0.1, 0.2, 0.9, "DeLong").to_dict() == {"low": 0.1, "high": 0.2, "level": 0.9, "method": "DeLong"}
    assert 0.25 not in Interval(0.1, 0.2, 0.9, "DeLong")
