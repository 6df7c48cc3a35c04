"""MCNet as a calibrator: shapes that others cannot follow, context, order, balance, and what must not happen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from palate.calibrate.mcnet import MCNet, MCNetConfig
from palate.calibrate.platt import Platt
from palate.errors import ConfigError, NonFiniteError, SavedFolderError
from palate.reproduce.planted_calibration import PlantedConfig, PlantedWorld

TINY = MCNetConfig.sized("tiny")


def draw(truth, rows, seed=0, low=-4.0, high=2.0):
    rng = np.random.default_rng(seed)
    scores = expit(rng.uniform(low, high, rows))
    return scores, (rng.random(rows) < truth(scores)).astype(int)


def kl(true, p):
    return float(np.mean(true * np.log(true / p) + (1 - true) * np.log((1 - true) / (1 - p))))


@pytest.fixture(scope="module")
def planted():
    world = PlantedWorld(PlantedConfig(values=12, concentration=3.0, seed=3))
    return world.draw(12_000, 1), world.draw(40_000, 2)


@pytest.mark.parametrize("bend", [1.2, -0.9])  # steep in the middle; flat in the middle (concave, then convex)
def test_an_s_shape_and_its_opposite_are_followed(bend):
    def truth(s):
        z = logit(s)
        return expit(z + bend * np.tanh(2.0 * (z + 1.0)))

    grid = expit(np.linspace(-3.8, 1.8, 300))
    scores, labels = draw(truth, 25_000)
    straight = kl(truth(grid), Platt().fit(scores, labels).predict(grid))
    for settings, share in [({}, 0.3), ({"strict": True}, 0.3), ({"bins": 1, "learning_rate": 0.03}, 0.5)]:
        curved = kl(truth(grid), MCNet(MCNetConfig(**settings)).fit(scores, labels).predict(grid))
        assert curved < share * straight, settings


def test_two_contexts_of_equal_mean_and_different_slope_get_different_shapes():
    rng = np.random.default_rng(1)
    context = rng.integers(0, 2, 30_000)
    z = rng.normal(0.0, 1.5, 30_000)  # symmetric: both contexts have the mean 1/2
    slope = np.where(context == 0, 0.4, 1.6)
    labels = rng.random(30_000) < expit(slope * z)
    both = MCNet(TINY).fit(expit(z), labels, context)
    shift_only = MCNet(TINY.replace(context_use="offset", bins=1)).fit(expit(z), labels, context)
    grid = np.linspace(-2.5, 2.5, 101)
    for value, steepness in [(0, 0.4), (1, 1.6)]:
        column, true = np.full(101, value), expit(steepness * grid)
        assert kl(true, both.predict(expit(grid), column)) < 0.01
        assert kl(true, shift_only.predict(expit(grid), column)) > 0.02


def test_a_calibrated_input_stays_calibrated():
    scores, labels = draw(lambda s: s, 100_000)
    assert np.abs(MCNet(TINY).fit(scores, labels).predict(scores) - scores).mean() < 0.01


def test_negative_down_sampling_is_undone():
    rate = 0.1
    rng = np.random.default_rng(2)
    true = expit(rng.normal(-3.0, 1.0, 100_000))
    biased = true / (true + (1 - true) * rate)  # what a model learns from all positives and a tenth of the negatives
    labels = rng.random(100_000) < true
    fitted = MCNet(TINY).fit(biased, labels)
    assert kl(true, fitted.predict(biased)) < 1e-3


def test_the_order_term_lowers_the_mean_violation(planted):
    rows, _ = planted

    def violation(weight):
        fitted = MCNet(TINY.replace(order_weight=weight, bins=20, validation_share=0)).fit(
            rows.scores, rows.labels, rows.context
        )
        ids = np.arange(1, 13)[:, None]
        below, above = fitted.module.monotone.edge_values(torch.tensor(ids))
        drop = torch.sigmoid(below) - torch.sigmoid(above)
        return float(drop.clamp(min=0).sum(1).mean())

    assert violation(0.05) < 0.7 * violation(0.0)


@pytest.mark.parametrize("axis", ["logit", "prob"])
def test_strict_is_continuous_rising_and_free_of_ties(planted, axis):
    rows, _ = planted
    fitted = MCNet(TINY.replace(strict=True, axis=axis, bins=12)).fit(rows.scores, rows.labels, rows.context)
    grid = np.linspace(0.002, 0.97, 1000)
    edges = fitted.module.monotone.edges.numpy()
    edges = expit(edges) if axis == "logit" else edges
    for value in [*range(12), 99]:
        predicted = fitted.predict(grid, np.full(1000, value))
        inside = (predicted > 1e-6) & (predicted < 1 - 1e-6)  # the prob axis clamps
        assert (np.diff(predicted[inside]) > 0).all()
        here = np.full(len(edges), value)
        assert np.abs(fitted.predict(edges + 1e-6, here) - fitted.predict(edges - 1e-6, here)).max() < 1e-4


def test_order_inside_a_context_is_unchanged(planted):
    rows, fresh = planted
    fitted = MCNet(TINY.replace(strict=True, epochs=3)).fit(rows.scores, rows.labels, rows.context)
    predicted = fitted.predict(fresh.scores, fresh.context)
    for value in range(12):
        here = fresh.context == value
        order = np.argsort(fresh.scores[here])
        assert (np.diff(predicted[here][order]) > 0).all()
        assert len(np.unique(predicted[here])) == len(np.unique(fresh.scores[here]))


def test_the_context_lowers_the_loss_and_the_balance_term_the_spread(planted):
    rows, fresh = planted

    def spread(p):
        mass = np.bincount(fresh.context, minlength=12)
        gap = np.bincount(fresh.context, weights=p - fresh.labels, minlength=12) / mass
        return float(np.sqrt(np.average((gap - np.average(gap, weights=mass)) ** 2, weights=mass)))

    alone = MCNet(TINY).fit(rows.scores, rows.labels).predict(fresh.scores)
    field = MCNet(TINY).fit(rows.scores, rows.labels, rows.context)
    within = field.predict(fresh.scores, fresh.context)
    assert kl(fresh.truth, within) < 0.5 * kl(fresh.truth, alone)
    assert spread(within) < 0.5 * spread(alone)
    balanced = MCNet(TINY.replace(balance_weight=1.0)).fit(rows.scores, rows.labels, rows.context)
    last = balanced.report.epochs[-1]
    assert last["balance_values"] > 2
    assert last["balance"] > 0
    assert kl(fresh.truth, balanced.predict(fresh.scores, fresh.context)) < 0.6 * kl(fresh.truth, alone)


def test_labels_without_signal_give_the_base_rate():
    rng = np.random.default_rng(5)
    scores, context = expit(rng.normal(-1, 1, 30_000)), rng.integers(0, 8, 30_000)
    labels = rng.permutation(rng.random(30_000) < expit(logit(scores) + 0.3 * context))
    for settings in [{}, {"strict": True}, {"bins": 1}]:
        predicted = MCNet(TINY.replace(**settings)).fit(scores, labels, context).predict(scores, context)
        assert np.abs(predicted - labels.mean()).mean() < 0.02


def test_an_unseen_context_lies_between_those_that_were_seen(planted):
    rows, _ = planted
    grid = np.linspace(0.02, 0.9, 50)
    for settings in [{}, {"strict": True}, {"bins": 1}]:
        fitted = MCNet(TINY.replace(epochs=4, **settings)).fit(rows.scores, rows.labels, rows.context)
        seen = np.stack([fitted.predict(grid, np.full(50, value)) for value in range(12)])
        unseen = fitted.predict(grid, np.full(50, -7))
        assert (unseen >= seen.min(0)).all()
        assert (unseen <= seen.max(0)).all()


def test_a_rare_value_is_treated_as_unseen(planted):
    rows, _ = planted
    context = rows.context.copy()
    context[:5] = 77  # five rows: fewer than min_count
    fitted = MCNet(TINY).fit(rows.scores, rows.labels, context)
    assert 77 not in fitted.context_vocabulary.fields[0]
    assert (fitted.predict([0.2, 0.5], [77, 77]) == fitted.predict([0.2, 0.5], [-1, -1])).all()


def test_a_weight_of_two_starts_like_the_row_twice():
    scores, labels = draw(lambda s: s**1.3, 3000)
    weight = 1.0 + (np.arange(3000) % 2)
    twice = np.repeat(np.arange(3000), weight.astype(int))
    config = TINY.replace(epochs=1, learning_rate=1e-9, bins=8, validation_share=0)
    weighted = MCNet(config).fit(scores, labels, weight=weight)
    repeated = MCNet(config).fit(scores[twice], labels[twice])
    grid = np.linspace(0.02, 0.85, 200)
    assert weighted.predict(grid) == pytest.approx(repeated.predict(grid), abs=2e-4)


def test_weights_move_the_fit_to_the_rows_that_matter():
    rng = np.random.default_rng(8)
    scores = np.full(8000, 0.3) + rng.normal(0, 0.01, 8000)
    group = np.arange(8000) < 4000
    labels = np.where(group, rng.random(8000) < 0.1, rng.random(8000) < 0.6)
    predicted = MCNet(TINY).fit(scores, labels, weight=np.where(group, 9.0, 1.0)).predict([0.3])
    assert predicted[0] == pytest.approx(0.9 * 0.1 + 0.1 * 0.6, abs=0.03)


def test_bins_follow_the_rarer_class_ties_and_the_wish(caplog):
    scores, labels = draw(lambda s: np.full_like(s, 0.05), 10_000)
    assert MCNet(TINY.replace(epochs=1)).fit(scores, labels).module.monotone.bins == int(labels.sum()) // 100
    assert MCNet(TINY.replace(epochs=1)).fit(scores, 1 - labels).module.monotone.bins == int(labels.sum()) // 100
    MCNet(TINY.replace(epochs=1, bins=50)).fit(scores, labels)
    assert "rows of the rarer class" in caplog.text
    tied = np.round(scores, 1)
    assert MCNet(TINY.replace(epochs=1, bins=50)).fit(tied, labels).module.monotone.bins <= len(np.unique(tied))
    assert "equal scores leave" in caplog.text


def test_the_start_is_the_binning_solution():
    scores, labels = draw(lambda s: s**2, 20_000)
    fitted = MCNet(TINY.replace(bins=10, epochs=1, learning_rate=1e-9, validation_share=0)).fit(scores, labels)
    bins = np.searchsorted(expit(fitted.module.monotone.edges.numpy()), scores, side="right")
    predicted = fitted.predict(scores)
    for place in range(10):
        here = bins == place
        assert predicted[here].mean() == pytest.approx(labels[here].mean(), abs=0.02)


def test_the_same_seed_gives_the_same_map_and_another_seed_another(planted):
    rows, _ = planted
    config = TINY.replace(epochs=2)
    first, second = (MCNet(config).fit(rows.scores, rows.labels, rows.context) for _ in range(2))
    probe = np.linspace(0.01, 0.9, 50), np.arange(50) % 12
    assert first.predict(*probe).tobytes() == second.predict(*probe).tobytes()
    third = MCNet(config.replace(seed=1)).fit(rows.scores, rows.labels, rows.context)
    assert (first.predict(*probe) != third.predict(*probe)).any()


def test_the_report_says_what_happened_and_is_saved(planted):
    rows, _ = planted
    fitted = MCNet(TINY.replace(epochs=3)).fit(rows.scores, rows.labels, rows.context)
    assert len(fitted.report.epochs) == 3
    assert {"bce", "order", "total", "validation"} <= set(fitted.report.epochs[0])
    again = MCNet.from_state(fitted.config, *fitted.state())
    assert again.report.epochs == fitted.report.epochs


def test_an_altered_state_is_refused(planted):
    rows, _ = planted
    fitted = MCNet(TINY.replace(epochs=1)).fit(rows.scores, rows.labels, rows.context)
    document, arrays = fitted.state()
    for bad in ({**document, "shape": {"bins": 10**12, "nodes": 16, "context": [13]}}, {**document, "shape": None}):
        with pytest.raises(SavedFolderError, match="does not fit together"):
            MCNet.from_state(fitted.config, bad, arrays)


def test_a_loss_that_explodes_names_epoch_and_step():
    scores, labels = draw(lambda s: s, 500)
    with pytest.raises(NonFiniteError, match=r"epoch \d+, step \d+ of"):
        MCNet(TINY.replace(learning_rate=1e30, bins=3)).fit(scores, labels)


def test_settings_that_cannot_work_are_refused(planted):
    rows, _ = planted
    for wrong in [{"nodes": 6}, {"bins": 0}, {"axis": "odds"}, {"alpha": 0.1}, {"balance_decay": 1.0}]:
        with pytest.raises(ConfigError):
            MCNetConfig(**wrong)
    with pytest.raises(ConfigError, match="balance_field = 2, but the context has 1 fields"):
        MCNet(TINY.replace(balance_field=2, balance_weight=0.1)).fit(rows.scores, rows.labels, rows.context)
