"""FCN: both cross networks against their equations, the layout of the halves, and the three-part loss."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.fcn import FCN, FCNConfig
from palate.testing.rankers import check_ranker

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def wave(model):
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def layer_norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def network_by_hand(w, prefix, x_0, *, layers, exponential):
    x = x_0
    for layer in range(layers):
        c = x @ w[f"{prefix}.crosses.{layer}.weight"].T
        norm = f"{prefix}.mask_norms.{layer}"
        mask = np.maximum(layer_norm(c, w[f"{norm}.weight"], w[f"{norm}.bias"]), 0)
        inner = np.concatenate([c, c * mask], axis=-1) + w[f"{prefix}.biases.{layer}"]
        x = (x if exponential else x_0) * inner + x
    return (x @ w[f"{prefix}.head.weight"][0] + w[f"{prefix}.head.bias"]).mean(1)


@pytest.mark.parametrize("heads", [1, 2])
def test_logits_by_hand(heads):
    config = FCNConfig(embedding_size=4, num_layers=2, linear_layers=3, num_heads=heads)
    model = FCN(SPEC, config).eval()
    w = wave(model)
    e = w["embedding.table.weight"][IDS.numpy()]  # [B, F, H * 4]
    x_0 = np.zeros((2, heads, 12))
    for head in range(heads):
        for field in range(3):
            vector = e[:, field, head * 4 : head * 4 + 4]
            x_0[:, head, field * 2 : field * 2 + 2] = vector[:, :2]  # first halves of all fields,
            x_0[:, head, 6 + field * 2 : 8 + field * 2] = vector[:, 2:]  # then second halves
    exponential = network_by_hand(w, "networks.0", x_0, layers=2, exponential=True)
    linear = network_by_hand(w, "networks.1", x_0, layers=3, exponential=False)
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), (exponential + linear) / 2, rtol=1e-4)


def losses(model, batch):
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    branches = model.branch_logits(batch)
    return bce(sum(branches) / 2, batch.labels), *(bce(z, batch.labels) for z in branches)


def scaled(**settings):
    """A model whose branches disagree, in evaluation so that dropout stays off."""
    model = FCN(SPEC, FCNConfig.sized("tiny", **settings)).eval()
    wave(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
        model.networks[0].head.bias.fill_(1.5)
        model.networks[1].head.bias.fill_(-1.0)
    return model, RankBatch(ids=IDS, labels=torch.tensor([1.0, 0.0]))


def test_loss_by_hand():
    model, batch = scaled()
    mean, first, second = (value.item() for value in losses(model, batch))
    assert first > mean or second > mean, "the case must have a branch that is behind"
    expected = mean + first * max(0, first - mean) + second * max(0, second - mean)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_weights_carry_gradient_unless_detached():
    """d/dz of L_k (L_k - L) has the factor 2 L_k - L where the weight has gradient, and L_k - L where not."""
    for detach in (False, True):
        model, batch = scaled(detach_weights=detach)
        model.loss(batch).backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        mean, *own = losses(model, batch)
        total = mean
        for value in own:
            weight = value - mean
            total = total + value * (weight.detach() if detach else weight) * (weight > 0)
        total.backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(found[name], p.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_weights_matter_to_the_gradient():
    kept, batch = scaled()
    detached, _ = scaled(detach_weights=True)
    kept.loss(batch).backward()
    detached.loss(batch).backward()
    assert kept.loss(batch).item() == pytest.approx(detached.loss(batch).item())
    assert not torch.allclose(kept.networks[0].head.weight.grad, detached.networks[0].head.weight.grad)


@pytest.mark.parametrize("network", ["exponential", "linear"])
def test_one_network_alone_has_the_plain_loss(network):
    model, batch = FCN(SPEC, FCNConfig.sized("tiny", networks=network)).eval(), scaled()[1]
    plain = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.labels)
    torch.testing.assert_close(model.loss(batch), plain)
    assert len(model.networks) == 1


def test_parameters_on_criteo_are_those_of_the_public_log():
    criteo = FeatureSpec.from_sizes(rest=910_747 - 76, **{f"f{i}": 2 for i in range(38)})
    with torch.device("meta"):
        model = FCN(criteo, FCNConfig.sized("base"))
    assert sum(p.numel() for p in model.parameters()) == 15_944_754  # the authors' log on Criteo_x4


def test_odd_embeddings_cannot_be_halved():
    with pytest.raises(ConfigError, match="embedding_size"):
        FCNConfig(embedding_size=5)


def test_detaching_without_branches_is_refused():
    with pytest.raises(ConfigError, match="branch losses"):
        FCNConfig(networks="linear", detach_weights=True)


@pytest.mark.parametrize(
    "settings",
    [{"num_heads": 2, "batch_norm": True}, {"networks": "exponential"}, {"networks": "linear", "layer_norm": False}],
)
def test_variants_keep_the_laws(settings):
    check_ranker("fcn", **settings)
