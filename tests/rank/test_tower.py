from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from palate.errors import ConfigError
from palate.rank.tower import OptionalTowerConfig, TowerConfig, make_tower
from palate.registry import find

SHARED = {"embedding_size": 16, "hidden": (400, 400, 400), "dropout": 0.1, "batch_norm": False}
# What saved files and cells of experiments name; a key that goes or changes its default breaks them.
OWN: dict[str, dict[str, Any]] = {
    "autoint-plus": {
        "num_layers": 3,
        "attention_size": 64,
        "num_heads": 2,
        "scale": False,
        "residual": True,
        "layer_norm": False,
        "wide": False,
    },
    "dcn": {"num_layers": 3},
    "dcnv2": {
        "cross": "full",
        "num_layers": 3,
        "rank": 32,
        "num_experts": 4,
        "structure": "parallel",
        "stacked_hidden": None,
    },
    "deepfm": {},
    "dnn": {},
    "finalmlp": {
        "second_hidden": (400,),
        "second_dropout": 0.1,
        "num_heads": 2,
        "gate": True,
        "gate_hidden": (64,),
        "context": (),
        "second_context": (),
    },
    "gdcn": {"num_layers": 3, "structure": "parallel"},
    "pnn": {"product": "inner"},
    "wide-and-deep": {},
    "xdeepfm": {"maps": (32, 32)},
}


@pytest.mark.parametrize("name", OWN)
def test_settings_keep_their_flat_names_and_defaults(name: str) -> None:
    factory: Any = find("ranker", name).factory
    assert factory.Config().model_dump() == SHARED | OWN[name]


def test_the_tower_has_the_settings() -> None:
    config = TowerConfig(hidden=(6, 5), dropout=0.3, batch_norm=True)
    layers = make_tower(4, config).layers
    assert [type(layer).__name__ for layer in layers] == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [6, 5]
    assert make_tower(4, config, (9,)).out_features == 9


def test_only_the_optional_tower_may_be_empty() -> None:
    assert OptionalTowerConfig(hidden=()).hidden == ()
    with pytest.raises(ConfigError, match="hidden"):
        TowerConfig(hidden=())
