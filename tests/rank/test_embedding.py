from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from palate.data.features import FeatureSpec, FieldSpec, RankBatch
from palate.errors import ConfigError, DataError
from palate.rank.embedding import FieldEmbedding, LinearTerm

MIXED = FeatureSpec(
    fields=(
        FieldSpec(name="age", kind="numeric"),
        FieldSpec(name="user", kind="categorical", size=4, offset=0),
        FieldSpec(name="history", kind="sequence", offset=4, length=3, shares="item"),
        FieldSpec(name="item", kind="categorical", size=5, offset=4),
        FieldSpec(name="tags", kind="sequence", size=3, offset=9, length=2),
        FieldSpec(name="cover", kind="vector", dimensions=2, size=3),
    )
)
COVERS = torch.tensor([[9.0, 9.0], [1.0, 2.0], [3.0, 4.0]])


# num_ids counts what the spec says; the vector field of this spec brings rows of its own and none of the table.
def mixed_batch() -> RankBatch:
    return RankBatch(
        ids=torch.tensor([[1, 5], [0, 4]]),
        numeric=torch.tensor([[2.0], [-1.0]]),
        sequences=(torch.tensor([[4, 5, 6], [4, 4, 4]]), torch.tensor([[9, 10], [11, 11]])),
        vectors=torch.tensor([[1], [0]]),
    )


