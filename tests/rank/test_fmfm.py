"""Field-matrixed factorisation machines against the sum over pairs."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.fm import FM, FMConfig
from palate.rank.fmfm import FieldPairs, FmFM, FmFMConfig
from palate.testing.rankers import check_ranker

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def wave(model):
    """Give every parameter fixed numbers of its own and return them."""
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def pairs_by_hand(e, weight):
    total = np.zeros(len(e))
    for place, (f, g) in enumerate([(0, 1), (0, 2), (1, 2)]):
        matrix = weight[place] * np.eye(2) if weight[place].ndim == 0 else weight[place]
        matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
        total += np.einsum("bd,de,be->b", e[:, f], matrix, e[:, g])
    return total


@pytest.mark.parametrize("interaction", ["matrix", "vector", "scalar"])
@pytest.mark.parametrize("linear", ["id", "field", "feature"])
def test_logits_by_hand(interaction, linear):
    model = FmFM(SPEC, FmFMConfig(embedding_size=2, interaction=interaction, linear=linear))
    w = wave(model)
    e = w["embedding.table.weight"][IDS.numpy()]
    if linear == "id":
        first = w["linear.weights.table.weight"][IDS.numpy()].sum((1, 2)) + w["linear.bias"]
    elif linear == "field":
        first = e.reshape(2, -1) @ w["linear.weight"][0] + w["linear.bias"]
    else:
        first = (e * w["linear.table.weight"][IDS.numpy()]).sum((1, 2)) + w["bias"]
    expected = first + pairs_by_hand(e, w["pairs.weight"])
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=1e-5)


def test_identity_matrices_make_it_a_factorisation_machine():
    plain = FM(SPEC, FMConfig(embedding_size=4))
    model = FmFM(SPEC, FmFMConfig(embedding_size=4))
    wave(plain)
    with torch.no_grad():
        model.pairs.weight.copy_(torch.eye(4).expand(3, 4, 4))
    model.embedding.load_state_dict(plain.embedding.state_dict())
    model.linear.load_state_dict(plain.linear.state_dict())
    torch.testing.assert_close(model(RankBatch(ids=IDS)), plain(RankBatch(ids=IDS)))


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    with torch.device("meta"):
        model = FmFM(frappe, FmFMConfig(embedding_size=10, interaction="vector"))
    assert sum(p.numel() for p in model.parameters()) == 59_730  # BARS, FmFM on Frappe_x1


def test_a_matrix_per_pair():
    assert FieldPairs(5, 3, "matrix").weight.shape == (10, 3, 3)


def test_one_field_is_refused():
    with pytest.raises(ConfigError, match="at least two fields"):
        FmFM(FeatureSpec.from_sizes(only=5), FmFMConfig())


def test_an_unknown_interaction_is_refused():
    with pytest.raises(ConfigError, match="interaction"):
        FmFMConfig(interaction="tensor")


@pytest.mark.parametrize("settings", [{"interaction": "vector"}, {"linear": "feature"}, {"linear": "field"}])
def test_variants_keep_the_laws(settings):
    check_ranker("fmfm", **settings)
