from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.errors import NonFiniteError, TrainingError
from palate.train.contract import TrainConfig
from palate.train.schedule import Plateau


def test_by_hand():
    plateau = Plateau(TrainConfig(learning_rate=1e-3, patience=2))
    assert plateau.update({"auc": 0.8}, 0)
    assert not plateau.update({"auc": 0.8 + 9e-7}, 1)  # better, but not by more than min_delta
    assert (plateau.waited, plateau.learning_rate, plateau.best) == (1, pytest.approx(1e-4), 0.8)
    assert plateau.update({"auc": 0.8 + 3e-6}, 2)
    assert (plateau.waited, plateau.learning_rate, plateau.best_epoch) == (0, pytest.approx(1e-4), 2)
    assert not plateau.exhausted
    for epoch in (3, 4):
        assert not plateau.update({"auc": 0.0}, epoch)
    assert plateau.exhausted
    assert plateau.learning_rate == pytest.approx(1e-6)


def test_better_by_exactly_min_delta_is_not_better():
    plateau = Plateau(TrainConfig(min_delta=0.25))
    assert [plateau.update({"auc": value}, 0) for value in (0.5, 0.75, 1.0)] == [True, False, True]


def test_the_floor_never_raises_a_small_rate():
    plateau = Plateau(TrainConfig(learning_rate=1e-7, patience=9))
    plateau.update({"auc": 0.5}, 0)
    plateau.update({"auc": 0.5}, 1)
    assert plateau.learning_rate == 1e-7


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_min_mode_mirrors_max_mode(values):
    up = Plateau(TrainConfig(patience=50))
    down = Plateau(TrainConfig(patience=50, mode="min"))
    for epoch, value in enumerate(values):
        assert up.update({"auc": value}, epoch) == down.update({"auc": -value}, epoch)
    assert up.learning_rate == down.learning_rate
    assert up.best_epoch == down.best_epoch


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.data())
def test_a_state_in_json_goes_on_as_if_nothing_had_happened(values, data):
    config = TrainConfig(patience=50)
    cut = data.draw(st.integers(0, len(values) - 1))
    whole, first, second = Plateau(config), Plateau(config), Plateau(config)
    for epoch, value in enumerate(values):
        whole.update({"auc": value}, epoch)
        if epoch < cut:
            first.update({"auc": value}, epoch)
    second.load_state(json.loads(json.dumps(first.state())))
    for epoch in range(cut, len(values)):
        second.update({"auc": values[epoch]}, epoch)
    assert second.state() == whole.state()


def test_a_missing_metric_leaves_the_schedule_as_it_was():
    plateau = Plateau(TrainConfig(monitor="gauc"))
    before = plateau.state()
    with pytest.raises(TrainingError, match=r'no metric "gauc".*Did you mean "auc"'):
        plateau.update({"auc": 1.0}, 0)
    with pytest.raises(NonFiniteError):
        plateau.update({"gauc": float("nan")}, 0)
    assert plateau.state() == before
