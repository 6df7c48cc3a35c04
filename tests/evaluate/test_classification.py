from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from palate.errors import ConfigError, DataError
from palate.evaluate import classification
from palate.evaluate.classification import f1, log_loss, log_loss_from_logits, row_log_losses

rng = np.random.default_rng(0)
LOGITS = rng.normal(-1, 2, 3000)
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))
LABELS = rng.random(3000) < PROBABILITIES
WEIGHT = rng.random(3000)


def test_hand_numbers() -> None:
    assert log_loss([0.5, 0.8], [0, 1]) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2, abs=1e-15)
    assert log_loss([0.5, 0.8], [0, 1], [3, 1]) == pytest.approx(-(3 * math.log(0.5) + math.log(0.8)) / 4, abs=1e-15)
    assert log_loss([0.0, 1.0], [0, 1]) == 0.0
    assert log_loss([1.0], [0]) == pytest.approx(-math.log(1e-15), rel=1e-12)
    assert row_log_losses([0.5, 0.8], [0, 1]).tolist() == [-math.log(0.5), -math.log(0.8)]
    # called positive: rows 0 and 1; true: rows 0 and 2. precision 1/2, recall 1/2
    assert f1([0.9, 0.6, 0.2, 0.1], [1, 0, 1, 0]) == 0.5
    assert f1([0.9, 0.6, 0.2, 0.1], [1, 0, 1, 0], threshold=0.2) == pytest.approx(0.8)
    assert f1([0.9, 0.1], [0, 1]) == 0.0
    assert math.isnan(f1([0.1, 0.2], [0, 0]))


def test_agrees_with_scikit_learn() -> None:
    assert abs(log_loss(PROBABILITIES, LABELS) - metrics.log_loss(LABELS, PROBABILITIES)) < 1e-12
    weighted = metrics.log_loss(LABELS, PROBABILITIES, sample_weight=WEIGHT)
    assert abs(log_loss(PROBABILITIES, LABELS, WEIGHT) - weighted) < 1e-12
    assert abs(f1(PROBABILITIES, LABELS) - metrics.f1_score(LABELS, PROBABILITIES >= 0.5)) < 1e-12
    weighted = metrics.f1_score(LABELS, PROBABILITIES >= 0.3, sample_weight=WEIGHT)
    assert abs(f1(PROBABILITIES, LABELS, WEIGHT, threshold=0.3) - weighted) < 1e-12


def test_logits_give_the_same_loss_and_never_saturate() -> None:
    assert abs(log_loss_from_logits(LOGITS, LABELS) - log_loss(PROBABILITIES, LABELS)) < 1e-12
    assert abs(log_loss_from_logits(LOGITS, LABELS, WEIGHT) - log_loss(PROBABILITIES, LABELS, WEIGHT)) < 1e-12
    assert log_loss_from_logits([800.0, -800.0], [0, 1]) == 800.0
    assert log_loss_from_logits([800.0], [1]) == 0.0
    assert log_loss_from_logits([-40.0], [0]) == pytest.approx(math.exp(-40.0), rel=1e-12)
    assert log_loss_from_logits([0], [1]) == pytest.approx(math.log(2))


def test_float32_is_summed_in_float64() -> None:
    many = np.full(3_000_000, 0.3, np.float32)
    assert log_loss(many, np.zeros(len(many), bool)) == pytest.approx(-math.log1p(-float(np.float32(0.3))), rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_order_and_repetition_laws(seed: int) -> None:
    law = np.random.default_rng(seed)
    take = law.permutation(3000)[:200]
    p, y = PROBABILITIES[take], LABELS[take]
    order = law.permutation(200)
    assert abs(log_loss(p, y) - log_loss(p[order], y[order])) < 1e-12
    repeats = law.integers(0, 4, 200)
    repeats[0] = 1
    for metric in (log_loss, f1):
        assert abs(metric(p, y, repeats) - metric(np.repeat(p, repeats), np.repeat(y, repeats))) < 1e-12


def test_bad_input_is_named() -> None:
    with pytest.raises(DataError, match=r"outside \[0, 1\] in 1 of 2 rows.*"):
        log_loss([0.2, 1.2], [0, 1])
    with pytest.raises(DataError, match="log_loss_from_logits"):
        log_loss([0.2, -3.0], [0, 1])
    with pytest.raises(DataError, match="NaN"):
        log_loss([0.2, math.nan], [0, 1])
    with pytest.raises(DataError, match="infinite in 1 of 2 rows"):
        log_loss_from_logits([0.2, math.inf], [0, 1])
    with pytest.raises(ConfigError, match="clip"):
        log_loss([0.2], [0], clip=0.0)


def test_one_roof_for_all_row_metrics() -> None:
    for name in ("auc", "gauc", "per_group_auc", "log_loss", "f1", "brier", "ece", "pcoc", "reliability_curve"):
        assert callable(getattr(classification, name))
