from __future__ import annotations

import pytest
import torch
from torch import nn

from palate.data.features import FeatureSpec
from palate.errors import ConfigError, UnknownNameError
from palate.rank.neuron_formats import NEURONS
from palate.rank.qnn import QNN, QNNConfig, QuadraticLayer
from palate.registry import find
from palate.testing.rankers import check_ranker, small_spec, small_table


@pytest.mark.parametrize("neuron", ["T9", "T19"])
def test_keeps_every_law_of_a_ranker(neuron: str) -> None:
    report = check_ranker("qnn", neuron=neuron)
    assert report.ran >= 14


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("batch_norm", ["inside", "after"])
def test_every_format_trains_at_every_place_of_batch_norm(neuron: str, batch_norm: str) -> None:
    torch.manual_seed(0)
    spec = small_spec()
    model = QNN(spec, QNNConfig.sized("tiny", neuron=neuron, num_layers=2, batch_norm=batch_norm))
    batch = small_table(spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_order_is_layer_norm_activation_dropout() -> None:
    layer = QuadraticLayer(6, QNNConfig(batch_norm="after", post_activation="relu"))
    assert [type(part).__name__ for part in layer.quadratic] == ["Neuron", "BatchNorm1d", "ReLU"]
    layer = QuadraticLayer(6, QNNConfig(batch_norm="inside"))
    assert [type(part).__name__ for part in layer.quadratic] == ["Neuron"]
    assert [type(part).__name__ for part in layer.quadratic[0].maps[0]] == ["Linear", "BatchNorm1d"]


def test_post_activation_acts_on_the_layer() -> None:
    torch.manual_seed(0)
    plain = QuadraticLayer(6, QNNConfig(dropout=0.0))
    after = QuadraticLayer(6, QNNConfig(dropout=0.0, post_activation="relu"))
    after.load_state_dict(plain.state_dict())
    x = torch.randn(20, 6)
    torch.testing.assert_close(after(x), plain(x).relu())


def test_cubic_formats_run_behind_a_bias_free_reduction() -> None:
    model = QNN(FeatureSpec.from_sizes(a=5, b=5), QNNConfig(neuron="T1", num_layers=1, reduced_width=7))
    assert isinstance(model.reduce, nn.Linear)
    assert model.reduce.bias is None
    assert model.reduce.weight.shape == (7, 32)
    assert model.head.weight.shape == (1, 7)


def test_has_neither_tower_nor_wide_term() -> None:
    model = QNN(FeatureSpec.from_sizes(a=5, b=5), QNNConfig(num_layers=2))
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"embedding", "trunk", "head"}


def test_self_ensemble_is_available_and_differs_from_cross_entropy() -> None:
    spec = small_spec()
    batch = small_table(spec)
    torch.manual_seed(0)
    model = QNN(spec, QNNConfig(loss="self-ensemble"))
    assert model.loss(batch).item() == pytest.approx(3 * 0.6931, abs=0.01)


def test_starts_as_a_linear_model() -> None:
    # Products of embeddings of size 1e-4 vanish beside the residual: the network starts as w^T x_0 + b.
    spec = small_spec()
    torch.manual_seed(0)
    model = QNN(spec, QNNConfig()).eval()
    batch = small_table(spec)
    x = model.embedding(batch).flatten(1)
    torch.testing.assert_close(model(batch), model.head(x), rtol=0, atol=1e-6)


def test_bad_settings_are_named() -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "T9"|Did you mean'):
        QNNConfig(neuron="t9")
    with pytest.raises(UnknownNameError, match='no activation called "rel"'):
        QNNConfig(post_activation="rel")
    with pytest.raises(ConfigError, match="batch_norm"):
        QNNConfig(batch_norm="before")
    with pytest.raises(ConfigError, match="dropout"):
        QNNConfig(dropout=1.0)
    assert find("ranker", "qnn").factory is QNN
