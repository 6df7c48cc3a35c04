from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from palate.errors import CheckpointError
from palate.train import optimisers, tables
from palate.train.contract import TrainConfig
from palate.train.optimisers import Optimiser, table_names

V, D, F = 40, 3, 4


class Tiny(nn.Module):
    def __init__(self, *, padding: int | None = None, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(V, D, padding_idx=padding)
        self.net = nn.Sequential(nn.Linear(D * F, 5), nn.Tanh(), nn.Linear(5, 1))
        self.unused = nn.Parameter(torch.ones(2))
        self.tied = tied

    def loss(self, ids: Tensor) -> Tensor:
        hidden = self.table(ids)
        logits = self.net(hidden.flatten(1)).squeeze(1)
        loss = functional.softplus(logits).mean() * 3
        if self.tied:
            loss = loss + (hidden.mean(1) @ self.table.weight.T).logsumexp(1).mean()
        return loss


def batches(count: int, rows: int = 6, high: int = V) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, high, (rows, F), generator=generator) for _ in range(count)]


def naive(model: Tiny, data: list[Tensor], config: TrainConfig) -> list[float]:
    """The definition: L2 in the loss, dense autograd, torch's clipping, torch's Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    norms = []
    for batch in data:
        tables = [model.table.weight]
        net = [weight for weight in model.parameters() if weight is not model.table.weight]
        objective = model.loss(batch)
        objective = objective + config.embedding_l2 / 2 * sum(weight.square().sum() for weight in tables)
        objective = objective + config.net_l2 / 2 * sum(weight.square().sum() for weight in net)
        optimiser.zero_grad()
        objective.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip or float("inf")).item())
        optimiser.step()
    return norms


def ours(model: Tiny, data: list[Tensor], config: TrainConfig) -> list[float]:
    optimiser = Optimiser(model, config)
    norms = []
    for batch in data:
        model.loss(batch).backward()
        norms.append(optimiser.step())
    optimiser.release()
    return norms


def assert_same_weights(left: nn.Module, right: nn.Module, tolerance: float) -> None:
    for (name, a), (_, b) in zip(left.named_parameters(), right.named_parameters(), strict=True):
        assert (a - b).abs().max().item() <= tolerance, name


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("clip", [None, 10.0, 0.05])
@pytest.mark.parametrize("l2", [(0.0, 0.0), (0.5, 0.0), (0.3, 0.2)])
def test_dense_equals_the_naive_autograd_version_in_float64(monkeypatch, by_rows, tied, clip, l2):
    if by_rows:
        monkeypatch.setattr(optimisers, "SMALL_TABLE", 0)
        monkeypatch.setattr(tables, "PIECE", 7 * D)  # six pieces, the last one shorter
    config = TrainConfig(learning_rate=0.01, embedding_l2=l2[0], net_l2=l2[1], gradient_clip=clip)
    left, right = Tiny(tied=tied).double(), Tiny(tied=tied).double()
    data = batches(8)
    expected, found = naive(left, data, config), ours(right, data, config)
    assert found == pytest.approx(expected, rel=1e-12)
    assert_same_weights(left, right, 1e-12)


def test_the_clip_bites_in_the_clipped_case():
    config = TrainConfig(learning_rate=0.01, embedding_l2=0.5, gradient_clip=0.05)
    assert min(naive(Tiny().double(), batches(8), config)) > 0.05


@pytest.mark.parametrize("mode", ["lazy", "rowwise", "dense"])
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_embeddings_are_given_back_as_they_were(monkeypatch, mode, small):
    monkeypatch.setattr(optimisers, "SMALL_TABLE", small)
    model = Tiny()
    before = dict(model.table.__dict__)
    optimiser = Optimiser(model, TrainConfig(table_update=mode))
    model.loss(batches(1)[0]).backward()
    assert model.table.weight.grad is not None
    assert model.table.weight.grad.is_sparse == (mode != "dense" or not small)
    optimiser.release()
    assert model.table.__dict__ == before


@pytest.mark.parametrize("duplicates", [False, True])
def test_lazy_equals_dense_when_every_id_occurs_in_every_batch(duplicates):
    generator = torch.Generator().manual_seed(3)
    data = [torch.randperm(V, generator=generator).view(-1, F) for _ in range(40)]
    if duplicates:
        data = [torch.cat([batch, batch[:3], batch[:3]]) for batch in data]
    dense, lazy = Tiny(), Tiny()
    ours(dense, data, TrainConfig(learning_rate=0.01, table_update="dense"))
    ours(lazy, data, TrainConfig(learning_rate=0.01, table_update="lazy"))
    assert_same_weights(dense, lazy, 1e-6)


def test_lazy_equals_the_sparse_adam_of_torch():
    config = TrainConfig(learning_rate=0.01, table_update="lazy", gradient_clip=None)
    left, right = Tiny().double(), Tiny().double()
    data = batches(10, rows=3)
    ours(left, data, config)
    right.table.sparse = True
    net = [weight for weight in right.parameters() if weight is not right.table.weight]
    pair = torch.optim.SparseAdam([right.table.weight], lr=0.01), torch.optim.Adam(net, lr=0.01)
    for batch in data:
        right.loss(batch).backward()
        for optimiser in pair:
            optimiser.step()
            optimiser.zero_grad()
    # torch adds epsilon before the bias correction of the second moment, Adam's definition after it.
    assert_same_weights(left, right, 1e-5)


@pytest.mark.parametrize("mode", ["lazy", "rowwise"])
def test_rows_outside_the_batch_rest_and_l2_pulls_only_at_touched_rows(mode):
    model = Tiny()
    before = model.table.weight.detach().clone()
    ours(model, batches(5, high=10), TrainConfig(table_update=mode, embedding_l2=0.5))
    assert torch.equal(model.table.weight[10:], before[10:])
    assert (model.table.weight[:10] != before[:10]).any(dim=1).all()


def test_lazy_sums_duplicates_and_adds_l2_before_the_moments_by_hand():
    table = nn.Embedding(3, 1, _weight=torch.tensor([[1.0], [2.0], [3.0]]))
    optimiser = Optimiser(table, TrainConfig(table_update="lazy", embedding_l2=0.5, learning_rate=0.1))
    table(torch.tensor([1, 1, 2])).sum().backward()
    # g_1 = 2 + 0.5 * 2 = 3, g_2 = 1 + 0.5 * 3 = 2.5
    assert optimiser.step() == pytest.approx((3**2 + 2.5**2) ** 0.5)
    state = optimiser.state()
    assert state["first.weight"].flatten().tolist() == pytest.approx([0.0, 0.3, 0.25])
    assert state["second.weight"].flatten().tolist() == pytest.approx([0.0, 0.009, 0.00625])
    assert table.weight.flatten().tolist() == pytest.approx([1.0, 1.9, 2.9])


def test_rowwise_adagrad_by_hand():
    table = nn.Embedding(2, 2, _weight=torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    optimiser = Optimiser(table, TrainConfig(table_update="rowwise", learning_rate=0.1, table_learning_rate=1.0))
    factors = torch.tensor([[3.0, 4.0]])
    for expected in (12.5, 25.0):  # (9 + 16) / 2, then twice that
        (table(torch.tensor([1])) * factors).sum().backward()
        optimiser.step()
        assert optimiser.state()["accumulator.weight"].tolist() == [0.0, expected]
    first, second = 1 / 12.5**0.5, 1 / 25.0**0.5
    assert table.weight[1].tolist() == pytest.approx([1 - 3 * (first + second), 1 - 4 * (first + second)], rel=1e-6)
    assert table.weight[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("mode", ["dense", "lazy", "rowwise"])
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_the_padding_row_stays_zero(monkeypatch, mode, small):
    monkeypatch.setattr(optimisers, "SMALL_TABLE", small)
    model = Tiny(padding=0)
    ours(model, batches(5, high=5), TrainConfig(table_update=mode, embedding_l2=0.1))
    assert model.table.weight[0].tolist() == [0.0] * D


def test_the_rate_of_tables_falls_together_with_that_of_the_net():
    optimiser = Optimiser(Tiny(), TrainConfig(learning_rate=0.01, table_learning_rate=0.5))
    optimiser.learning_rate = 0.001
    assert optimiser.table_learning_rate == pytest.approx(0.05)


def test_tables_are_the_weights_of_trainable_embeddings():
    model = nn.ModuleDict(
        {"a": nn.Embedding(3, 2), "b": nn.Linear(2, 2), "c": nn.Embedding(3, 2), "d": nn.Embedding(3, 2)}
    )
    model["c"].weight.requires_grad_(False)
    model["d"].weight = model["a"].weight
    assert table_names(model) == ["a.weight"]


@pytest.mark.parametrize("mode", ["dense", "lazy", "rowwise"])
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_the_state_carries_everything(monkeypatch, mode, small):
    monkeypatch.setattr(optimisers, "SMALL_TABLE", small)
    config = TrainConfig(table_update=mode, embedding_l2=0.01, learning_rate=0.01)
    whole, parts = Tiny(), Tiny()
    data = batches(6)
    ours(whole, data, config)
    first = Optimiser(parts, config)
    for batch in data[:3]:
        parts.loss(batch).backward()
        first.step()
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    second = Optimiser(parts, config)
    second.load_state(saved)
    for batch in data[3:]:
        parts.loss(batch).backward()
        second.step()
    assert_same_weights(whole, parts, 0.0)


def test_a_state_of_another_model_is_refused():
    saved = Optimiser(Tiny(), TrainConfig()).state()
    saved["first.table.weight"] = torch.zeros(V + 1, D)
    with pytest.raises(CheckpointError, match=r"first\.table\.weight"):
        Optimiser(Tiny(), TrainConfig()).load_state(saved)


@pytest.mark.parametrize("mode", ["dense", "lazy", "rowwise"])
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_a_bad_gradient_shows_in_the_norm(monkeypatch, mode, small):
    monkeypatch.setattr(optimisers, "SMALL_TABLE", small)
    model = Tiny()
    optimiser = Optimiser(model, TrainConfig(table_update=mode, embedding_l2=0.1))
    (model.loss(batches(1)[0]) + model.table(torch.tensor([3])).sum() * float("nan")).backward()
    assert not optimiser.measure() < float("inf")
