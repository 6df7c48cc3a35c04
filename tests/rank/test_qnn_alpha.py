from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.data.features import RankBatch
from palate.data.rank_source import RankSource
from palate.data.rank_table import RankTable, iterate
from palate.errors import ConfigError
from palate.evaluate import auc, log_loss_from_logits
from palate.rank.qnn_alpha import KhatriRaoLayer, QNNAlpha, QNNAlphaConfig
from palate.registry import find
from palate.testing.rankers import check_ranker, small_spec, small_table
from palate.train.contract import TrainConfig
from palate.train.loop import fit

X = torch.tensor([[1.0, -2.0, 0.5, 3.0]])


def layer_of(num_fields: int = 2, **settings: object) -> KhatriRaoLayer:
    return KhatriRaoLayer(num_fields, QNNAlphaConfig(**{"embedding_size": 2, "dropout": 0.0, **settings}))


def number_weights(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            o, i = torch.arange(part.out_features).unsqueeze(1), torch.arange(part.in_features)
            with torch.no_grad():
                part.weight.copy_((((3 * o + 2 * i) % 5) - 2) / 2)
                part.bias.copy_(0.1 * (torch.arange(part.out_features) + 1))


def test_gate_of_the_published_weights() -> None:
    layer = layer_of()
    number_weights(layer)
    torch.testing.assert_close(layer.prepare(X).relu(), torch.tensor([[0.0, 5.7, 0.0, 0.0, 0.0, 0.0, 6.2, 0.0]]))


@pytest.mark.parametrize(
    ("num_heads", "head_layout", "expected"),
    [
        (1, "reference", [1.0, -13.4, 3.6, 3.0]),
        (1, "aligned", [1.0, -13.4, 3.6, 3.0]),
        (2, "reference", [1.0, 0.85, -11.9, 3.0]),
        (2, "aligned", [1.0, -14.4, 3.35, 3.0]),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_known_outputs(num_heads: int, head_layout: str, expected: list[float], training: bool) -> None:
    layer = layer_of(num_heads=num_heads, head_layout=head_layout).train(training)
    number_weights(layer)
    torch.testing.assert_close(layer(X), torch.tensor([expected]))


def reference_layer(layer: KhatriRaoLayer, x: Tensor, keep: Tensor) -> Tensor:
    """The layer step by step, with the Khatri-Rao product materialised."""
    fields, size = layer.shape.num_fields, layer.shape.embedding_size
    heads, rows = layer.shape.num_heads, layer.shape.num_rows
    sliced = torch.stack(x.view(-1, fields, size).tensor_split(heads, dim=-1), dim=1).flatten(2)  # [B, H, d/H]
    h = (layer.prepare(x).relu() * keep).view(len(x), heads, rows, -1)
    product = torch.einsum("bhk,bhrk->bhrk", sliced, h).sum(2)
    if layer.shape.aligned:
        product = product.view(len(x), heads, fields, -1).transpose(1, 2)
    return product.flatten(1) + x


@pytest.mark.parametrize("head_layout", ["reference", "aligned"])
@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_equals_the_materialised_product(head_layout: str, num_heads: int, batch_norm: bool) -> None:
    layer = layer_of(
        3, embedding_size=4, num_rows=3, num_heads=num_heads, head_layout=head_layout, batch_norm=batch_norm
    ).double()
    x = torch.randn(6, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), reference_layer(layer, x, torch.ones(6, 36, dtype=torch.float64)))


def test_layouts_agree_for_one_head_and_differ_for_more() -> None:
    for num_heads, agree in ((1, True), (2, False)):
        torch.manual_seed(0)
        reference = layer_of(3, embedding_size=4, num_heads=num_heads)
        aligned = layer_of(3, embedding_size=4, num_heads=num_heads, head_layout="aligned")
        aligned.load_state_dict(reference.state_dict())
        x = torch.randn(6, 12)
        assert torch.allclose(reference(x), aligned(x)) is agree


def test_each_head_sees_a_slice_of_every_field() -> None:
    layer = layer_of(3, embedding_size=4, num_heads=2)
    x = torch.arange(12.0).view(1, 12)  # field f holds 4 f .. 4 f + 3
    heads = layer.shape.to_heads(x).view(2, 6)
    assert heads.tolist() == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    assert torch.equal(layer.shape.to_fields(layer.shape.to_heads(x)), x)


def test_one_head_never_flips_or_shrinks_a_coordinate() -> None:
    torch.manual_seed(0)
    layers = [layer_of(4, embedding_size=4, num_rows=3, dropout=0.1).eval() for _ in range(3)]
    x = torch.randn(200, 16)
    for layer in layers:
        y = layer(x)
        assert (y.sign() == x.sign()).all()
        assert (y.abs() >= x.abs()).all()
        assert (y.abs() > x.abs()).any()
        x = y


def test_equal_rows_add_up_instead_of_averaging() -> None:
    one, three = layer_of(2, num_rows=1), layer_of(2, num_rows=3)
    with torch.no_grad():
        three.linear.weight.copy_(one.linear.weight.repeat(3, 1))
        three.linear.bias.copy_(one.linear.bias.repeat(3))
    x = torch.randn(10, 4)
    torch.testing.assert_close(three(x) - x, 3 * (one(x) - x))


def test_dropout_falls_on_the_factor_and_on_the_output() -> None:
    torch.manual_seed(0)
    layer = layer_of(50, num_rows=1, dropout=0.5)
    x = torch.ones(400, 100)
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.bias.fill_(1.0)
    y = layer(x) / layer.dropout.scale
    # x (1 + gate) with gate 0 or 2, then half of all numbers dropped: 0, 1 or 3.
    shares = [(y.sub(value).abs() < 1e-4).double().mean().item() for value in (0.0, 1.0, 3.0)]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.01)


def test_other_mid_activations() -> None:
    torch.manual_seed(0)
    layer = layer_of(2, num_rows=2, mid_activation="identity")
    x = torch.randn(5, 4)
    gate = layer.prepare(x).view(5, 2, 4).sum(1)
    torch.testing.assert_close(layer(x), x * gate + x)


def test_keeps_every_law_of_a_ranker() -> None:
    for settings in ({"num_heads": 2, "num_layers": 2, "head_layout": "aligned"}, {"loss": "bce"}):
        assert check_ranker("qnn-alpha", **settings).ran >= 14


def test_default_is_the_whole_method() -> None:
    for size in ("tiny", "small", "base"):
        config = QNNAlphaConfig.sized(size)
        assert config.loss == "self-ensemble"
        assert config.dropout == 0.1
        assert config.num_rows >= 2
        assert config.mid_activation == "relu"
        assert config.head_layout == "reference"
    base = QNNAlphaConfig.sized("base")
    assert (base.embedding_size, base.num_layers, base.num_rows, base.num_heads) == (16, 4, 5, 1)


def naive_loss(model: QNNAlpha, batch: RankBatch) -> Tensor:
    """Two whole passes and probabilities, as one would write it first."""
    p1, p2 = model(batch).sigmoid(), model(batch).sigmoid()
    mean = (p1 + p2) / 2
    assert batch.labels is not None
    bce = functional.binary_cross_entropy
    return bce(mean, batch.labels) + bce(p1, mean.detach()) + bce(p2, mean.detach())


def gradients(loss: Tensor, model: QNNAlpha) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_what_is_optimised_is_the_self_ensemble_loss() -> None:
    # With one layer both forms draw their masks in the same order, so one seed gives both the same masks.
    spec = small_spec()
    torch.manual_seed(0)
    model = QNNAlpha(spec, QNNAlphaConfig(embedding_size=4, num_layers=1, dropout=0.3)).double()
    with torch.no_grad():
        model.embedding.table.weight.mul_(5000)
    batch = small_table(spec)
    batch = RankBatch(ids=batch.ids, labels=batch.labels.double() if batch.labels is not None else None)
    assert batch.labels is not None

    torch.manual_seed(1)
    loss = model.loss(batch)
    torch.manual_seed(1)
    expected = naive_loss(model, batch)
    torch.manual_seed(1)
    plain = functional.binary_cross_entropy_with_logits(model(batch), batch.labels)
    torch.testing.assert_close(loss, expected)
    assert loss.item() > 2 * plain.item()
    ours, theirs, crossed = (gradients(each, model) for each in (loss, expected, plain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert not any(torch.allclose(a, c, rtol=1e-3) for a, c in zip(ours, crossed, strict=True))


def test_no_dropout_gives_the_gradient_of_cross_entropy() -> None:
    spec = small_spec()
    batch = small_table(spec)
    torch.manual_seed(0)
    model = QNNAlpha(spec, QNNAlphaConfig(dropout=0.0, num_layers=2, batch_norm=True)).double()
    with torch.no_grad():
        model.embedding.table.weight.mul_(3000)
    batch = RankBatch(ids=batch.ids, labels=batch.labels.double() if batch.labels is not None else None)
    other = copy.deepcopy(model)
    other.config = model.config.replace(loss="bce")
    model.loss(batch).backward()
    other.loss(batch).backward()
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_one_embedding_look_up_per_step() -> None:
    spec = small_spec()
    model = QNNAlpha(spec, QNNAlphaConfig())
    looks: list[int] = []
    model.embedding.table.register_forward_hook(lambda *_: looks.append(1))
    model.loss(small_table(spec))
    assert len(looks) == 1


def test_order_of_rows_changes_no_score() -> None:
    spec = small_spec()
    batch = small_table(spec)
    model = QNNAlpha(spec, QNNAlphaConfig(num_layers=2)).double().eval()
    with torch.no_grad():
        model.embedding.table.weight.mul_(3000)
        order = torch.randperm(len(batch))
        assert batch.labels is not None
        shuffled = RankBatch(ids=batch.ids[order], labels=batch.labels[order])
        torch.testing.assert_close(model(shuffled), model(batch)[order], rtol=0, atol=1e-12)


def test_order_of_rows_changes_no_metric() -> None:
    spec = small_spec()
    batch = small_table(spec, rows=200)
    assert batch.labels is not None
    table = RankTable(ids=batch.ids.int().numpy(), labels=batch.labels.numpy())
    shuffled = table.take(np.random.default_rng(0).permutation(200))
    model = QNNAlpha(spec, QNNAlphaConfig(num_layers=2)).double().eval()
    measured = []
    with torch.no_grad():
        model.embedding.table.weight.mul_(3000)
        for rows in (table, shuffled):
            logits = np.concatenate([model(part).numpy() for part in iterate(rows, 64)])
            measured.append((auc(logits, rows.labels), log_loss_from_logits(logits, rows.labels)))
    np.testing.assert_allclose(measured[0], measured[1], rtol=0, atol=1e-12)


def test_the_loop_optimises_the_self_ensemble_loss() -> None:
    spec = small_spec()
    batch = small_table(spec)
    assert batch.labels is not None
    ids = batch.ids.clone()
    ids[::2, 1] = spec["item"].offset
    table = RankTable(ids=ids.int().numpy(), labels=batch.labels.numpy())
    weights = {}
    for loss in ("self-ensemble", "bce"):
        torch.manual_seed(0)
        model = QNNAlpha(spec, QNNAlphaConfig(num_layers=1, loss=loss))
        result = fit(model, RankSource(table, 64, seed=0), TrainConfig(epochs=1, embedding_l2=1e-3, seed=0))
        assert result.history[0].train_loss == pytest.approx((3 if loss == "self-ensemble" else 1) * 0.6931, abs=0.02)
        fit(model, RankSource(table, 64, seed=0), TrainConfig(epochs=30, learning_rate=0.02, embedding_l2=1e-3, seed=0))
        weights[loss] = model.head.weight.detach().clone()
        assert not model.embedding.table.weight[[field.offset for field in spec.fields]].any()
    assert not torch.allclose(weights["self-ensemble"], weights["bce"], rtol=1e-2)


def test_padding_row_stays_zero_after_training() -> None:
    spec = small_spec()
    model = QNNAlpha(spec, QNNAlphaConfig(num_layers=1, embedding_size=4))
    ids = small_table(spec).ids
    ids[::2, 0] = 0
    batch = RankBatch(ids=ids, labels=(torch.arange(len(ids)) % 2).float())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(10):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    offsets = [field.offset for field in spec.fields]
    assert not model.embedding.table.weight[offsets].any()


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="num_heads = 3 does not divide embedding_size = 16"):
        QNNAlphaConfig(num_heads=3)
    with pytest.raises(ConfigError, match='no setting "num_row"'):
        QNNAlphaConfig(num_row=2)
    with pytest.raises(ConfigError, match="head_layout"):
        QNNAlphaConfig(head_layout="flat")
    assert find("ranker", "qnn-alpha").factory is QNNAlpha
