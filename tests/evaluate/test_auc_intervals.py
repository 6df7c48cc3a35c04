from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from palate.errors import ConfigError, DataError
from palate.evaluate.auc import auc
from palate.evaluate.auc_intervals import auc_interval, bootstrap_auc, compare_auc


def separated(rng: np.random.Generator, rows: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two unit normals ``shift`` apart: the true area is Phi(shift / sqrt(2))."""
    labels = rng.random(rows) < 0.3
    return rng.normal(size=rows) + shift * labels, labels


TRUE = float(norm.cdf(1 / math.sqrt(2)))


def test_delong_by_hand() -> None:
    # V10: .35 -> 1/2, .8 -> 1; V01: .1 -> 1, .4 -> 1/2; both variances are 1/8
    interval = auc_interval([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], level=0.5)
    reach = norm.ppf(0.75) * math.sqrt(0.125 / 2 + 0.125 / 2)
    assert (interval.low, interval.high) == pytest.approx((0.75 - reach, 0.75 + reach))
    assert auc_interval([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).high == 1.0  # cut to [0, 1]


def test_delong_covers_the_true_area_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = [TRUE in auc_interval(*separated(rng, 300)) for _ in range(400)]
    assert 0.92 < np.mean(held) < 0.98


def test_bootstrap_over_rows_agrees_with_delong() -> None:
    scores, labels = separated(np.random.default_rng(1), 2000)
    scores = np.round(scores, 1)  # with ties
    delong, drawn = auc_interval(scores, labels), bootstrap_auc(scores, labels, resamples=800)
    assert (drawn.low, drawn.high) == pytest.approx((delong.low, delong.high), abs=0.004)
    assert auc(scores, labels) in drawn


def test_bootstrap_of_copied_rows_must_draw_their_groups() -> None:
    scores, labels = separated(np.random.default_rng(2), 200)
    copied = [np.repeat(column, 10) for column in (scores, labels, np.arange(200))]
    by_rows = bootstrap_auc(*copied[:2], resamples=300)
    by_groups = bootstrap_auc(*copied, resamples=300)
    honest = bootstrap_auc(scores, labels, resamples=300)
    assert by_groups.width == pytest.approx(honest.width, rel=0.15)
    assert by_rows.width < honest.width / 2
    assert by_groups.method.endswith("over groups")


def test_each_draw_is_the_weighted_area(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = separated(np.random.default_rng(3), 60)
    scores, groups = np.round(scores, 1), np.random.default_rng(4).integers(0, 12, 60)
    counts = np.random.default_rng(5).integers(0, 3, 12)
    monkeypatch.setattr("palate.evaluate.auc_intervals.draws", lambda *_: [counts])
    interval = bootstrap_auc(scores, labels, groups, resamples=1)
    expected = auc(scores, labels, counts[groups])
    assert (interval.low, interval.high) == pytest.approx((expected, expected), abs=1e-12)


def test_compare_auc_finds_a_difference_and_covers_zero_when_there_is_none() -> None:
    rng = np.random.default_rng(6)
    base, labels = separated(rng, 4000, 1.0)
    better = base + 0.5 * labels
    found = compare_auc(better, base, labels)
    assert found.difference == pytest.approx(auc(better, labels) - auc(base, labels), abs=1e-12)
    assert found.p_value < 1e-6
    assert 0.0 not in found.interval
    # two noisy copies are equally good: p is uniform and the interval holds 0 as often as it says
    pairs = []
    for _ in range(300):
        scores, truth = separated(rng, 300)
        noise = rng.normal(size=(2, 300)) * 0.5
        pairs.append(compare_auc(scores + noise[0], scores + noise[1], truth))
    assert 0.91 < np.mean([0.0 in pair.interval for pair in pairs]) < 0.985
    assert np.mean([pair.p_value < 0.5 for pair in pairs]) == pytest.approx(0.5, abs=0.09)
    same = compare_auc(base, base, labels)
    assert (same.difference, same.p_value) == (0.0, 1.0)


def test_pairing_is_what_makes_it_sharp() -> None:
    base, labels = separated(np.random.default_rng(8), 1000)
    close = base + 0.05 * np.random.default_rng(9).normal(size=1000)
    assert compare_auc(base, close, labels).interval.width < auc_interval(base, labels).width / 5


def test_too_few_rows_and_bad_input() -> None:
    assert math.isnan(auc_interval([0.1, 0.2, 0.3], [0, 0, 1]).low)
    assert math.isnan(bootstrap_auc([0.1, 0.2, 0.3], [0, 1, 1], ["u", "u", "u"]).low)
    with pytest.raises(DataError, match="at least two rows"):
        compare_auc([0.1, 0.2], [0.1, 0.2], [0, 1])
    with pytest.raises(DataError, match="second has 1 rows"):
        compare_auc([0.1, 0.2], [0.1], [0, 1])
    with pytest.raises(ConfigError, match="level"):
        auc_interval([0.1, 0.2], [0, 1], level=0.0)
    with pytest.raises(ConfigError, match="resamples"):
        bootstrap_auc([0.1, 0.2], [0, 1], resamples=0)
