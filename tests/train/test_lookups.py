from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from palate.train.lookups import hand_over
from palate.train.rows import row_gradient

V, D = 11, 3


def gradients(module: nn.Embedding, use) -> Tensor:
    module.weight.grad = None
    use(module).backward()
    assert module.weight.grad is not None
    return module.weight.grad


def once(module: nn.Module) -> Tensor:
    return module(torch.tensor([[5, 5, 0], [2, 10, 5]])).sin().sum()


def twice(module: nn.Module) -> Tensor:
    return once(module) + module(torch.tensor([3, 5, 0])).square().sum()


def tied(module: nn.Embedding) -> Tensor:
    return (module(torch.tensor([1, 0, 1])) @ module.weight.T).square().sum()


def nothing(module: nn.Module) -> Tensor:
    return module(torch.zeros(0, 2, dtype=torch.int64)).sum()


@pytest.mark.parametrize("width", [1, D])
@pytest.mark.parametrize("padding", [None, 0, 5, 10])
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("use", [once, twice, tied, nothing])
def test_the_gradient_is_that_of_torch(width, padding, by_rows, use):
    torch.manual_seed(0)
    module = nn.Embedding(V, width, padding_idx=padding).double()
    expected, value = gradients(module, use).clone(), use(module).item()
    undo = hand_over(module, by_rows=by_rows)
    found = gradients(module, use)
    assert use(module).item() == value
    assert found.is_sparse == (by_rows and use is not tied)
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-14, atol=1e-14)
    if by_rows and padding is not None and use is not tied:
        assert padding not in found.coalesce().indices()[0].tolist()
    undo()
    assert torch.equal(gradients(module, use), expected)
    assert "forward" not in module.__dict__


def test_a_single_look_up_hands_over_each_row_once():
    module = nn.Embedding(V, D)
    hand_over(module, by_rows=True)
    found = gradients(module, once)
    assert found._indices()[0].tolist() == [0, 2, 5, 10]
    assert row_gradient(found).rows.data_ptr() == found._values().data_ptr(), "nothing is sorted again"


def test_looking_up_without_gradients_and_copies_work():
    module = nn.Embedding(V, D)
    undo = hand_over(module, by_rows=True)
    ids = torch.tensor([1, 2])
    with torch.no_grad():
        assert torch.equal(module(ids), module.weight[ids])
    with torch.inference_mode():
        assert torch.equal(module(ids), module.weight[ids])
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.weight.add_(1)
        assert torch.equal(twin(ids), module.weight[ids] + 1)
    undo()


class Doubling(nn.Embedding):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Doubling(V, D),
        lambda: nn.Embedding(V, D, max_norm=0.5),
        lambda: nn.Embedding(V, D, scale_grad_by_freq=True),
        lambda: nn.EmbeddingBag(V, D, mode="sum"),
        lambda: nn.EmbeddingBag(V, D, mode="max"),
    ],
)
@pytest.mark.parametrize("by_rows", [False, True])
def test_other_look_ups_are_left_alone_but_for_the_flag(make, by_rows):
    torch.manual_seed(0)
    module = make()
    expected = gradients(module, once).clone()
    undo = hand_over(module, by_rows=by_rows)
    torch.testing.assert_close(gradients(module, once).to_dense(), expected)
    assert "forward" not in module.__dict__
    undo()
    assert not module.sparse
