from __future__ import annotations

import numpy as np
import pytest

from palate.errors import ConfigError
from palate.evaluate import auc, log_loss
from palate.reproduce.planted_ctr import PlantedCTRConfig, planted_ctr


@pytest.mark.parametrize("interaction", ["bilinear", "gated"])
def test_truth_is_the_best_score_and_calibrated(interaction: str) -> None:
    data = planted_ctr(PlantedCTRConfig(interaction=interaction))
    labels, logits = data.tables["test"].labels, data.logits["test"]
    assert labels is not None
    truth = 1.0 / (1.0 + np.exp(-logits))
    assert 0.78 < auc(logits, labels) < 0.83
    assert truth.mean() == pytest.approx(labels.mean(), abs=4 * np.sqrt(0.2 / len(labels)))
    assert log_loss(truth, labels) < log_loss(np.full(len(labels), labels.mean()), labels) - 0.05


def test_shape_of_the_published_setting() -> None:
    data = planted_ctr()
    assert {part: len(table) for part, table in data.tables.items()} == {
        "train": 80_000,
        "validation": 15_000,
        "test": 40_000,
    }
    assert data.spec.num_fields == 12
    assert data.spec.num_ids == 12 * 27
    for column, field in enumerate(data.spec.fields):
        ids = data.tables["train"].ids[:, column] - field.offset
        assert ids.min() == 1
        assert ids.max() == 25
        counts = np.bincount(ids, minlength=26)[1:]
        assert counts[0] / counts[9] == pytest.approx(10**0.9, rel=0.15)


def test_parts_have_the_stated_weights() -> None:
    rng = np.random.default_rng(0)
    whole = planted_ctr(PlantedCTRConfig(seed=3))
    spread = np.concatenate(list(whole.logits.values()))
    assert spread.mean() == pytest.approx(-1.5)
    assert spread.std() == pytest.approx(np.sqrt(0.64 + 1.0 + 0.25), rel=0.1)
    flat = planted_ctr(PlantedCTRConfig(seed=3, pairs=0.0, triples=0.0))
    logits, ids = flat.logits["train"], flat.tables["train"].ids
    assert logits.std() == pytest.approx(0.8, rel=0.02)
    # With the linear part alone, the truth is a sum over one-hot columns.
    rows = rng.permutation(len(ids))[:4000]
    one_hot = np.zeros((len(rows), flat.spec.num_ids))
    one_hot[np.arange(len(rows))[:, None], ids[rows]] = 1.0
    fitted = one_hot @ np.linalg.lstsq(one_hot, logits[rows], rcond=None)[0]
    np.testing.assert_allclose(fitted, logits[rows], atol=1e-8)


def test_seed_decides_everything() -> None:
    small = PlantedCTRConfig(train=200, validation=20, test=20)
    one, two, other = planted_ctr(small), planted_ctr(small), planted_ctr(small.replace(seed=1))
    np.testing.assert_array_equal(one.tables["train"].ids, two.tables["train"].ids)
    np.testing.assert_array_equal(one.logits["test"], two.logits["test"])
    assert not np.array_equal(one.logits["test"], other.logits["test"])


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="num_fields"):
        PlantedCTRConfig(num_fields=2)
    with pytest.raises(ConfigError, match='Did you mean "zipf"'):
        PlantedCTRConfig(zip=1.0)
