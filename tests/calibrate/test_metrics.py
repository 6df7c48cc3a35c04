"""Field metrics: the numbers of the specification, their laws, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.calibrate.metrics import field_ece, field_errors, field_rce, multi_field_rce, mvce, rce
from palate.errors import ConfigError, DataError
from palate.evaluate.classification import ece, pcoc

Y = [1, 0, 0, 1, 0, 1, 0, 0]
P = [0.8, 0.3, 0.2, 0.6, 0.4, 0.5, 0.1, 0.1]
FIELD = [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_numbers_of_the_specification():
    assert pcoc(P, Y) == pytest.approx(1.0, abs=1e-12)
    assert ece(P, Y, bins=5) == pytest.approx(0.175, abs=1e-12)
    assert field_ece(P, Y, FIELD) == pytest.approx(0.025, abs=1e-12)
    assert field_rce(P, Y, FIELD) == pytest.approx(0.075, abs=1e-12)


def test_errors_by_value():
    errors = field_errors(P, Y, FIELD)
    assert errors.values.tolist() == [0, 1]
    assert errors.error == pytest.approx([-0.025, 0.025])
    assert errors.spread(min_rows=1) == pytest.approx(0.025)
    assert errors.worst_decile(min_rows=1) == pytest.approx(0.025)
    assert np.isnan(errors.spread())
    assert np.isnan(errors.worst_decile())


def test_values_without_a_positive_are_skipped_and_reported():
    errors = field_errors([0.4, 0.4, 0.2, 0.3], [1, 0, 0, 0], ["a", "a", "b", "b"])
    assert errors.rce == pytest.approx(0.2)
    assert errors.rce_share == 0.5
    assert np.isnan(field_rce([0.2, 0.3], [0, 0], ["a", "b"]))


def test_spread_and_worst_decile_use_large_values_only():
    rng = np.random.default_rng(0)
    field = np.concatenate([np.repeat(np.arange(10), 1000), np.full(50, 99)])
    p = np.where(field == 99, 0.9, 0.3)
    y = (rng.random(len(p)) < np.where(field == 99, 0.1, 0.3 + 0.02 * (field == 9))).astype(int)
    errors = field_errors(p, y, field)
    assert errors.spread() < 0.03
    assert errors.worst_decile() < 0.06
    assert errors.spread(min_rows=1) > errors.spread()


def test_relative_error_over_bins_by_hand():
    # bin of 0.2: |0.5 - 0.2| / 0.5 = 0.6 over 2 rows; bin of 0.8: |1 - 0.8| / 1 = 0.2 over 2 rows
    assert rce([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], bins=5) == pytest.approx(0.4)
    assert rce([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], kind="mass", bins=2) == pytest.approx(0.4)


def test_multi_field_is_the_mean():
    fields = {"half": FIELD, "parity": [0, 1] * 4}
    assert multi_field_rce(P, Y, fields) == pytest.approx((0.075 + field_rce(P, Y, [0, 1] * 4)) / 2)


rows = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 1), st.integers(0, 3), st.integers(1, 3)), min_size=2, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_order_of_rows_doubling_and_weights(table, random):
    p, y, z, w = (np.array(column) for column in zip(*table, strict=True))
    measures = [field_ece, field_rce, lambda p, y, z, w=None: mvce(p, y, {"z": z}, w, views=5)]
    measures.append(lambda p, y, z, w=None: field_errors(p, y, z, w).spread(min_rows=0))
    order = np.array(random.sample(range(len(p)), len(p)))
    for measure in measures:
        plain = measure(p, y, z)
        assert measure(p[order], y[order], z[order]) == pytest.approx(plain, abs=1e-12, nan_ok=True)
        assert measure(*(np.tile(column, 2) for column in (p, y, z))) == pytest.approx(plain, abs=1e-12, nan_ok=True)
        assert measure(p, y, z, w) == pytest.approx(
            measure(*(np.repeat(column, w) for column in (p, y, z))), abs=1e-9, nan_ok=True
        )


@settings(max_examples=60, deadline=None)
@given(rows)
def test_the_field_error_is_zero_for_perfect_sums_and_bounds_the_total_error(table):
    p, y, z, _ = (np.array(column) for column in zip(*table, strict=True))
    assert field_ece(y.astype(float), y, z) == 0.0
    assert field_ece(p, y, z) >= abs(p.sum() - y.sum()) / len(p) - 1e-12
    assert mvce(p, y, {"z": z}, views=5) >= abs(p.sum() - y.sum()) / len(p) - 1e-12


def test_many_views_find_a_group_that_the_score_hides():
    rng = np.random.default_rng(1)
    group, hour = rng.integers(0, 8, 20_000), rng.random(20_000)
    truth = np.where(group < 4, 0.2, 0.4)
    y = (rng.random(20_000) < truth).astype(int)
    features = {"group": group, "hour": hour}
    blind, right = mvce(np.full(20_000, y.mean()), y, features), mvce(truth, y, features)
    assert ece(np.full(20_000, y.mean()), y) == pytest.approx(0, abs=1e-12)
    assert blind > 0.03
    assert right < 0.02
    assert mvce(truth, y, features, seed=0) == right
    assert mvce(truth, y, features, seed=1) != right


def test_sums_of_many_rows_are_exact_enough():
    p = np.full(2_000_000, np.float32(0.1))
    assert field_ece(p, np.zeros(2_000_000), np.zeros(2_000_000, dtype=int)) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: field_ece([0.1, np.nan], [0, 1], [0, 1]),
        lambda: field_ece([0.1, 1.2], [0, 1], [0, 1]),
        lambda: field_ece([0.1, 0.2], [0, 2], [0, 1]),
        lambda: field_ece([0.1, 0.2], [0, 1], [0, 1, 2]),
        lambda: field_ece([0.1, 0.2], [0, 1], [0, 1], [0, 0]),
        lambda: multi_field_rce([0.1], [0], {}),
        lambda: mvce([0.1], [0], {}),
        lambda: mvce([0.1, 0.2], [0, 1], {"x": [0.5, np.nan]}),
    ],
)
def test_bad_columns_are_refused(call):
    with pytest.raises(DataError):
        call()


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError):
        mvce([0.1], [0], {"x": [1]}, views=0)
    with pytest.raises(ConfigError):
        rce([0.1], [1], bins=0)