def test_every_kind_of_field_by_hand() -> None:
    layer = FieldEmbedding(MIXED, 4, vectors={"cover": COVERS})
    weight = layer.table.weight.detach()
    out = layer(mixed_batch())
    assert out.shape == (2, 6, 4)
    assert layer.numeric_weight is not None
    projection = layer.projections[0]
    assert isinstance(projection, nn.Linear)
    expected_first = [
        2.0 * layer.numeric_weight[0],
        weight[1],
        weight[5] + weight[6],
        weight[5],
        weight[10],
        projection.weight @ torch.tensor([1.0, 2.0]),
    ]
    torch.testing.assert_close(out[0], torch.stack(expected_first))
    zero = torch.zeros(4)
    expected_second = [-layer.numeric_weight[0], zero, zero, zero, 2 * weight[11], zero]
    torch.testing.assert_close(out[1], torch.stack(expected_second))


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_a_sequence_shared_by_all_rows_is_looked_up_once(
    which: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = FieldEmbedding(MIXED, 4, vectors={"cover": COVERS})
    batch = mixed_batch()
    views = [each[:1].expand(2, -1) if place in which else each for place, each in enumerate(batch.sequences)]
    own = [each.contiguous() for each in views]
    counted: list[int] = []
    look_up = layer.table.forward
    monkeypatch.setattr(layer.table, "forward", lambda ids: counted.append(ids.numel()) or look_up(ids))
    found = layer(replace(batch, sequences=tuple(views)))
    shared, counted[:] = sum(counted), []
    torch.testing.assert_close(found, layer(replace(batch, sequences=tuple(own))))
    assert sum(counted) - shared == sum(batch.sequences[place].shape[1] for place in which)


def per_field_tables(weight: Tensor, spec: FeatureSpec, ids: Tensor) -> Tensor:
    columns = []
    for index, field in enumerate(spec.fields):
        table = nn.Embedding.from_pretrained(weight[field.offset : field.offset + field.size].clone(), padding_idx=0)
        columns.append(table(ids[:, index] - field.offset))
    return torch.stack(columns, dim=1)


def test_fused_table_equals_one_table_per_field() -> None:
    spec = FeatureSpec.from_sizes(a=7, b=3, c=11)
    layer = FieldEmbedding(spec, 5, init_std=1.0)
    generator = torch.Generator().manual_seed(0)
    ids = torch.stack([torch.randint(f.offset, f.offset + f.size, (64,), generator=generator) for f in spec.fields], 1)
    torch.testing.assert_close(
        layer(RankBatch(ids=ids)), per_field_tables(layer.table.weight.detach(), spec, ids), rtol=0, atol=0
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_pad_rows_stay_zero_under_training(sparse: bool) -> None:
    spec = FeatureSpec.from_sizes(a=4, b=5)
    layer = FieldEmbedding(spec, 3)
    layer.table.sparse = sparse
    optimizer: torch.optim.Optimizer
    optimizer = (torch.optim.SparseAdam if sparse else torch.optim.Adam)(layer.table.parameters(), lr=0.1)
    ids = torch.tensor([[0, 4], [1, 4], [0, 6], [3, 8]])
    before = layer.table.weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        (layer(RankBatch(ids=ids)) - 1.0).square().sum().backward()
        optimizer.step()
    weight = layer.table.weight.detach()
    assert torch.equal(weight[[0, 4]], torch.zeros(2, 3))
    assert (weight[[1, 3, 6, 8]] != before[[1, 3, 6, 8]]).all()
    assert torch.equal(weight[[2, 5, 7]], before[[2, 5, 7]])


def test_initial_table_has_the_stated_spread() -> None:
    layer = FieldEmbedding(FeatureSpec.from_sizes(a=5000), 8)
    weight = layer.table.weight.detach()
    assert torch.equal(weight[0], torch.zeros(8))
    assert weight[1:].std().item() == pytest.approx(1e-4, rel=0.05)


def test_linear_term_by_hand() -> None:
    term = LinearTerm(MIXED, vectors={"cover": COVERS})
    with torch.no_grad():
        term.weights.table.weight.copy_(torch.arange(float(MIXED.num_ids)).unsqueeze(1))
        term.weights.table.weight[[0, 4, 9]] = 0
        assert term.weights.numeric_weight is not None
        term.weights.numeric_weight.fill_(0.5)
        projection = term.weights.projections[0]
        assert isinstance(projection, nn.Linear)
        projection.weight.copy_(torch.tensor([[1.0, 1.0]]))
        term.bias.fill_(100.0)
    # bias + .5*2 + user 1 + history 5+6 + item 5 + tag 10 + cover 1+2;  bias - .5 + tags 11+11
    torch.testing.assert_close(term(mixed_batch()), torch.tensor([131.0, 121.5]))


def test_forgotten_vectors_are_nan_not_zero_and_load_with_the_weights() -> None:
    trained = FieldEmbedding(MIXED, 4, vectors={"cover": COVERS})
    fresh = FieldEmbedding(MIXED, 4)
    assert fresh(mixed_batch())[0].isnan().any()
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(fresh(mixed_batch()), trained(mixed_batch()), rtol=0, atol=0)


def test_only_numeric_fields() -> None:
    spec = FeatureSpec(fields=(FieldSpec(name="x", kind="numeric"), FieldSpec(name="y", kind="numeric")))
    layer = FieldEmbedding(spec, 3)
    assert layer(RankBatch(ids=torch.empty(2, 0, dtype=torch.int64), numeric=torch.ones(2, 2))).shape == (2, 2, 3)


def test_bad_input_is_named() -> None:
    spec = FeatureSpec.from_sizes(a=4, b=5)
    with pytest.raises(DataError, match='3 columns in "ids"; the model was built for 2'):
        FieldEmbedding(spec, 3)(RankBatch(ids=torch.zeros(2, 3, dtype=torch.int64)))
    with pytest.raises(ConfigError, match="embedding_size is 0"):
        FieldEmbedding(spec, 0)
    with pytest.raises(ConfigError, match='"a" is not a vector field'):
        FieldEmbedding(spec, 3, vectors={"a": torch.zeros(4, 2)})
    with pytest.raises(ConfigError, match=r"shape \[3, 5\]; \[rows, 2\] is expected"):
        FieldEmbedding(MIXED, 3, vectors={"cover": torch.zeros(3, 5)})
