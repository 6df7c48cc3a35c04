from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn import metrics

from palate.errors import ConfigError, DataError, UnknownNameError
from palate.evaluate import rows as rows_module
from palate.evaluate.rows import evaluate_ranker

RNG = np.random.default_rng(0)
USERS = RNG.integers(0, 60, 2000)
LOGITS = RNG.normal(-1, 1.5, 2000) + 0.5 * RNG.normal(size=60)[USERS]
LABELS = RNG.random(2000) < 1 / (1 + np.exp(-LOGITS))
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))
ALL = ["auc", "gauc", "avg_auc", "log_loss", "brier", "ece", "ece_mass", "pcoc", "f1"]


def test_values_are_those_of_the_single_metrics() -> None:
    table = evaluate_ranker(LOGITS, LABELS, groups=USERS, metrics=ALL, resamples=200)
    assert table.names == tuple(ALL)
    assert table["auc"].value == pytest.approx(metrics.roc_auc_score(LABELS, LOGITS), abs=1e-12)
    assert table["log_loss"].value == pytest.approx(metrics.log_loss(LABELS, PROBABILITIES), abs=1e-12)
    assert table["brier"].value == pytest.approx(metrics.brier_score_loss(LABELS, PROBABILITIES), abs=1e-12)
    assert table["f1"].value == pytest.approx(metrics.f1_score(LABELS, PROBABILITIES >= 0.5), abs=1e-12)
    assert table["pcoc"].value == pytest.approx(PROBABILITIES.sum() / LABELS.sum(), abs=1e-12)
    by_user = [metrics.roc_auc_score(LABELS[user == USERS], LOGITS[user == USERS]) for user in range(60)]
    assert table["avg_auc"].value == pytest.approx(np.mean(by_user), abs=1e-12)
    assert table["gauc"].value == pytest.approx(np.average(by_user, weights=np.bincount(USERS)), abs=1e-12)
    assert table["gauc"].per_user is not None
    np.testing.assert_allclose(table["gauc"].per_user, by_user, atol=1e-12)


def test_logits_and_probabilities_agree_where_nothing_saturates() -> None:
    by_logit = evaluate_ranker(LOGITS, LABELS, resamples=50).values()
    by_probability = evaluate_ranker(PROBABILITIES, LABELS, kind="probabilities", resamples=50).values()
    assert by_logit == pytest.approx(by_probability, abs=1e-12)
    wild = evaluate_ranker([60.0, 80.0, -700.0], [0, 1, 0], metrics=["auc", "log_loss"], resamples=50)
    assert wild["auc"].value == 1.0  # float64 sigmoids of 60 and 80 are equal, the logits are not
    assert wild["log_loss"].value == pytest.approx(20.0)


def test_intervals_hold_the_value_and_say_what_they_are() -> None:
    rows = evaluate_ranker(LOGITS, LABELS, metrics=["auc", "log_loss", "brier", "pcoc", "ece"], resamples=300)
    grouped = evaluate_ranker(LOGITS, LABELS, groups=USERS, metrics=ALL, resamples=300)
    for table, unit in ((rows, "rows"), (grouped, "groups")):
        for name in ("auc", "log_loss", "brier", "pcoc"):
            interval = table[name].interval
            assert interval is not None
            assert table[name].value in interval
            assert interval.method == "DeLong" or interval.method.endswith(f"over {unit}")
    assert rows["ece"].interval is None
    assert rows["auc"].interval is not None
    assert rows["auc"].interval.method == "DeLong"


def test_copied_rows_of_a_user_do_not_buy_certainty() -> None:
    copied = [np.repeat(column, 9) for column in (LOGITS[:300], LABELS[:300], np.arange(300))]
    honest = evaluate_ranker(LOGITS[:300], LABELS[:300], metrics=["log_loss"])["log_loss"].interval
    by_user = evaluate_ranker(*copied[:2], groups=copied[2], metrics=["log_loss"])["log_loss"].interval
    by_row = evaluate_ranker(*copied[:2], metrics=["log_loss"])["log_loss"].interval
    assert honest is not None
    assert by_user is not None
    assert by_row is not None
    assert by_user.width == pytest.approx(honest.width, rel=0.15)
    assert by_row.width < honest.width / 2


def test_many_rows_take_formulas_in_place_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = evaluate_ranker(LOGITS, LABELS, groups=USERS, resamples=400)
    monkeypatch.setattr(rows_module, "_DRAWS", 100)
    monkeypatch.setattr("palate.evaluate.intervals._DRAWS", 100)
    formula = evaluate_ranker(LOGITS, LABELS, groups=USERS, resamples=400)
    assert formula["auc"].interval is not None
    assert formula["auc"].interval.method == "DeLong"
    assert formula["log_loss"].interval is not None
    assert formula["log_loss"].interval.method == "normal over groups"
    assert drawn["log_loss"].interval is not None
    assert formula["log_loss"].interval.width == pytest.approx(drawn["log_loss"].interval.width, rel=0.2)


def test_groups_with_one_class_are_skipped_and_counted() -> None:
    table = evaluate_ranker(
        [0.2, 0.1, 0.9, 0.7, 0.6, 0.5], [0, 1, 1, 1, 0, 1], groups=list("AAABBC"), metrics=["gauc", "avg_auc"]
    )
    assert table["gauc"].value == pytest.approx(0.7)
    assert table["avg_auc"].value == pytest.approx(0.75)
    assert (table["gauc"].count, table["gauc"].skipped, table["gauc"].unit) == (2, 1, "groups")


def test_weight_is_repetition() -> None:
    weight = np.random.default_rng(1).integers(0, 4, 2000)
    weighted = evaluate_ranker(LOGITS, LABELS, groups=USERS, weight=weight, metrics=ALL, resamples=50)
    repeated = evaluate_ranker(
        *(np.repeat(column, weight) for column in (LOGITS, LABELS)),
        groups=np.repeat(USERS, weight),
        metrics=ALL,
        resamples=50,
    )
    assert weighted.values() == pytest.approx(repeated.values(), abs=1e-12)
    assert weighted["auc"].interval is None
    assert "rows are weighted" in weighted.setting.notes


def test_one_class_is_undefined_and_still_a_document() -> None:
    table = evaluate_ranker([0.2, -0.4, 1.0], [0, 0, 0], metrics=["auc", "pcoc", "log_loss"], resamples=50)
    assert math.isnan(table["auc"].value)
    assert math.isnan(table["pcoc"].value)
    document = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert document["results"][0]["value"] is None


def test_the_setting_is_stated() -> None:
    table = evaluate_ranker(LOGITS, LABELS, split="validation", seeds=[3], resamples=50)
    assert table.setting.split == "validation"
    assert table.setting.seeds == (3,)
    assert "2,000 rows" in str(table)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: evaluate_ranker(LOGITS, LABELS, kind="logit"), ConfigError, 'Did you mean "logits"'),
        (lambda: evaluate_ranker(LOGITS, LABELS, kind="probabilities"), DataError, r"outside \[0, 1\]"),
        (lambda: evaluate_ranker(LOGITS, LABELS, metrics=["gauc"]), ConfigError, "gauc needs groups"),
        (lambda: evaluate_ranker(LOGITS, LABELS, metrics=["ndcg@5"]), UnknownNameError, "metric of rows"),
        (lambda: evaluate_ranker(LOGITS, LABELS[:5]), DataError, "labels has 5 rows"),
    ],
)
def test_bad_input_is_named(call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
