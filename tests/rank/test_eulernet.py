"""EulerNet against complex arithmetic, and at the points where angles are not defined."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.eulernet import EulerInteraction, EulerNet, EulerNetConfig
from palate.testing.rankers import check_ranker

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def layer_norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def layer_by_hand(w, prefix, c):
    """Products as powers of complex numbers, not as sums of logarithms."""
    orders, rows = w[f"{prefix}.orders"], len(c)
    bias = np.exp(w[f"{prefix}.log_modulus_bias"] + 1j * w[f"{prefix}.phase_bias"])
    explicit = np.stack([bias[n] * np.prod(c ** orders[None, :, n, None], axis=1) for n in range(orders.shape[1])], 1)

    def implicit(part):
        mapped = part.reshape(rows, -1) @ w[f"{prefix}.implicit.weight"].T + w[f"{prefix}.implicit.bias"]
        return np.maximum(mapped, 0).reshape(rows, orders.shape[1], -1)

    return explicit + implicit(c.real) + 1j * implicit(c.imag)


@pytest.mark.parametrize("norm", [False, True])
def test_logits_by_hand(norm):
    config = EulerNetConfig(embedding_size=4, neurons=(4, 3), explicit_dropout=0, implicit_dropout=0, layer_norm=norm)
    model = EulerNet(SPEC, config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            wave = torch.sin(1 + place + 0.7 * torch.arange(parameter.numel()))
            parameter.copy_(0.5 * wave.view(parameter.shape))
        model.moduli.copy_(torch.tensor([[0.5], [1.5], [1.0]]))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    c = w["moduli"] * np.exp(1j * w["embedding.table.weight"][IDS.numpy()])
    for layer in range(2):
        c = layer_by_hand(w, f"layers.{layer}", c)
        if norm:
            parts = [
                layer_norm(part, w[f"layers.{layer}.{name}.weight"], w[f"layers.{layer}.{name}.bias"])
                for part, name in ((c.real, "real_norm"), (c.imag, "imaginary_norm"))
            ]
            c = parts[0] + 1j * parts[1]
    expected = (c.real + c.imag).reshape(2, -1) @ w["head.weight"][0] + 2 * w["head.bias"]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), expected, rtol=1e-4, atol=1e-5)


def explicit_alone(orders):
    """A layer whose implicit part and biases are zero."""
    orders = torch.tensor(orders)
    layer = EulerInteraction(len(orders), orders.shape[1], 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.orders.copy_(orders)
    return layer


def test_order_one_of_two_features_is_their_complex_product():
    layer = explicit_alone([[1.0], [1.0]])
    # (1 + 2i) (3 - 1i) = 5 + 5i
    real, imaginary = layer(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0], [-1.0]]]))
    assert (real.item(), imaginary.item()) == pytest.approx((5.0, 5.0), rel=1e-5)


def test_zero_has_a_phase_and_finite_gradients():
    layer = explicit_alone([[1.0, 0.5], [1.0, -0.5]])
    real = torch.tensor([[[0.0], [1e-20]], [[1e-6], [2.0]]], requires_grad=True)
    imaginary = torch.tensor([[[0.0], [-1e-20]], [[-1e-6], [0.0]]], requires_grad=True)
    out = layer(real, imaginary)
    (out[0].sum() + out[1].sum()).backward()
    for tensor in (*out, real.grad, imaginary.grad):
        assert torch.isfinite(tensor).all()
        assert tensor.abs().max() < 1e9


def test_negative_reals_turn_by_pi():
    real, imaginary = explicit_alone([[2.0]])(torch.tensor([[[-3.0]]]), torch.tensor([[[0.0]]]))
    assert (real.item(), imaginary.item()) == pytest.approx((9.0, 0.0), rel=1e-4, abs=1e-4)


def test_orders_start_as_identity_or_as_copies():
    assert torch.equal(EulerInteraction(4, 4, 2).orders, torch.eye(4))
    torch.manual_seed(0)
    orders = EulerInteraction(5, 7, 2).orders
    torch.testing.assert_close(orders.sum(dim=0), torch.ones(7))
    assert (orders.max(dim=0).values > 0.9).float().mean() > 0.8


def test_autocast_does_not_reach_the_angles():
    layer = explicit_alone([[1.3], [-0.7]])
    real, imaginary = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0], [-1.0]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(real, imaginary)
    torch.testing.assert_close(inside, layer(real, imaginary))


@pytest.mark.parametrize("norm", [False, True])
def test_parameter_formula(norm):
    spec = FeatureSpec.from_sizes(a=11, b=13, c=6)
    model = EulerNet(spec, EulerNetConfig(embedding_size=5, neurons=(4,), layer_norm=norm))
    layer = 3 * 4 + 2 * 4 * 5 + (15 * 20 + 20) + (4 * 5 if norm else 0)
    assert sum(p.numel() for p in model.parameters()) == 30 * 5 + 3 + layer + (20 + 1)


def test_no_neurons_are_refused():
    with pytest.raises(ConfigError, match="neurons"):
        EulerNetConfig(neurons=())


@pytest.mark.parametrize("settings", [{"neurons": (7, 7)}, {"layer_norm": False}])
def test_variants_keep_the_laws(settings):
    check_ranker("eulernet", **settings)
