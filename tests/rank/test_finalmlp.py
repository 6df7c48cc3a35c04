"""FinalMLP: gates with and without context, and the bilinear fusion."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, FieldSpec, RankBatch
from palate.errors import ConfigError, UnknownNameError
from palate.rank.finalmlp import BilinearFusion, FeatureGate, FinalMLP, FinalMLPConfig
from palate.testing.rankers import check_ranker, small_spec, small_table

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def wave(model):
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def layer(w, prefix, x):
    return x @ w[f"{prefix}.weight"].T + w[f"{prefix}.bias"]


def gate_by_hand(w, prefix, context):
    hidden = np.maximum(layer(w, f"{prefix}.mlp.layers.0", context), 0)
    return 2 / (1 + np.exp(-layer(w, f"{prefix}.mlp.layers.2", hidden)))


def test_logits_by_hand():
    config = FinalMLPConfig(
        embedding_size=2,
        hidden=(4,),
        dropout=0,
        second_hidden=(6,),
        second_dropout=0,
        num_heads=2,
        gate_hidden=(3,),
        context=("c", "a"),
    )
    model = FinalMLP(SPEC, config)
    w = wave(model)
    x_0 = w["embedding.table.weight"][IDS.numpy()].reshape(2, 6)
    # The context has a table of its own: first the 3 ids of c, then the 3 ids of a.
    own = w["gate.context.embedding.table.weight"]
    context = np.concatenate([own[IDS.numpy()[:, 2] - 7], own[IDS.numpy()[:, 0] + 3]], axis=1)
    assert own.shape == (6, 2)
    first = np.maximum(layer(w, "tower.layers.0", x_0 * gate_by_hand(w, "gate", context)), 0)
    constant = gate_by_hand(w, "second_gate", w["second_gate.constant"])
    second = np.maximum(layer(w, "second_tower.layers.0", x_0 * constant), 0)
    bilinear = sum(
        np.einsum("bi,ij,bj->b", first[:, 2 * h : 2 * h + 2], w["fusion.bilinear"][h], second[:, 3 * h : 3 * h + 3])
        for h in range(2)
    )
    linear = layer(w, "fusion.first", first)[:, 0] + layer(w, "fusion.second", second)[:, 0]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), linear + bilinear, rtol=1e-5)


def test_one_head_is_the_full_bilinear_form():
    torch.manual_seed(0)
    fusion = BilinearFusion(3, 5, num_heads=1)
    h_1, h_2 = torch.randn(4, 3), torch.randn(4, 5)
    linear = fusion.first(h_1) + fusion.second(h_2)
    full = torch.stack([a @ fusion.bilinear[0] @ b for a, b in zip(h_1, h_2, strict=True)])
    torch.testing.assert_close(fusion(h_1, h_2), linear + full)


def test_gates_start_open():
    torch.manual_seed(0)
    gate = FeatureGate(SPEC, (), 4, (16,), 6)
    weights = gate(RankBatch(ids=IDS))
    torch.testing.assert_close(weights, torch.ones(1, 6), rtol=1e-3, atol=1e-3)
    weights.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in gate.parameters()), "and can be closed"


def test_only_the_context_moves_a_gate():
    torch.manual_seed(0)
    gate = FeatureGate(SPEC, ("b",), 4, (16,), 6)
    torch.nn.init.normal_(gate.context.embedding.table.weight)
    same_b = gate(RankBatch(ids=torch.tensor([[1, 4, 8], [2, 4, 9]])))
    other_b = gate(RankBatch(ids=torch.tensor([[1, 5, 8]])))
    assert torch.equal(same_b[0], same_b[1])
    assert not torch.allclose(same_b[0], other_b[0])


def test_every_kind_of_field_can_be_context():
    spec = small_spec(every_kind=True)
    names = tuple(field.name for field in reversed(spec.fields))
    vectors = {"picture": torch.randn(8, 5, generator=torch.Generator().manual_seed(0))}
    torch.manual_seed(0)
    model = FinalMLP(spec, FinalMLPConfig.sized("tiny", context=names, second_context=names[:2]), vectors=vectors)
    batch = small_table(spec)
    model.loss(batch).backward()
    assert torch.isfinite(model(batch)).all()
    # The context table holds the ids of the fields and nothing else; the history has its own copy of the items.
    assert model.gate.context.embedding.table.num_embeddings == 70 + 14 + 6 + 9 + 14
    assert model.gate.context.embedding.table.weight.grad.abs().sum() > 0


def test_context_reads_the_same_rows_as_a_spec_of_those_fields():
    """A gate over the fields c and a equals one built for a batch that has only c and a."""
    torch.manual_seed(0)
    gate = FeatureGate(SPEC, ("c", "a"), 4, (8,), 6)
    torch.nn.init.normal_(gate.context.embedding.table.weight)
    alone = FeatureSpec(
        fields=(
            FieldSpec(name="c", kind="categorical", size=3, offset=0),
            FieldSpec(name="a", kind="categorical", size=3, offset=3),
        )
    )
    other = FeatureGate(alone, ("c", "a"), 4, (8,), 6)
    other.load_state_dict(gate.state_dict())
    moved = RankBatch(ids=torch.stack([IDS[:, 2] - 7, IDS[:, 0] + 3], dim=1))
    assert torch.equal(gate(RankBatch(ids=IDS)), other(moved))


def test_parameters_on_criteo_are_those_of_the_public_benchmark():
    criteo = FeatureSpec.from_sizes(rest=910_747 - 76, **{f"f{i}": 2 for i in range(38)})
    with torch.device("meta"):
        model = FinalMLP(criteo, FinalMLPConfig.sized("base"))
    assert sum(p.numel() for p in model.parameters()) == 19_524_954  # BARS, FinalMLP on Criteo_x4


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="num_heads is 3 and a tower ends with 32"):
        FinalMLPConfig(hidden=(64, 30), second_hidden=(32,), num_heads=3)


def test_an_unknown_context_field_is_refused():
    with pytest.raises(UnknownNameError, match="no field called"):
        FinalMLP(SPEC, FinalMLPConfig.sized("tiny", context=("user",)))


@pytest.mark.parametrize(
    "settings", [{"gate": False}, {"context": ("user",), "second_context": ("item", "hour")}, {"gate_hidden": ()}]
)
def test_variants_keep_the_laws(settings):
    check_ranker("finalmlp", **settings)
