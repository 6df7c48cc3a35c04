from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from palate.errors import ConfigError, DataError
from palate.evaluate.significance import TESTS, holm, paired_bootstrap, paired_t, permutation_test, wilcoxon


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.01, 0.02, 0.9]).tolist() == pytest.approx([0.08, 0.04, 0.06, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    with_gap = holm([0.02, math.nan, 0.01])
    assert with_gap[[0, 2]].tolist() == pytest.approx([0.02, 0.02])
    assert math.isnan(with_gap[1])
    assert holm([]).tolist() == []
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        holm([1.5])


def test_exact_permutation_counts_every_sign_pattern() -> None:
    gaps = np.array([0.3, -0.1, 0.2, 0.0, 0.4])
    moved = gaps[gaps != 0]
    sums = [abs(np.dot(signs, moved)) for signs in itertools.product([1, -1], repeat=4)]
    expected = np.mean(np.array(sums) >= moved.sum() - 1e-12)
    found = permutation_test(gaps, np.zeros(5))
    assert found.p_value == expected
    assert found.method.startswith("exact")
    assert (found.difference, found.count) == (pytest.approx(0.16), 5)


@pytest.mark.parametrize("digits", [1, 12])  # few distinct differences, and as many as units
def test_drawn_permutation_agrees_with_scipy(digits: int) -> None:
    gaps = np.round(np.random.default_rng(2).normal(0.12, 1.0, 200), digits)
    mine = permutation_test(gaps, np.zeros(200), resamples=20_000)
    theirs = stats.permutation_test(
        (gaps,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=5000, vectorized=True, rng=0
    )
    assert mine.p_value == pytest.approx(theirs.pvalue, abs=0.02)
    assert mine == permutation_test(gaps, np.zeros(200), resamples=20_000)


@pytest.mark.parametrize("name", list(TESTS))
def test_each_test_keeps_its_error_rate_and_finds_what_is_there(name: str) -> None:
    options = {"resamples": 400} if name in ("permutation", "bootstrap") else {}
    rng = np.random.default_rng(3)
    pairs = [rng.normal(size=(2, 40)) for _ in range(400)]
    rejected = np.mean([TESTS[name](first, second, **options).p_value < 0.05 for first, second in pairs])
    assert 0.02 < rejected < 0.09
    found = np.mean([TESTS[name](first + 1.0, second, **options).p_value < 0.05 for first, second in pairs[:50]])
    assert found > 0.95
    first, second = pairs[0]
    there, back = TESTS[name](first, second, **options), TESTS[name](second, first, **options)
    assert there.difference == -back.difference
    assert there.difference == pytest.approx(first.mean() - second.mean())


@pytest.mark.parametrize("name", list(TESTS))
def test_no_difference_and_undefined_units(name: str) -> None:
    same = TESTS[name]([0.1, 0.5, 0.3], [0.1, 0.5, 0.3])
    assert (same.difference, same.p_value) == (0.0, 1.0)
    none = TESTS[name]([math.nan, 1.0], [1.0, math.nan])
    assert none.count == 0
    assert math.isnan(none.p_value)
    with_gap = TESTS[name]([0.1, math.nan, 0.5, 0.9], [0.3, 0.2, 0.1, 0.1])
    assert with_gap.count == 3
    assert with_gap.p_value == TESTS[name]([0.1, 0.5, 0.9], [0.3, 0.1, 0.1]).p_value
    with pytest.raises(DataError, match="second has 1 rows"):
        TESTS[name]([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match="finite"):
        TESTS[name]([0.1, math.inf], [0.1, 0.2])


def test_student_and_wilcoxon_agree_with_scipy() -> None:
    first, second = np.random.default_rng(4).normal(size=(2, 15))
    found, theirs = paired_t(first, second), stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-10)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    assert wilcoxon(first, second).p_value == stats.wilcoxon(first, second).pvalue
    assert math.isnan(paired_t([1.0], [0.0]).p_value)


def test_bootstrap_gives_an_interval_and_documents_write_themselves() -> None:
    first, second = np.random.default_rng(5).normal(size=(2, 100)) + np.array([[0.6], [0.0]])
    found = paired_bootstrap(first, second, resamples=1000)
    assert found.interval is not None
    assert found.difference in found.interval
    assert found.p_value < 0.05
    assert found.to_dict()["interval"]["level"] == 0.95
    with pytest.raises(ConfigError, match="resamples"):
        paired_bootstrap(first, second, resamples=0)
    with pytest.raises(ConfigError, match="resamples"):
        permutation_test(first, second, resamples=0)
