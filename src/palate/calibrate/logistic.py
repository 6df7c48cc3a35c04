"""Weighted logistic regression whose slopes may not fall below zero: the fit behind Platt, beta, Gauss and Gamma."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from palate.calibrate.contract import FloatArray
from palate.calibrate.logits import sigmoid

__all__ = ["PRIOR", "fit_increasing_logistic"]

# A whisper of a prior towards the identity: it moves nothing on a real sample and keeps separable rows finite.
PRIOR = 1e-4
_STEPS = 100
_TOLERANCE = 1e-10


def fit_increasing_logistic(
    features: FloatArray, labels: FloatArray, weight: FloatArray, *, start: FloatArray, intercept: bool = True
) -> tuple[FloatArray, float]:
    """Return the slopes and intercept that maximise the likelihood among slopes of zero or more.

    ``minimise  sum_i w_i * logloss(y_i, sigmoid(x_i . a + b)) + PRIOR/2 * |a - start|^2   over a >= 0, b``

    The problem is convex and has very few slopes, so each choice of slopes held at zero is solved by Newton's
    method until one fulfils the optimality conditions; the answer is exact, not a step of a search.

    Args:
        features: Increasing functions of the score, ``[N, P]`` with P at most about 4.
        labels: 0 or 1, ``[N]``.
        weight: Positive, ``[N]``.
        start: Slopes of the identity map, ``[P]``; where the prior pulls.
        intercept: Fit ``b``; otherwise it is 0.

    Returns:
        Slopes ``[P]`` and the intercept.
    """
    count = features.shape[1]
    columns = np.column_stack([features, np.ones(len(features))]) if intercept else features
    offsets = np.zeros(int(intercept))
    problem = _Problem(
        columns, labels, weight, np.append(np.full(count, PRIOR), offsets), np.append(start.astype(float), offsets)
    )
    slack = 1e-7 * max(1.0, float(np.abs(columns).max()) * float(weight.sum()))
    choices = itertools.chain.from_iterable(itertools.combinations(range(count), held) for held in range(count + 1))
    best = problem.centre
    for zeros in map(list, choices):
        free = np.ones(columns.shape[1], dtype=bool)
        free[zeros] = False
        best = _newton(problem, free)
        if (best[:count] >= 0).all() and (problem.gradient(best)[zeros] >= -slack).all():
            break
    return np.maximum(best[:count], 0.0), float(best[count]) if intercept else 0.0


@dataclass(frozen=True)
class _Problem:
    columns: FloatArray
    labels: FloatArray
    weight: FloatArray
    ridge: FloatArray
    centre: FloatArray

    def objective(self, point: FloatArray) -> float:
        logits = self.columns @ point
        loss = self.weight @ (np.logaddexp(0.0, logits) - self.labels * logits)
        return float(loss + 0.5 * self.ridge @ (point - self.centre) ** 2)

    def gradient(self, point: FloatArray) -> FloatArray:
        residual = self.weight * (sigmoid(self.columns @ point) - self.labels)
        return np.asarray(self.columns.T @ residual + self.ridge * (point - self.centre))

    def hessian(self, point: FloatArray) -> FloatArray:
        probabilities = sigmoid(self.columns @ point)
        curvature = self.weight * np.maximum(probabilities * (1.0 - probabilities), 1e-12)
        return np.asarray((self.columns * curvature[:, None]).T @ self.columns + np.diag(self.ridge))


def _newton(problem: _Problem, free: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    """Newton with step halving over the free coordinates; the others stay at zero."""
    point = np.where(free, problem.centre, 0.0)
    value = problem.objective(point)
    for _ in range(_STEPS):
        hessian = problem.hessian(point)[np.ix_(free, free)]
        # equal columns (a constant score) make it singular but for the prior; a relative hair keeps it solvable
        hessian += np.eye(len(hessian)) * 1e-12 * max(1.0, float(np.trace(hessian)))
        step = np.zeros_like(point)
        step[free] = np.linalg.solve(hessian, problem.gradient(point)[free])
        for _ in range(40):
            reached = problem.objective(point - step)
            if reached <= value:
                break
            step /= 2.0
        else:
            return point
        point, value = point - step, reached
        if float(np.abs(step).max()) < _TOLERANCE * (1.0 + float(np.abs(point).max())):
            return point
    return point
