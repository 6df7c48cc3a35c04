"""AFN+: learned orders by logarithms, their equation and their edges."""

import math

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.afn_plus import AFNPlus, AFNPlusConfig, LogarithmicLayer
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def normalise(w, prefix, x):
    """Batch normalisation in evaluation, over axis 1."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, variance = w[f"{prefix}.running_mean"].reshape(shape), w[f"{prefix}.running_var"].reshape(shape)
    weight, bias = w[f"{prefix}.weight"].reshape(shape), w[f"{prefix}.bias"].reshape(shape)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def test_logits_by_hand():
    config = AFNPlusConfig(
        embedding_size=2,
        num_neurons=3,
        hidden=(3,),
        dropout=0,
        deep_hidden=(2,),
        deep_dropout=0,
        batch_norm=False,
    )
    model = AFNPlus(FeatureSpec.from_sizes(a=3, b=4, c=3), config).eval()
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
        model.products.log_norm.running_mean.copy_(torch.tensor([-0.5, 0.1, 0.3]))
        model.products.log_norm.running_var.copy_(torch.tensor([0.5, 2.0, 1.0]))
        model.products.exp_norm.running_mean.copy_(torch.tensor([1.0, 2.0, 0.0]))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    e = w["embedding.table.weight"][IDS.numpy()]
    logs = normalise(w, "products.log_norm", np.log(np.maximum(np.abs(e), 1e-5)))
    products = normalise(w, "products.exp_norm", np.exp(np.einsum("nf,bfd->bnd", w["products.orders.weight"], logs)))
    hidden = np.maximum(products.reshape(2, 6) @ w["tower.0.layers.0.weight"].T + w["tower.0.layers.0.bias"], 0)
    first = hidden @ w["tower.1.weight"].T + w["tower.1.bias"]
    x = w["deep_embedding.table.weight"][IDS.numpy()].reshape(2, 6)
    hidden = np.maximum(x @ w["deep_tower.0.layers.0.weight"].T + w["deep_tower.0.layers.0.bias"], 0)
    second = hidden @ w["deep_tower.1.weight"].T + w["deep_tower.1.bias"]
    expected = np.concatenate([first, second], axis=1) @ w["head.weight"][0] + w["head.bias"]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=1e-5)


def plain(num_fields, orders):
    """A logarithmic layer whose normalisations do nothing."""
    layer = LogarithmicLayer(num_fields, len(orders)).eval()
    layer.log_norm.running_mean.zero_()
    layer.log_norm.running_var.fill_(1 - 1e-5)
    layer.exp_norm.running_var.fill_(1 - 1e-5)
    with torch.no_grad():
        layer.orders.weight.copy_(torch.tensor(orders))
    return layer


def test_a_neuron_is_the_product_of_its_orders():
    fields = torch.tensor([[[2.0], [-3.0], [0.5]]])
    out = plain(3, [[1.0, 1.0, 0.0], [2.0, 0.0, -1.0], [0.0, 0.5, 0.0]])(fields)
    assert out[0].tolist() == pytest.approx([6.0, 8.0, math.sqrt(3)], rel=1e-5)


def test_zeros_fall_on_the_floor_and_stop_the_gradient_there_alone():
    fields = torch.tensor([[[0.0, 1e-7, 2.0], [1.0, 1.0, 1.0]]], requires_grad=True)
    out = plain(2, [[1.0, 1.0]])(fields)
    assert out[0].tolist() == pytest.approx([1e-5, 1e-5, 2.0], rel=1e-4)
    out.sum().backward()
    assert torch.isfinite(fields.grad).all()
    assert fields.grad[0, 0].tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-4)


def test_enormous_and_tiny_embeddings_stay_finite_in_training():
    layer = LogarithmicLayer(3, 5)
    fields = torch.tensor([1e-30, 1e-4, 1.0, 1e30]).repeat(6).view(4, 3, 2).requires_grad_()
    out = layer(fields)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(fields.grad).all()


def test_autocast_does_not_reach_the_logarithms():
    torch.manual_seed(0)
    layer = LogarithmicLayer(3, 5).eval()
    fields = torch.randn(4, 3, 2) * 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(fields)
    torch.testing.assert_close(inside, layer(fields))


def test_untrained_products_are_of_order_one():
    """The running statistics start at those of fresh embeddings."""
    torch.manual_seed(0)
    layer = LogarithmicLayer(30, 200).eval()
    fresh = torch.randn(500, 30, 8) * 1e-4
    logs = layer.log_norm(fresh.abs().clamp_min(layer.floor).log())
    assert abs(logs.mean().item()) < 0.02
    assert abs(logs.std().item() - 1) < 0.02


def test_parameters_on_criteo_are_those_of_the_public_benchmark():
    # The benchmark's version kept no padding row, 39 ids less than today's 910,747.
    criteo = FeatureSpec.from_sizes(rest=910_708 - 76, **{f"f{i}": 2 for i in range(38)})
    with torch.device("meta"):
        model = AFNPlus(criteo, AFNPlusConfig.sized("base"))
    assert sum(p.numel() for p in model.parameters()) == 56_044_939  # BARS, AFN+ on Criteo_x4


def test_no_neurons_are_refused():
    with pytest.raises(ConfigError, match="num_neurons"):
        AFNPlusConfig(num_neurons=0)


@pytest.mark.parametrize("settings", [{"deep": False}, {"batch_norm": False}])
def test_variants_keep_the_laws(settings):
    check_ranker("afn-plus", **settings)
