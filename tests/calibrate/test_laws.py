"""The laws that every registered calibrator keeps, whoever wrote it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.special import expit

from palate.calibrate.folder import load_calibrator, save_calibrator
from palate.errors import DataError, NotFittedError, SavedFolderError
from palate.registry import components

ALL = {component.name: component.factory for component in components("*", "calibrator")}


def world(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    site = rng.choice(["a", "b", "c", "d"], rows, p=[0.4, 0.3, 0.2, 0.1])
    shift = np.array([{"a": -0.6, "b": 0.0, "c": 0.5, "d": 1.0}[value] for value in site])
    z = rng.normal(-1.0, 1.1, rows)
    labels = (rng.random(rows) < expit(0.7 * z + shift + 0.7)).astype(np.int64)
    return expit(z), labels, site[:, None]


def build(name):
    factory = ALL[name]
    return factory(factory.Config.sized("tiny"))


def fitted(name, rows=3000, seed=0):
    scores, labels, site = world(rows, seed)
    return build(name).fit(scores, labels, site if ALL[name].uses_context else None)


def global_state():
    legacy = np.random.mtrand._rand.get_state()[1].tobytes()
    return random.getstate(), legacy, torch.get_rng_state().numpy().tobytes(), torch.get_num_threads()


def context_of(name, context):
    return context if ALL[name].uses_context else None


def log_loss(p, y):
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


@pytest.fixture(scope="module")
def models():
    return {name: fitted(name) for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_gives_the_same_bits(name, models, tmp_path):
    scores, _, site = world(500, seed=1)
    folder = save_calibrator(tmp_path / "calibrator", models[name])
    again = load_calibrator(folder)
    assert type(again) is ALL[name]
    assert again.config == models[name].config
    expected = models[name].predict(scores, context_of(name, site))
    assert again.predict(scores, context_of(name, site)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_state_survives_its_own_round_trip_and_reports_what_is_lost(name, models):
    scores, _, site = world(100, seed=2)
    document, arrays = models[name].state()
    again = ALL[name].from_state(models[name].config, document, arrays)
    assert (again.predict(scores, context_of(name, site)) == models[name].predict(scores, context_of(name, site))).all()
    with pytest.raises(SavedFolderError):
        ALL[name].from_state(models[name].config, document, dict(list(arrays.items())[1:]))
    with pytest.raises(SavedFolderError):
        ALL[name].from_state(models[name].config, {}, arrays)


@pytest.mark.parametrize("name", ALL)
def test_probabilities_are_finite_float64_inside_zero_and_one(name, models):
    grid = np.concatenate([[0.0, 1e-12], np.linspace(0.001, 0.999, 200), [1.0]])
    for value in ["a", "d", "never seen"]:
        predicted = models[name].predict(grid, context_of(name, np.full((len(grid), 1), value)))
        assert predicted.dtype == np.float64
        assert predicted.shape == grid.shape
        assert np.isfinite(predicted).all()
        assert ((predicted >= 0) & (predicted <= 1)).all()


@pytest.mark.parametrize("name", ALL)
def test_fitting_again_equals_fitting_fresh_and_leaves_the_world_alone(name, models):
    scores, labels, site = world()
    kept = scores.copy(), labels.copy(), site.copy()
    state = global_state()
    other = fitted(name, rows=800, seed=9)
    other.fit(scores, labels, context_of(name, site))
    again, (probe, _, probe_site) = models[name], world(400, seed=3)
    expected = again.predict(probe, context_of(name, probe_site))
    assert (other.predict(probe, context_of(name, probe_site)) == expected).all()
    assert (scores == kept[0]).all()
    assert (labels == kept[1]).all()
    assert (site == kept[2]).all()
    assert global_state() == state


@pytest.mark.parametrize("name", ALL)
def test_one_row_predicts_as_in_a_batch_and_in_any_order(name, models):
    scores, _, site = world(64, seed=4)
    whole = models[name].predict(scores, context_of(name, site))
    order = np.random.default_rng(0).permutation(64)
    shuffled = models[name].predict(scores[order], context_of(name, site[order]))
    assert shuffled == pytest.approx(whole[order], abs=1e-12)
    single = [models[name].predict(scores[i : i + 1], context_of(name, site[i : i + 1]))[0] for i in range(8)]
    assert single == pytest.approx(whole[:8], abs=1e-12)
    assert models[name].predict([], None if context_of(name, site) is None else site[:0]).shape == (0,)


@pytest.mark.parametrize("name", ALL)
def test_it_mends_scores_that_are_wrong(name, models):
    scores, labels, site = world(6000, seed=5)
    predicted = models[name].predict(scores, context_of(name, site))
    if name == "temperature":
        assert log_loss(predicted, labels) <= log_loss(scores, labels) + 0.01
    else:
        assert log_loss(predicted, labels) < log_loss(scores, labels) - 0.005
        assert predicted.sum() == pytest.approx(labels.sum(), rel=0.12)


@pytest.mark.parametrize("name", ALL)
def test_rows_of_weight_zero_have_no_influence(name):
    scores, labels, site = world(1200, seed=6)
    weight = np.ones(len(scores))
    weight[1000:] = 0.0
    spoiled = labels.copy()
    spoiled[1000:] = 1
    some = build(name).fit(scores, spoiled, context_of(name, site), weight)
    few = build(name).fit(scores[:1000], labels[:1000], context_of(name, site[:1000]))
    probe = np.linspace(0.05, 0.9, 50)
    place = context_of(name, np.repeat([["a"], ["c"]], 25, axis=0))
    assert some.predict(probe, place) == pytest.approx(few.predict(probe, place), abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_ten_rows_constant_scores_and_perfect_separation_are_defined(name):
    context = context_of(name, np.array([["a"], ["b"]] * 5))
    cases = [
        (np.linspace(0.05, 0.95, 10), np.tile([0, 1], 5)),
        (np.full(10, 0.3), np.tile([0, 1], 5)),
        (np.linspace(0.05, 0.95, 10), np.repeat([0, 1], 5)),
        (np.array([0.0] * 5 + [1.0] * 5), np.repeat([0, 1], 5)),
    ]
    for scores, labels in cases:
        predicted = build(name).fit(scores, labels, context).predict(scores, context)
        assert np.isfinite(predicted).all()
        assert ((predicted >= 0) & (predicted <= 1)).all()


@pytest.mark.parametrize("name", ALL)
def test_bad_input_is_one_clear_error(name, models):
    scores, labels, site = world(50, seed=7)
    context = context_of(name, site)
    spoiled = scores.copy()
    spoiled[7] = np.nan
    with pytest.raises(DataError, match=r"scores\[7\] is nan"):
        build(name).fit(spoiled, labels, context)
    with pytest.raises(DataError, match=r"scores\[7\] is nan"):
        models[name].predict(spoiled, context)
    with pytest.raises(DataError, match="needs both classes"):
        build(name).fit(scores, np.zeros(50), context)
    with pytest.raises(DataError, match="All weights are zero"):
        build(name).fit(scores, labels, context, np.zeros(50))
    with pytest.raises(NotFittedError, match="not fitted"):
        build(name).predict(scores, context)
    with pytest.raises(NotFittedError, match="not fitted"):
        build(name).state()


CONTEXTUAL = [name for name, factory in ALL.items() if factory.uses_context]


@pytest.mark.parametrize("name", CONTEXTUAL)
def test_the_context_of_a_prediction_must_be_that_of_the_fit(name, models):
    scores, labels, site = world(50, seed=8)
    with pytest.raises(DataError, match="fitted with 1"):
        models[name].predict(scores)
    with pytest.raises(DataError, match="fitted with 1"):
        models[name].predict(scores, np.column_stack([site, site]))
    with pytest.raises(DataError, match="context has 49 rows"):
        build(name).fit(scores, labels, site[:49])
    with pytest.raises(DataError, match="context has 49 rows"):
        models[name].predict(scores, site[:49])


@pytest.mark.parametrize("name", CONTEXTUAL)
def test_it_works_without_a_context_and_with_several_fields(name):
    scores, labels, site = world(1500, seed=9)
    alone = build(name).fit(scores, labels)
    assert np.isfinite(alone.predict(scores)).all()
    hour = np.arange(len(scores)) % 3
    table = np.column_stack([site[:, 0], np.array(["night", "noon", "evening"])[hour]])
    both = build(name).fit(scores, labels, table)
    odd = np.array([["a", "dawn"], ["z", "noon"], ["z", "dawn"]])
    assert np.isfinite(both.predict([0.2, 0.2, 0.2], odd)).all()


@pytest.mark.parametrize("name", CONTEXTUAL)
def test_the_context_matters(name, models):
    same = np.full(2, 0.3)
    low, high = models[name].predict(same, np.array([["a"], ["d"]]))
    assert high > low + 0.05
