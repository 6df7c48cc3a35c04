"""The other methods behind the contract: what each is known for, by hand or on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from palate.calibrate.adacalib import AdaCalib, AdaCalibConfig
from palate.calibrate.confcalib import ConfCalib, ConfCalibConfig, trusted_shift
from palate.calibrate.desc import DESC, DESCConfig, shapes
from palate.calibrate.downsampling import PriorCorrection, PriorCorrectionConfig, correct_downsampling
from palate.calibrate.gamma import Gamma
from palate.calibrate.gauss import Gauss
from palate.calibrate.mbct import MBCT, MBCTConfig
from palate.calibrate.neucalib import NeuCalib, NeuCalibConfig
from palate.calibrate.piecewise import between_knots, mass_knots, piecewise_linear
from palate.calibrate.platt import Platt
from palate.calibrate.platt_per_field import PlattPerField, PlattPerFieldConfig
from palate.calibrate.sbcr import SBCR, SBCRConfig
from palate.calibrate.sir import SIR, SIRConfig, pooled_rates
from palate.calibrate.training import Batch
from palate.calibrate.umc import UMC, SmoothCalibration, UMCConfig
from palate.errors import ConfigError, DataError

GRID = np.linspace(0.01, 0.97, 300)


def world(truth, rows=100_000, seed=0, low=-4.0, high=1.5):
    rng = np.random.default_rng(seed)
    z = rng.uniform(low, high, rows)
    return expit(z), (rng.random(rows) < expit(truth(z))).astype(int)


def sites(rows=20_000, seed=0, slopes=(0.5, 1.0, 1.5), offsets=(-0.5, 0.0, 0.7)):
    rng = np.random.default_rng(seed)
    site, z = rng.integers(0, len(slopes), rows), rng.normal(-0.5, 1.2, rows)
    labels = rng.random(rows) < expit(np.array(slopes)[site] * z + np.array(offsets)[site])
    return expit(z), labels.astype(int), site


# Gauss and Gamma


def test_gauss_finds_the_quadratic_that_made_the_labels():
    scores, labels = world(lambda z: 0.12 * z**2 + 1.1 * z - 0.3)
    z = np.linspace(-3.9, 1.4, 50)
    found = logit(Gauss().fit(scores, labels).predict(expit(z)))
    assert found == pytest.approx(0.12 * z**2 + 1.1 * z - 0.3, abs=0.08)


def test_gauss_never_falls_where_the_best_quadratic_would():
    scores, labels = world(lambda z: 0.5 * (z + 2) ** 2 - 2)  # falls below z = -2
    fitted = Gauss().fit(scores, labels)
    assert fitted.learned["slopes"].min() == 0.0
    assert (np.diff(fitted.predict(np.linspace(0, 1, 1000))) >= 0).all()


def test_gamma_finds_its_own_curve_and_keeps_a_over_t_plus_b_positive():
    scores, labels = world(lambda z: 0.9 * np.log(z + 5) + 0.3 * (z + 5) - 3.4)
    z = np.linspace(-3.9, 1.4, 50)
    found = logit(Gamma().fit(scores, labels).predict(expit(z)))
    assert found == pytest.approx(0.9 * np.log(z + 5) + 0.3 * (z + 5) - 3.4, abs=0.08)
    scores, labels = world(lambda z: 0.5 * (z + 2) ** 2 - 2)
    bounded = Gamma().fit(scores, labels)
    assert bounded.learned["slopes"].min() == 0.0
    assert (np.diff(bounded.predict(np.linspace(0, 1, 1000))) >= 0).all()


@pytest.mark.parametrize("method", [Gauss, Gamma])
def test_straight_data_give_platt_and_equal_slopes_the_identity(method):
    scores, labels = world(lambda z: 0.8 * z + 0.2)
    assert method().fit(scores, labels).predict(GRID) == pytest.approx(
        Platt().fit(scores, labels).predict(GRID), abs=0.02
    )
    features = method()._features(np.linspace(-9, 6, 100), np.array([-4.0, 1.5]))
    assert features.sum(1) == pytest.approx(np.linspace(-9, 6, 100) + 4.0)
    assert (np.diff(features, axis=0) >= 0).all()


# SIR


def test_sir_pools_by_hand():
    assert pooled_rates(np.array([0.04, 0.20, 0.16, 0.5]), np.array([100.0, 50, 50, 20])) == pytest.approx(
        [0.04, 0.18, 0.18, 0.5]
    )


def test_sir_knots_by_hand():
    scores = np.repeat([0.05, 0.15, 0.3, 0.6], [100, 50, 50, 20])
    labels = np.concatenate([np.arange(n) < k for n, k in [(100, 4), (50, 10), (50, 8), (20, 10)]]).astype(int)
    fitted = SIR(SIRConfig(bins=1000)).fit(scores, labels)
    assert fitted.learned["knots"] == pytest.approx([0, 0.05, 0.225, 0.6, 1])
    assert fitted.learned["values"] == pytest.approx([0, 0.04, 0.18, 0.5, 1])
    assert fitted.predict([0.05, 0.1375, 0.8]) == pytest.approx([0.04, 0.11, 0.75])


def test_sir_has_no_plateaus():
    scores, labels = world(lambda z: z + np.tanh(2 * z), rows=20_000)
    assert (np.diff(SIR().fit(scores, labels).predict(np.linspace(0.0001, 0.9999, 2000))) > 0).all()


# Platt per field


def test_every_site_gets_its_own_slope_and_offset():
    scores, labels, site = sites(rows=200_000)
    fitted = PlattPerField().fit(scores, labels, site)
    z = np.linspace(-2, 1.5, 30)
    for value, (slope, offset) in enumerate(zip([0.5, 1.0, 1.5], [-0.5, 0.0, 0.7], strict=True)):
        assert logit(fitted.predict(expit(z), np.full(30, value))) == pytest.approx(slope * z + offset, abs=0.08)


def test_an_unseen_site_takes_the_common_map_and_a_strong_prior_makes_all_alike():
    scores, labels, site = sites()
    common = Platt().fit(scores, labels).predict(GRID)
    loose, tight = (PlattPerField(PlattPerFieldConfig(prior_strength=s)).fit(scores, labels, site) for s in (1.0, 1e9))
    assert loose.predict(GRID, np.full(300, 99)) == pytest.approx(common, abs=1e-9)
    assert tight.predict(GRID, np.full(300, 2)) == pytest.approx(common, abs=1e-4)
    assert np.abs(loose.predict(GRID, np.full(300, 2)) - common).max() > 0.1


def test_few_rows_move_little():
    scores, labels, site = sites()
    rare = np.append(site, np.full(10, 7)), np.append(scores, np.full(10, 0.3)), np.append(labels, np.ones(10))
    fitted = PlattPerField().fit(rare[1], rare[2], rare[0])
    common, moved = fitted.predict([0.3, 0.3], [99, 7])
    assert common < moved < 0.9  # ten positives in a row would alone say 1


def test_two_fields_add_up():
    rng = np.random.default_rng(4)
    first, second, z = rng.integers(0, 3, 60_000), rng.integers(0, 2, 60_000), rng.normal(0, 1, 60_000)
    labels = rng.random(60_000) < expit(z + np.array([-0.6, 0, 0.6])[first] + np.array([-0.4, 0.4])[second])
    fitted = PlattPerField().fit(expit(z), labels, np.column_stack([first, second]))
    corner = logit(fitted.predict([0.5, 0.5], [[0, 0], [2, 1]]))
    assert corner == pytest.approx([-1.0, 1.0], abs=0.08)


# piecewise-linear parts


def test_piecewise_linear_by_hand():
    knots, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([[0.0, 2.0, 3.0]])
    position = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
    assert piecewise_linear(position, knots, values).tolist() == [-1.0, 0.0, 1.0, 2.0, 2.5, 3.0, 5.0]
    segment, fraction = between_knots(position, knots)
    assert segment.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert fraction.tolist() == [-1.0, 0.0, 0.5, 0.0, 0.5, 1.0, 2.0]


def test_knots_hold_equal_mass_and_constant_positions_get_two():
    assert mass_knots(np.arange(101.0), np.ones(101), 5) == pytest.approx([0, 25, 50, 75, 100], abs=1)
    assert len(mass_knots(np.full(9, 2.0), np.ones(9), 5)) == 2


# NeuCalib


def test_neucalib_starts_at_the_identity_and_the_context_only_shifts():
    scores, labels, site = sites()
    start = NeuCalib(NeuCalibConfig.sized("tiny", epochs=1, learning_rate=1e-12)).fit(scores, labels, site)
    assert start.predict(GRID, np.zeros(300, int)) == pytest.approx(GRID, abs=1e-4)
    fitted = NeuCalib(NeuCalibConfig.sized("tiny")).fit(scores, labels, site)
    gap = logit(fitted.predict(GRID, np.full(300, 2))) - logit(fitted.predict(GRID, np.full(300, 0)))
    assert gap == pytest.approx(np.full(300, gap[0]), abs=1e-9)
    assert gap[0] > 0.5


def test_neucalib_knots_of_equal_width_are_those_of_the_original():
    scores, labels, _ = sites(rows=2000)
    config = NeuCalibConfig.sized("tiny", epochs=1, knots=9, knot_places="width")
    knots = NeuCalib(config).fit(scores, labels).module.get_buffer("knots").numpy()
    assert expit(knots) == pytest.approx(np.arange(1, 10) / 10, abs=1e-6)


# SBCR


def test_sbcr_joins_zero_and_one_and_rises_for_every_context():
    scores, labels, site = sites()
    fitted = SBCR(SBCRConfig.sized("tiny")).fit(scores, labels, site)
    for value in [0, 1, 2, 99]:
        ends = fitted.predict([0.0, 1.0], [value, value])
        assert ends == pytest.approx([0.0, 1.0], abs=1e-6)
        assert (np.diff(fitted.predict(GRID, np.full(300, value))) > 0).all()


def test_sbcr_starts_at_the_identity():
    scores, labels, site = sites(rows=2000)
    start = SBCR(SBCRConfig.sized("tiny", epochs=1, learning_rate=1e-12)).fit(scores, labels, site)
    assert start.predict(GRID, np.zeros(300, int)) == pytest.approx(GRID, abs=1e-5)


# DESC


def test_desc_shapes_join_zero_and_one_and_rise():
    parameters = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    curves = shapes(torch.linspace(0, 1, 500, dtype=torch.float64), parameters)
    assert curves.shape == (500, 9)
    assert (curves.diff(dim=0) > 0).all()
    assert curves[0].abs().max() < 1e-3
    assert (curves[-1] - 1).abs().max() < 1e-3
    by_hand = [0.25**2, 1 / (1 + 9), np.log(1.5) / np.log(3)]  # power, scaling, logarithm with parameter 2
    assert shapes(torch.tensor([0.25], dtype=torch.float64), parameters)[0, [2, 5, 8]].tolist() == pytest.approx(
        by_hand
    )


def test_desc_has_48_shapes_and_rises_for_every_context():
    scores, labels, site = sites(rows=5000)
    fitted = DESC(DESCConfig.sized("tiny", epochs=4)).fit(scores, labels, np.column_stack([site, site % 2]))
    assert fitted.module.count == 48
    for value in [[0, 0], [2, 1], [9, 9]]:
        assert (np.diff(fitted.predict(GRID, np.tile(value, (300, 1)))) > 0).all()


# UMC


def test_umc_contexts_scale_and_shift_one_common_curve():
    scores, labels, site = sites()
    fitted = UMC(UMCConfig.sized("tiny")).fit(scores, labels, site)
    curves = [logit(fitted.predict(GRID, np.full(300, value))) for value in (0, 2, 50)]
    for curve in curves:
        assert (np.diff(curve) > 0).all()
    slope, offset = np.polyfit(curves[0], curves[1], 1)
    assert curves[1] == pytest.approx(slope * curves[0] + offset, abs=1e-6)
    assert slope > 1.5


def test_the_smooth_calibration_loss_by_hand():
    term = SmoothCalibration(2, decay=0.5)
    ones = torch.ones(3)
    batch = Batch(ones, torch.tensor([1.0, 0.0, 1.0]), ones, torch.zeros((3, 0), dtype=torch.int64))
    p = torch.tensor([0.2, 0.4, 0.9], requires_grad=True)
    # bin 0: mass 2, gap (1 - 0.6) / 2 = 0.2; bin 1: mass 1, gap 0.1
    value = term(p, batch)
    assert value.item() == pytest.approx(2 / 3 * 0.2**2 + 1 / 3 * 0.1**2, abs=1e-6)
    value.backward()
    assert p.grad[0] < 0
    again = term(torch.tensor([0.2, 0.4, 0.9]), batch)
    assert again.item() == pytest.approx(value.item(), abs=1e-6)  # the same batch again has the same averages


# AdaCalib


def test_adacalib_posteriors_are_shrunk_to_the_common_rate():
    scores = np.full(120, 0.3) + np.arange(120) * 1e-4
    site, labels = np.repeat([0, 1], 60), np.concatenate([np.ones(60), np.zeros(60)]).astype(int)
    labels[0], labels[60] = 0, 1
    config = AdaCalibConfig(bin_numbers=(2,), epochs=1, min_count=1, pseudo_rows=20.0)
    fitted = AdaCalib(config).fit(scores, labels, site)
    posterior = expit(fitted.module.get_buffer("posterior_0_0").numpy())
    common = (59 + 0.5) / 61, (1 + 0.5) / 61
    assert posterior[0] == pytest.approx(common, abs=1e-5)
    assert posterior[1] == pytest.approx([(59 + 20 * common[0]) / 80, common[1]], abs=1e-5)
    assert posterior[2] == pytest.approx([common[0], (1 + 20 * common[1]) / 80], abs=1e-5)


def test_adacalib_follows_the_sites():
    scores, labels, site = sites()
    fitted = AdaCalib(AdaCalibConfig.sized("tiny")).fit(scores, labels, site)
    z = np.linspace(-2, 1, 20)
    for value, (slope, offset) in enumerate(zip([0.5, 1.0, 1.5], [-0.5, 0.0, 0.7], strict=True)):
        assert fitted.predict(expit(z), np.full(20, value)) == pytest.approx(expit(slope * z + offset), abs=0.08)


# MBCT


def test_mbct_mends_a_group_that_no_score_bin_shows():
    rng = np.random.default_rng(5)
    scores, group = rng.uniform(0.1, 0.4, 20_000), rng.integers(0, 6, 20_000)
    labels = rng.random(20_000) < scores * np.where(group == 4, 2.0, 0.8)  # on average right at every score
    fitted = MBCT().fit(scores, labels, group)
    probe = np.full(6, 0.25)
    assert fitted.predict(probe, np.arange(6)) == pytest.approx(0.25 * np.where(np.arange(6) == 4, 2, 0.8), abs=0.03)


def test_mbct_leaf_by_hand():
    scores, labels = np.full(300, 0.2), (np.arange(300) < 120).astype(int)
    config = MBCTConfig(trees=1, shrinkage=1.0, validation_share=0.0, pseudo_rows=2.0)
    assert MBCT(config).fit(scores, labels).predict([0.2]) == pytest.approx([0.2 * (120 + 2) / (60 + 2)])


def test_mbct_stops_where_more_trees_no_longer_help():
    scores, labels = world(lambda z: z, rows=3000)
    fitted = MBCT(MBCTConfig(trees=15, shrinkage=1.0, pseudo_rows=0.001, min_rows=2)).fit(scores, labels)
    assert len(fitted.learned["ratios"]) < 15


# ConfCalib


def test_trust_follows_the_interval():
    settings = {"confidence": 1.96, "sharpness": 3.0}
    rows = np.array([1.0, 100.0, 1e8])
    shift = trusted_shift(np.full(3, 0.2), np.full(3, 0.5), rows, **settings)
    assert 0 < shift[0] < shift[1] < shift[2]
    assert shift[2] == pytest.approx(logit(0.5) - logit(0.2), abs=1e-6)
    assert trusted_shift(np.array([0.3]), np.array([0.3]), np.array([1e9]), **settings) == pytest.approx(
        [0.0], abs=1e-6
    )


def test_confcalib_shifts_each_site_and_leaves_an_unseen_one_at_the_common_shift():
    rng = np.random.default_rng(6)
    scores, site = rng.uniform(0.1, 0.4, 60_000), rng.integers(0, 3, 60_000)
    labels = rng.random(60_000) < expit(logit(scores) + np.array([-0.5, 0.0, 0.5])[site])
    fitted = ConfCalib(ConfCalibConfig(bins=1)).fit(scores, labels, site)
    found = logit(fitted.predict(np.full(4, 0.25), [0, 1, 2, 99])) - logit(0.25)
    assert found[:3] == pytest.approx([-0.5, 0.0, 0.5], abs=0.06)
    assert found[3] == pytest.approx(0.0, abs=0.06)


def test_confcalib_weighs_fields_by_what_they_explain():
    rng = np.random.default_rng(7)
    scores, useful, noise = rng.uniform(0.1, 0.4, 40_000), rng.integers(0, 3, 40_000), rng.integers(0, 3, 40_000)
    labels = rng.random(40_000) < expit(logit(scores) + np.array([-0.7, 0.0, 0.7])[useful])
    fitted = ConfCalib().fit(scores, labels, np.column_stack([noise, useful]))
    importance = fitted.learned["importance"]
    assert importance.sum() == pytest.approx(1.0)
    assert importance[1] > 0.9


# negative down-sampling


def test_the_correction_by_hand():
    assert correct_downsampling([0.5, 0.9, 0.0, 1.0], 0.1) == pytest.approx([1 / 11, 0.9 / (0.9 + 1.0), 0.0, 1.0])
    assert correct_downsampling([0.3], 1.0).tolist() == [0.3]


def test_the_correction_undoes_the_sampling_of_a_stream():
    rng = np.random.default_rng(8)
    true = expit(rng.normal(-2, 1, 400_000))
    labels, rate = rng.random(400_000) < true, 0.05
    biased = true / (true + (1 - true) * rate)
    assert correct_downsampling(biased, rate) == pytest.approx(true, abs=1e-12)
    known = PriorCorrection(PriorCorrectionConfig(rate=rate)).fit(biased[:10], [0, 1] * 5)
    assert known.predict(biased) == pytest.approx(true, abs=1e-9)
    estimated = PriorCorrection().fit(biased, labels)
    assert np.exp(estimated.learned["offset"][0]) == pytest.approx(rate, rel=0.03)
    assert estimated.predict(biased).sum() == pytest.approx(labels.sum(), rel=1e-9)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ConfigError):
        correct_downsampling([0.5], rate)
    with pytest.raises(ConfigError):
        PriorCorrectionConfig(rate=rate)


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(DataError, match="sigmoid"):
        correct_downsampling([2.0], 0.5)
