"""Any calibrator of the registry in a scikit-learn pipeline: behind a classifier, or on a column of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, column_or_1d

from palate.calibrate.contract import Calibrator
from palate.errors import ConfigError, DataError
from palate.registry import find

__all__ = ["CalibratedClassifier", "ScoreCalibrator"]


class InputError(DataError, ValueError):
    """A data error that scikit-learn's own machinery recognises as one."""


class ScoreCalibrator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A calibrator as a classifier of two classes: the first column of X is the score, the others are the context.

    Args:
        method: Public name of the calibrator, see ``palate models``.
        settings: Settings of the calibrator that differ from its defaults.

    Shapes:
        X: ``[N, 1 + F]`` array or data frame; predict_proba: ``[N, 2]``.

    Example:
        >>> X = np.array([[0.2], [0.3], [0.6], [0.8]])
        >>> ScoreCalibrator("platt").fit(X, [0, 1, 0, 1]).predict_proba(X).shape
        (4, 2)
    """

    def __init__(self, method: str = "mcnet", settings: Mapping[str, Any] | None = None) -> None:
        self.method = method
        self.settings = settings

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the calibrator on scores, context and labels of two classes."""
        columns = _columns(X)
        self.n_features_in_ = len(columns)
        self.classes_, labels = _two_classes(y)
        self.calibrator_ = _build(self.method, self.settings)
        self.calibrator_.fit(columns[0], labels, _context(columns[1:], self.calibrator_), sample_weight)
        return self

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the probabilities of both classes, ``[N, 2]``."""
        check_is_fitted(self, "calibrator_")
        columns = _columns(X)
        if len(columns) != self.n_features_in_:
            raise InputError(f"X has {len(columns)} columns; {self.n_features_in_} were fitted.")
        return _both(self.calibrator_.predict(columns[0], _context(columns[1:], self.calibrator_)))

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the more probable class."""
        positive = self.predict_proba(X)[:, 1] > 0.5
        return np.asarray(self.classes_[positive.astype(int)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class CalibratedClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose probabilities are calibrated on rows that it has not seen, with a context if there is one.

    What ``CalibratedClassifierCV(ensemble=False)`` does for Platt and isotonic, for every calibrator here; the
    context columns go to the classifier as well.

    Args:
        estimator: Classifier with ``predict_proba``, or a pipeline that ends in one.
        method: Public name of the calibrator.
        settings: Settings of the calibrator that differ from its defaults.
        context: Columns of X that are the context: indices, or names for a data frame.
        holdout: Share of the rows that fits the calibrator. ``None`` takes ``estimator`` as fitted and calibrates
            on all rows, which it must not have seen.
        random_state: Seed of the split.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3))
        >>> y = (X[:, 0] + rng.normal(size=400) > 0).astype(int)
        >>> CalibratedClassifier(LogisticRegression(), "platt", random_state=0).fit(X, y).predict_proba(X).shape
        (400, 2)
    """

    def __init__(
        self,
        estimator: Any,
        method: str = "mcnet",
        settings: Mapping[str, Any] | None = None,
        context: Sequence[int] | Sequence[str] = (),
        holdout: float | None = 0.25,
        random_state: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.settings = settings
        self.context = context
        self.holdout = holdout
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the classifier on one part of the rows and the calibrator on the other."""
        check_consistent_length(X, y)
        self.classes_, labels = _two_classes(y)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        if self.holdout is None:
            check_is_fitted(self.estimator)
            self.estimator_, held = self.estimator, np.arange(len(labels))
        else:
            if not 0.0 < self.holdout < 1.0:
                raise ConfigError(f"holdout = {self.holdout} is not valid: a share between 0 and 1, or None.")
            rest, held = train_test_split(
                np.arange(len(labels)), test_size=self.holdout, stratify=labels, random_state=self.random_state
            )
            extra = {} if weight is None else {"sample_weight": weight[rest]}
            self.estimator_ = clone(self.estimator).fit(_rows(X, rest), np.asarray(y)[rest], **extra)
        if hasattr(self.estimator_, "n_features_in_"):
            self.n_features_in_ = self.estimator_.n_features_in_
        calibrator = _build(self.method, self.settings)
        rows = _rows(X, held)
        context = self._context(rows, calibrator)
        try:
            calibrator.fit(self._scores(rows), labels[held], context, None if weight is None else weight[held])
        except DataError as error:
            raise InputError(f"The rows held out for calibration: {error.message}", remedy=error.remedy) from error
        self.calibrator_ = calibrator
        return self

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the calibrated probabilities of both classes, ``[N, 2]``."""
        check_is_fitted(self, "calibrator_")
        return _both(self.calibrator_.predict(self._scores(X), self._context(X, self.calibrator_)))

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the more probable class."""
        positive = self.predict_proba(X)[:, 1] > 0.5
        return np.asarray(self.classes_[positive.astype(int)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags

    def _scores(self, X: Any) -> np.ndarray[Any, Any]:
        # a float32 model can give 1 + 1e-7
        return np.clip(np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)[:, 1], 0.0, 1.0)

    def _context(self, X: Any, calibrator: Calibrator) -> np.ndarray[Any, Any] | None:
        named = hasattr(X, "columns")
        columns = [X[name] if named and isinstance(name, str) else _columns(X)[int(name)] for name in self.context]
        return _context(columns, calibrator)


def _build(method: str, settings: Mapping[str, Any] | None) -> Calibrator:
    factory: Any = find("calibrator", method).factory
    calibrator: Calibrator = factory(factory.Config(**dict(settings or {})))
    return calibrator


def _two_classes(y: ArrayLike) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    column = column_or_1d(y, warn=True)
    check_classification_targets(column)
    classes, labels = np.unique(column, return_inverse=True)
    if len(classes) == 1:
        raise InputError("y has one class only; classifiers need two.")
    if len(classes) > 2:
        raise InputError(
            f"Only binary classification is supported. The type of the target is multiclass: {len(classes)} classes."
        )
    return classes, labels


def _columns(X: Any) -> list[Any]:
    if hasattr(X, "columns"):
        return [X[name] for name in X.columns]
    table = np.asarray(X)
    if table.ndim != 2:
        raise InputError(f"X has shape {list(table.shape)}; [N, 1 + F] is expected. Reshape your data.")
    return list(table.T)


def _rows(X: Any, rows: np.ndarray[Any, Any]) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if hasattr(X, "tocsr"):  # sparse formats differ in what they can select
        return X.tocsr()[rows]
    return X[rows] if hasattr(X, "shape") else np.asarray(X)[rows]


def _context(columns: Sequence[Any], calibrator: Calibrator) -> np.ndarray[Any, Any] | None:
    """Join context columns, each keeping its kind; the vocabulary of the calibrator judges them."""
    if not columns or not calibrator.uses_context:
        return None
    parts = [np.asarray(column) for column in columns]
    alike = len({part.dtype.kind for part in parts}) == 1
    return np.stack(parts if alike else [part.astype(object) for part in parts], axis=1)


def _both(positive: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.column_stack([1.0 - positive, positive])
