from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palate.train.rows import put_rows, row_gradient, sum_rows


def test_duplicates_are_summed_by_hand():
    ids = torch.tensor([4, 1, 4, 0])
    rows = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [5.0, 50.0]])
    found = sum_rows(ids, rows, 5)
    assert found.ids.tolist() == [0, 1, 4]
    assert found.rows.tolist() == [[5.0, 50.0], [2.0, 20.0], [4.0, 40.0]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 5), st.sampled_from([10, 2**40, 2**62]))
def test_equals_index_add_for_both_ways_of_sorting(ids, width, num_rows):
    # A table of 2^62 rows leaves no room to pack the position: that takes the general way.
    index = torch.tensor(ids)
    rows = torch.arange(len(ids) * width, dtype=torch.float64).view(-1, width)
    dense = torch.zeros(10, width, dtype=torch.float64).index_add_(0, index, rows)
    found = sum_rows(index, rows, num_rows)
    assert found.ids.tolist() == sorted(set(ids))
    assert torch.equal(found.rows, dense[found.ids])


def test_small_and_large_batches_are_summed_alike():
    # Below 2^15 ids NumPy sorts packed integers, from there on torch sorts by radix.
    ids = torch.randint(0, 500, (1 << 15,), generator=torch.Generator().manual_seed(0))
    rows = torch.rand(len(ids), 2, generator=torch.Generator().manual_seed(1))
    for count in (len(ids) - 1, len(ids)):
        found = sum_rows(ids[:count], rows[:count], 500)
        in_order = torch.zeros(500, 2).index_add_(0, ids[:count], rows[:count])
        assert found.ids.tolist() == list(range(500))
        assert torch.equal(found.rows, in_order)


def test_terms_are_added_in_the_order_of_the_batch():
    # In float32, (1e8 + 1) - 1e8 = 0 and (1e8 - 1e8) + 1 = 1: the order shows.
    rows = torch.tensor([[1e8], [1.0], [-1e8]])
    assert sum_rows(torch.tensor([3, 3, 3]), rows, 4).rows.item() == 0.0
    assert sum_rows(torch.tensor([3, 3, 3]), rows[[0, 2, 1]], 4).rows.item() == 1.0


def test_no_ids_give_no_rows():
    found = sum_rows(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3), 5)
    assert found.ids.shape == (0,)
    assert found.rows.shape == (0, 3)


def test_a_dense_gradient_gives_its_rows_that_are_not_zero():
    gradient = torch.zeros(6, 2)
    gradient[2, 1] = 3.0
    gradient[5] = float("nan")
    found = row_gradient(gradient)
    assert found.ids.tolist() == [2, 5]
    assert found.rows[0].tolist() == [0.0, 3.0]


def test_sparse_and_dense_embeddings_agree():
    torch.manual_seed(0)
    ids = torch.randint(0, 7, (4, 3))
    weight = torch.randn(7, 2)
    gradients = []
    for sparse in (True, False):
        table = torch.nn.Embedding(7, 2, sparse=sparse, _weight=weight.clone())
        (table(ids).sin().sum() + table(ids[:2]).square().sum()).backward()
        gradients.append(row_gradient(table.weight.grad))
    assert torch.equal(gradients[0].ids, gradients[1].ids)
    torch.testing.assert_close(gradients[0].rows, gradients[1].rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 3])
def test_rows_are_put_in_place_and_torch_knows(dtype, width):
    table = torch.arange(10 * width, dtype=dtype).view(10, width)
    expected, rows = table.clone(), -torch.ones(2, width, dtype=dtype)
    expected[[7, 2]] = rows
    version = table._version
    put_rows(table, torch.tensor([7, 2]), rows)
    assert torch.equal(table, expected)
    assert table._version > version
    put_rows(table, torch.zeros(0, dtype=torch.int64), rows[:0])
    assert torch.equal(table, expected)


def test_a_table_that_is_a_view_is_written_too():
    whole = torch.zeros(4, 6)
    put_rows(whole[:, ::2], torch.tensor([1]), torch.ones(1, 3))
    assert whole[1].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    parameter = torch.nn.Parameter(torch.zeros(3, 2))
    with torch.no_grad():
        put_rows(parameter, torch.tensor([2]), torch.ones(1, 2))
    assert parameter.tolist() == [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
