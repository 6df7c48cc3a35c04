"""Calibrators in scikit-learn: pipelines, searches, data frames, and the checks of the library itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from palate.calibrate.scikit import CalibratedClassifier, ScoreCalibrator
from palate.errors import ConfigError, DataError, UnknownNameError

TINY = {"hidden_size": 8, "epochs": 4}


def world(rows=4000, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 4))
    X[:, 1] = 0.9 * X[:, 0] + 0.1 * X[:, 1]  # naive Bayes counts the same evidence twice
    site = rng.integers(0, 3, rows)
    y = (rng.random(rows) < expit(1.5 * X[:, 0] + np.array([-1.0, 0.0, 1.0])[site])).astype(int)
    return np.column_stack([X, site]), y


def known_gaps(estimator):
    reason = "a row twice may be held out once: doubling a row is not the same as its weight when rows are split"
    return dict.fromkeys(
        ["check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"], reason
    )


@parametrize_with_checks(
    [CalibratedClassifier(LogisticRegression(), "platt", random_state=0)], expected_failed_checks=known_gaps
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_mcnet_behind_naive_bayes_lowers_the_loss_more_than_platt():
    X, y = world()
    fresh, truth = world(seed=1)
    plain = GaussianNB().fit(X[:, :4], y).predict_proba(fresh[:, :4])
    losses = {}
    for method, settings, context in [("platt", None, ()), ("mcnet", TINY, (4,))]:
        fitted = CalibratedClassifier(GaussianNB(), method, settings, context, random_state=0).fit(X, y)
        losses[method] = log_loss(truth, fitted.predict_proba(fresh))
        assert fitted.predict_proba(fresh).sum(1) == pytest.approx(np.ones(len(truth)))
        assert (fitted.predict(fresh) == (fitted.predict_proba(fresh)[:, 1] > 0.5)).all()
    assert losses["mcnet"] < losses["platt"] < log_loss(truth, plain)


def test_a_data_frame_with_named_context_and_text_labels():
    X, y = world(1500)
    frame = pd.DataFrame(X[:, :4], columns=list("abcd"))
    frame["site"] = np.array(["north", "south", "west"])[X[:, 4].astype(int)]
    encode = make_column_transformer((StandardScaler(), list("abcd")), (OneHotEncoder(), ["site"]))
    base = make_pipeline(encode, LogisticRegression())
    fitted = CalibratedClassifier(base, "platt-per-field", context=["site"], random_state=0)
    fitted.fit(frame, np.array(["no", "yes"])[y])
    assert set(fitted.predict(frame)) <= {"no", "yes"}
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert fitted.calibrator_.context_vocabulary.fields[0].tolist() == ["north", "south", "west"]


def test_scores_and_context_as_columns_of_a_pipeline_step():
    X, y = world(2000)
    scores = expit(2.0 * X[:, 0])
    columns = np.column_stack([scores, X[:, 4]])
    step = ScoreCalibrator("mcnet", TINY).fit(columns, y)
    assert step.predict_proba(columns).shape == (2000, 2)
    assert log_loss(y, step.predict_proba(columns)) < log_loss(y, scores)
    frame = pd.DataFrame({"score": scores, "site": X[:, 4].astype(int)})
    again = ScoreCalibrator("mcnet", TINY).fit(frame, y)
    assert (again.predict_proba(frame) == step.predict_proba(columns)).all()
    assert set(step.predict(columns)) <= {0, 1}


def test_a_fitted_classifier_is_taken_as_it_is():
    X, y = world(2000)
    base = GradientBoostingClassifier(n_estimators=5).fit(X[:1000], y[:1000])
    fitted = CalibratedClassifier(base, "isotonic", holdout=None).fit(X[1000:], y[1000:])
    assert fitted.estimator_ is base


def test_it_can_be_searched_cross_validated_and_weighted():
    X, y = world(800)
    base = CalibratedClassifier(LogisticRegression(), "platt", random_state=0)
    search = GridSearchCV(base, {"method": ["platt", "histogram"], "estimator__C": [0.1, 1.0]}, cv=2).fit(X, y)
    assert search.best_params_["method"] in ("platt", "histogram")
    assert cross_val_score(base, X, y, cv=2, scoring="neg_log_loss").max() < 0
    weight = np.where(y == 1, 5.0, 1.0)
    heavy = base.fit(X, y, sample_weight=weight).predict_proba(X)[:, 1].mean()
    assert heavy > base.fit(X, y).predict_proba(X)[:, 1].mean()


def test_what_cannot_work_is_refused():
    X, y = world(300)
    with pytest.raises(UnknownNameError, match="isotonic"):
        CalibratedClassifier(LogisticRegression(), "isotonc").fit(X, y)
    with pytest.raises(ConfigError, match="epochs"):
        CalibratedClassifier(LogisticRegression(), "mcnet", {"epoch": 3}).fit(X, y)
    with pytest.raises(ConfigError, match="holdout"):
        CalibratedClassifier(LogisticRegression(), "platt", holdout=1.5).fit(X, y)
    with pytest.raises(DataError, match="a probability"):
        ScoreCalibrator("platt").fit(X, y)
    with pytest.raises(DataError, match="2 columns; 1 were fitted"):
        ScoreCalibrator("platt").fit(expit(X[:, :1]), y).predict_proba(expit(X[:, :2]))
    with pytest.raises(DataError, match="categories"):
        ScoreCalibrator("mcnet", TINY).fit(np.column_stack([expit(X[:, 0]), X[:, 1]]), y)
