from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.data.features import FeatureSpec, RankBatch
from palate.rank.interactions import fm_second_order
from palate.rank.parameters import qnn_alpha_parameters
from palate.rank.qnn_alpha import QNNAlphaConfig
from palate.registry import find, names
from palate.testing.rankers import check_ranker, small_spec, small_table

NAMES = ["qnn-alpha-dcnv2", "qnn-alpha-deepfm", "qnn-alpha-mlp", "qnn-alpha-xdeepfm"]


def build(name: str, **settings: Any) -> Any:
    factory: Any = find("ranker", name).factory
    torch.manual_seed(0)
    model = factory(small_spec(), factory.Config.sized("tiny", **settings))
    with torch.no_grad():
        model.embedding.table.weight.mul_(5000)
    return model.double()


def small_batch() -> RankBatch:
    batch = small_table(small_spec())
    assert batch.labels is not None
    return RankBatch(ids=batch.ids, labels=batch.labels.double())


def test_all_four_are_registered() -> None:
    assert [name for name in names("ranker", "qnn-alpha*") if name != "qnn-alpha"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_keeps_every_law_of_a_ranker(name: str) -> None:
    assert check_ranker(name).ran >= 14


@pytest.mark.parametrize("name", NAMES)
def test_equations(name: str) -> None:
    model = build(name).eval()
    batch = small_batch()
    fields = model.embedding(batch)
    x_0 = fields.flatten(1)
    x_l = model.trunk(x_0)
    expected: Tensor
    if name == "qnn-alpha-dcnv2":
        c = x_0
        for factor in model.cross.factors:
            assert [type(part).__name__ for part in factor] == ["Linear", "BatchNorm1d", "ReLU"]
            c = x_0 * factor(c) + c
        expected = model.head(torch.cat([x_l, c], 1))
    elif name == "qnn-alpha-deepfm":
        expected = model.head(x_l) + 0.5 * (model.linear(batch) + fm_second_order(fields))
    elif name == "qnn-alpha-xdeepfm":
        expected = model.head(x_l) + model.linear(batch) + model.cin_head(model.cin(fields))
    else:
        expected = model.head(torch.cat([x_l, model.tower(x_0)], 1))
    torch.testing.assert_close(model(batch), expected)
    assert model(batch).std() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_self_ensemble_acts_on_the_combined_probability(name: str) -> None:
    model = build(name, dropout=0.0)
    batch = small_batch()
    assert batch.labels is not None
    # Without noise both passes agree: BCE + 2 H(p), with the gradient of BCE.
    p = model(batch).sigmoid()
    entropy = functional.binary_cross_entropy(p, p.detach())
    plain = functional.binary_cross_entropy(p, batch.labels)
    loss = model.loss(batch)
    torch.testing.assert_close(loss, plain + 2 * entropy)
    parameters = list(model.parameters())
    ours, theirs = torch.autograd.grad(loss, parameters), torch.autograd.grad(plain, parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_second_network_has_masks_of_its_own_in_each_pass(name: str) -> None:
    model = build(name, dropout=0.4, batch_norm=False)
    seen: list[Tensor] = []
    part = {"qnn-alpha-dcnv2": "cross", "qnn-alpha-mlp": "tower"}.get(name)
    if part is None:
        assert not any(type(each).__name__ == "Dropout" for each in model.head.modules())
        return
    getattr(model, part).register_forward_hook(lambda _, __, out: seen.append(out))
    model.loss(small_batch())
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("name", NAMES)
def test_one_embedding_look_up_per_step(name: str) -> None:
    model = build(name)
    looks: list[int] = []
    model.embedding.table.register_forward_hook(lambda *_: looks.append(1))
    model.loss(small_batch())
    assert len(looks) == 1


def test_parameters_are_the_stack_and_the_second_network() -> None:
    spec = FeatureSpec.from_sizes(a=10, b=20, c=30)
    for name in NAMES:
        factory: Any = find("ranker", name).factory
        config = factory.Config.sized("tiny")
        model: nn.Module = factory(spec, config)
        base = qnn_alpha_parameters(spec, QNNAlphaConfig.sized("tiny"))
        d = 3 * 8
        extra = {
            "qnn-alpha-dcnv2": 2 * (d * d + d + 2 * d) + d,
            "qnn-alpha-deepfm": 60 + 1,
            "qnn-alpha-xdeepfm": 60 + 1 + (9 * 8 + 8) + (8 + 1),
            "qnn-alpha-mlp": (d * 64 + 64 + 128) + (64 * 32 + 32 + 64) + 32,
        }[name]
        assert sum(p.numel() for p in model.parameters()) == base + extra
