"""The laws of a calibrator, on scores whose true probabilities are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from palate.calibrate.contract import Calibrator, FloatArray
from palate.config import SIZES
from palate.errors import ConfigError, DataError, NotFittedError, PalateError
from palate.registry import find
from palate.testing.battery import Battery, BatteryReport, refuses

__all__ = ["CALIBRATOR_LAWS", "check_calibrator", "distorted_scores"]


def distorted_scores(rows: int = 6000, seed: int = 0) -> tuple[FloatArray, FloatArray, np.ndarray[Any, Any]]:
    """Return scores that are twice too confident in log-odds, labels of the true probability, and a context."""
    rng = np.random.default_rng(seed)
    context = rng.integers(0, 4, rows)
    logit = rng.normal(-1.0, 1.0, rows) + 0.3 * (context - 1.5)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(float)
    return 1 / (1 + np.exp(-2.0 * logit)), labels, context


@dataclass(frozen=True)
class CalibratorCase:
    """What the laws run on: a way to build the calibrator, and its class."""

    build: Callable[[], Calibrator]
    factory: type[Calibrator]

    @cached_property
    def fitted(self) -> Calibrator:
        """A calibrator fitted on the distorted scores; laws only read it."""
        scores, labels, context = distorted_scores()
        return self.build().fit(scores, labels, self.context(context))

    def context(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
        """Return ``values`` for a calibrator that uses a context, else ``None``."""
        return values if self.factory.uses_context else None


CALIBRATOR_LAWS = Battery[CalibratorCase]("calibrator")


def check_calibrator(calibrator: str | type[Calibrator], **settings: Any) -> BatteryReport:
    """Run the laws of a calibrator on a registered name or a class; raise with all that are broken.

    Example:
        >>> print(check_calibrator("platt"))  # doctest: +ELLIPSIS
        platt: ... laws hold, 0 broken
    """
    known = isinstance(calibrator, str)
    factory = cast("type[Calibrator]", find("calibrator", str(calibrator)).factory if known else calibrator)
    name = str(calibrator) if known else factory.__name__

    def build() -> Calibrator:
        return factory(factory.Config.sized("tiny", **settings))

    return CALIBRATOR_LAWS.require(CalibratorCase(build, factory), name)


def _calibration_error(probabilities: FloatArray, labels: FloatArray, bins: int = 15) -> float:
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, bins)
    gaps = [abs(probabilities[part].mean() - labels[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(labels))


@CALIBRATOR_LAWS.law
def sizes_are_valid_and_configs_round_trip(case: CalibratorCase) -> None:
    for size in SIZES:
        config = case.factory.Config.sized(size)
        assert case.factory.Config.model_validate_json(config.model_dump_json()) == config


@CALIBRATOR_LAWS.law
def an_unknown_setting_is_refused(case: CalibratorCase) -> None:
    settings: dict[str, Any] = {"no_such_setting": 1}
    refuses(ConfigError, "no_such_setting", lambda: case.factory.Config(**settings))


@CALIBRATOR_LAWS.law
def an_unfitted_calibrator_says_so(case: CalibratorCase) -> None:
    refuses(NotFittedError, "", lambda: case.build().predict([0.5]))


@CALIBRATOR_LAWS.law
def predictions_are_probabilities(case: CalibratorCase) -> None:
    scores, _, context = distorted_scores()
    predicted = case.fitted.predict(scores, case.context(context))
    assert predicted.dtype == np.float64
    assert predicted.shape == scores.shape
    assert np.isfinite(predicted).all()
    assert predicted.min() >= 0
    assert predicted.max() <= 1


@CALIBRATOR_LAWS.law
def calibration_improves_on_fresh_rows(case: CalibratorCase) -> None:
    scores, labels, context = distorted_scores(seed=1)
    after = _calibration_error(case.fitted.predict(scores, case.context(context)), labels)
    before = _calibration_error(scores, labels)
    assert after < 0.6 * before, f"calibration error {before:.4f} before and {after:.4f} after"


@CALIBRATOR_LAWS.law
def inputs_are_left_as_they_were(case: CalibratorCase) -> None:
    scores, labels, context = distorted_scores()
    copies = scores.copy(), labels.copy(), context.copy()
    case.build().fit(scores, labels, case.context(context)).predict(scores, case.context(context))
    for now, then in zip((scores, labels, context), copies, strict=True):
        assert np.array_equal(now, then)


@CALIBRATOR_LAWS.law
def fitting_again_equals_fitting_fresh(case: CalibratorCase) -> None:
    scores, labels, context = distorted_scores()
    other_scores, other_labels, other_context = distorted_scores(seed=5)
    used = case.build().fit(other_scores, other_labels, case.context(other_context))
    again = used.fit(scores, labels, case.context(context)).predict(scores, case.context(context))
    assert np.array_equal(again, case.fitted.predict(scores, case.context(context)))


@CALIBRATOR_LAWS.law
def a_subset_predicts_as_the_whole(case: CalibratorCase) -> None:
    scores, _, context = distorted_scores()
    calibrator = case.fitted
    whole = calibrator.predict(scores, case.context(context))
    chosen = np.random.default_rng(3).permutation(len(scores))[:50]
    np.testing.assert_allclose(
        calibrator.predict(scores[chosen], case.context(context[chosen])), whole[chosen], rtol=0, atol=1e-6
    )


@CALIBRATOR_LAWS.law
def a_higher_score_never_gets_a_lower_probability_over_bins(case: CalibratorCase) -> None:
    grid = np.linspace(0.05, 0.95, 10)
    predicted = case.fitted.predict(grid, case.context(np.zeros(10, dtype=np.int64)))
    assert predicted[-1] > predicted[0], "the highest score has no higher probability than the lowest"


@CALIBRATOR_LAWS.law
def state_carries_all_that_was_learned(case: CalibratorCase) -> None:
    scores, _, context = distorted_scores()
    calibrator = case.fitted
    document, arrays = calibrator.state()
    import json

    copy = case.factory.from_state(calibrator.config, json.loads(json.dumps(document)), arrays)
    expected = calibrator.predict(scores, case.context(context))
    assert np.array_equal(copy.predict(scores, case.context(context)), expected)


@CALIBRATOR_LAWS.law
def nan_and_wrong_lengths_are_refused(case: CalibratorCase) -> None:
    scores, labels, context = distorted_scores(200)
    spoiled = scores.copy()
    spoiled[7] = np.nan
    refuses(DataError, "", lambda: case.build().fit(spoiled, labels, case.context(context)))
    refuses(DataError, "", lambda: case.fitted.predict(spoiled, case.context(context)))
    refuses(DataError, "", lambda: case.build().fit(scores, labels[:-1], case.context(context)))
    refuses(DataError, "", lambda: case.build().fit(scores, labels + 0.5, case.context(context)))


@CALIBRATOR_LAWS.law
def hard_cases_have_a_defined_answer(case: CalibratorCase) -> None:
    scores, labels, context = distorted_scores(400)
    hard: dict[str, tuple[FloatArray, FloatArray]] = {
        "constant scores": (np.full(400, 0.3), labels),
        "one class": (scores, np.zeros(400)),
        "perfect separation": (np.where(labels > 0, 0.9, 0.1), labels),
        "ten rows": (scores[:10], labels[:10]),
        "scores of exactly 0 and 1": (np.where(scores > 0.5, 1.0, 0.0), labels),
    }
    for what, (some_scores, some_labels) in hard.items():
        some_context = case.context(context[: len(some_scores)])
        try:
            predicted = case.build().fit(some_scores, some_labels, some_context).predict(some_scores, some_context)
        except PalateError:
            continue
        assert np.isfinite(predicted).all(), f"{what}: a prediction is not finite"


@CALIBRATOR_LAWS.law
def zero_weights_are_as_absent_rows(case: CalibratorCase) -> None:
    refuses(DataError, "", lambda: case.build().fit([0.2, 0.4], [0, 1], case.context(np.zeros(2)), [0.0, 0.0]))
    refuses(DataError, "", lambda: case.build().fit([0.2, 0.4], [0, 1], case.context(np.zeros(2)), [1.0, -1.0]))


@CALIBRATOR_LAWS.law
def an_unseen_context_has_a_defined_answer(case: CalibratorCase) -> None:
    predicted = case.fitted.predict([0.2, 0.8], case.context(np.array([99, 99])))
    assert np.isfinite(predicted).all()
