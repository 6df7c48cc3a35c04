"""The planted world of calibrators: its distributions, its maps, and that the same seed is the same world."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from palate.errors import ConfigError
from palate.reproduce.planted_calibration import PlantedConfig, PlantedWorld


def test_scores_follow_the_specified_distribution():
    rows = PlantedWorld().draw(100_000, seed=1)
    z = logit(rows.scores)
    assert z.mean() == pytest.approx(-1.6, abs=0.02)
    assert z.std() == pytest.approx(1.1, abs=0.02)
    assert rows.labels.mean() == pytest.approx(rows.truth.mean(), abs=0.005)


def test_a_third_of_the_values_has_each_kind_of_map():
    world = PlantedWorld(PlantedConfig(values=60))
    assert np.bincount(world.kinds).tolist() == [20, 20, 20]
    assert world.shares.sum() == pytest.approx(1.0)


def test_the_maps_by_hand():
    world = PlantedWorld(PlantedConfig(values=3))
    world.kinds, world.slopes, world.offsets = np.arange(3), np.array([1.0, 1.0, 2.0]), np.array([0.1, 0.0, 0.0])
    z = np.array([-1.0, -1.0, 0.5])
    found = world.true_logits(z, np.arange(3))
    by_hand = [-0.9, -1.0 + 0.8 * np.tanh(0.75) - 0.3, 2 * (0.5 - 0.8 * np.tanh(2.25)) + 0.2]
    assert found == pytest.approx(by_hand)


def test_every_true_map_rises():
    world = PlantedWorld(PlantedConfig(seed=4))
    z = np.linspace(-6, 3, 400)
    for value in range(60):
        curve = world.true_logits(z, np.full(400, value))
        if world.kinds[value] < 2:
            assert (np.diff(curve) > 0).all()


def test_without_bend_and_spread_the_world_is_straight():
    world = PlantedWorld(PlantedConfig(bend=0.0, slope_spread=0.0, offset_spread=0.0))
    straight = np.flatnonzero(world.kinds == 0)
    z = np.linspace(-3, 1, 10)
    assert world.true_logits(z, np.full(10, straight[0])) == pytest.approx(z)


def test_seeds_decide_world_and_rows():
    first, again = PlantedWorld(PlantedConfig(seed=2)), PlantedWorld(PlantedConfig(seed=2))
    assert (first.slopes == again.slopes).all()
    assert (first.draw(50, 1).scores == again.draw(50, 1).scores).all()
    assert (first.draw(50, 1).scores != first.draw(50, 2).scores).any()
    assert (PlantedWorld(PlantedConfig(seed=3)).slopes != first.slopes).any()
    rows = first.draw(2000, 3)
    assert expit(first.true_logits(logit(rows.scores), rows.context)) == pytest.approx(rows.truth)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError):
        PlantedConfig(values=0)
    with pytest.raises(ConfigError):
        PlantedConfig(concentraton=0.2)


def test_further_fields_multiply_slopes_add_offsets_and_pairs_interact():
    world = PlantedWorld(PlantedConfig(values=3, more_fields=(2, 2), pair_spread=0.5, seed=1))
    rows = world.draw(4000, 2)
    assert rows.context.shape == (4000, 3)
    assert expit(world.true_logits(logit(rows.scores), rows.context)) == pytest.approx(rows.truth)
    world.kinds, world.slopes, world.offsets = np.zeros(3, dtype=int), np.array([1.0, 1.5, 2.0]), np.array([0.1, 0, 0])
    shares = np.array([0.5, 0.5])
    world.more = [(shares, np.array([1.0, 2.0]), np.array([0.0, 0.3])), (shares, np.ones(2), np.array([0.0, -0.2]))]
    world.pairs = np.zeros((3, 2))
    world.pairs[2, 1] = 0.7
    context = np.array([[0, 0, 0], [2, 1, 1], [1, 0, 1]])
    # 1 * -1 + 0.1;  2 * 2 * -1 + 0.3 - 0.2 + 0.7;  1.5 * -1 - 0.2
    assert world.true_logits(np.full(3, -1.0), context) == pytest.approx([-0.9, -3.2, -1.7])


def test_further_fields_leave_the_first_one_as_it_was():
    one, three = PlantedWorld(PlantedConfig(seed=5)), PlantedWorld(PlantedConfig(seed=5, more_fields=(4, 2)))
    assert (one.slopes == three.slopes).all()
    assert (one.draw(100, 1).scores == three.draw(100, 1).scores).all()
    assert (one.draw(100, 1).context == three.draw(100, 1).context[:, 0]).all()
