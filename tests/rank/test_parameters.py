from __future__ import annotations

import pytest
import torch

from palate.data.features import FeatureSpec
from palate.rank.neuron_formats import NEURONS
from palate.rank.neurons import Neuron
from palate.rank.parameters import neuron_parameters, qnn_alpha_parameters, qnn_parameters
from palate.rank.qnn import QNN, QNNConfig
from palate.rank.qnn_alpha import QNNAlpha, QNNAlphaConfig

# Coefficients of d^3, d^2 and d in the number of parameters of a layer, as published.
PUBLISHED = {
    "T1": (1, 1, 2), "T2": (1, 0, 1), "T3": (0, 1, 1), "T4": (0, 1, 1), "T5": (0, 2, 2), "T6": (1, 1, 2),
    "T7": (0, 3, 3), "T8": (0, 3, 3), "T9": (0, 1, 1), "T10": (0, 2, 2), "T11": (0, 1, 1), "T12": (0, 1.5, 1.5),
    "T13": (0, 1.5, 1.5), "T14": (0, 1, 1), "T15": (0, 0.5, 0.5), "T16": (0, 2, 2), "T17": (0, 2, 2),
    "T18": (0, 3, 2), "T19": (0, 1, 1), "T20": (0, 1, 1), "T21": (0, 1, 1), "T22": (0, 1, 2), "T23": (0, 2, 2),
    "T24": (0, 2, 2), "T25": (0, 1, 1.5), "T26": (0, 2, 2), "T27": (0, 2, 2), "T28": (0, 2, 2), "T29": (0, 2, 2),
    "T30": (0, 2, 2),
}  # fmt: skip
KKBOX = {"embedding_size": 128, "num_layers": 3, "num_rows": 3, "num_heads": 2, "batch_norm": True}


def spec_of(num_fields: int, num_ids: int) -> FeatureSpec:
    sizes = {f"f{place}": 2 for place in range(1, num_fields)}
    return FeatureSpec.from_sizes(f0=num_ids - 2 * (num_fields - 1), **sizes)


def counted(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("num_ids", "num_fields", "settings", "total"),
    [
        (910_747, 39, {"num_layers": 4, "num_rows": 5}, 22_372_577),
        (910_747, 39, {"num_layers": 3, "num_rows": 2}, 16_912_577),
        (9_751, 7, {"num_layers": 1, "num_rows": 4, "num_heads": 4, "batch_norm": True}, 207_649),
        (5_383, 10, {"num_layers": 2, "num_rows": 13, "batch_norm": True}, 764_369),
        (665_765, 16, {"num_layers": 4, "num_rows": 2, "num_heads": 4, "batch_norm": True}, 11_182_929),
        (91_756, 13, KKBOX, 36_711_425),
        (3_404_996, 15, {"num_layers": 2, "num_rows": 10, "batch_norm": True}, 55_646_577),
    ],
    ids=["criteo", "criteo-untuned", "ml-1m", "frappe", "ipinyou", "kkbox", "tenrec"],
)  # fmt: skip
def test_published_totals_to_the_unit(num_ids: int, num_fields: int, settings: dict[str, int], total: int) -> None:
    spec, config = spec_of(num_fields, num_ids), QNNAlphaConfig(**settings)
    with torch.device("meta"):
        model = QNNAlpha(spec, config)
    assert counted(model) == total
    assert qnn_alpha_parameters(spec, config) == total


def test_base_size_is_the_published_one_for_criteo() -> None:
    assert qnn_alpha_parameters(spec_of(39, 910_747), QNNAlphaConfig.sized("base")) == 22_372_577


@pytest.mark.parametrize("name", PUBLISHED)
def test_formula_of_every_format(name: str) -> None:
    cubic, square, linear = PUBLISHED[name]
    for width in (8, 50):
        expected = cubic * width**3 + square * width**2 + linear * width
        assert neuron_parameters(name, width) == expected
        with torch.device("meta"):
            assert counted(Neuron(name, width)) == expected
            assert counted(Neuron(name, width, batch_norm=True)) == neuron_parameters(name, width, batch_norm=True)


def test_every_format_has_a_published_formula() -> None:
    assert list(NEURONS) == list(PUBLISHED) == [f"T{number}" for number in range(1, 31)]


@pytest.mark.parametrize("name", ["T1", "T2", "T6", "T9", "T12", "T22"])
@pytest.mark.parametrize("batch_norm", ["none", "inside", "after"])
def test_whole_network(name: str, batch_norm: str) -> None:
    spec = spec_of(5, 1000)
    config = QNNConfig(neuron=name, num_layers=2, batch_norm=batch_norm, reduced_width=12)
    with torch.device("meta"):
        model = QNN(spec, config)
    assert counted(model) == qnn_parameters(spec, config)


def test_cubic_formats_on_criteo_run_behind_a_reduction_to_100() -> None:
    spec, config = spec_of(39, 910_747), QNNConfig(neuron="T2", num_layers=3)
    assert qnn_parameters(spec, config) == 910_747 * 16 + 624 * 100 + 3 * (100**3 + 100) + 101
    with torch.device("meta"):
        assert counted(QNN(spec, config)) == qnn_parameters(spec, config)
