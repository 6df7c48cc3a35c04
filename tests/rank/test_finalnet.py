"""FinalNet: quadratic layers, the field gate and the distillation between two blocks."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.finalnet import FactorizedInteraction, FieldGate, FinalNet, FinalNetConfig
from palate.testing.rankers import check_ranker

SPEC = FeatureSpec.from_sizes(a=3, b=4, c=3)
IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def wave(model):
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def block_by_hand(w, prefix, x, residual, layers):
    for layer in layers:
        h = x @ w[f"{prefix}.layers.{layer}.linear.weight"].T + w[f"{prefix}.layers.{layer}.linear.bias"]
        h_2, h_1 = np.split(h, 2, axis=1)
        x = np.concatenate([h_2, h_1 * h_2], axis=1) if residual == "concat" else h_2 + h_1 * h_2
    return (x @ w[f"{prefix}.head.weight"].T + w[f"{prefix}.head.bias"])[:, 0]


@pytest.mark.parametrize("residual", ["concat", "sum"])
@pytest.mark.parametrize("gate", [True, False])
def test_logits_by_hand(residual, gate):
    config = FinalNetConfig(
        embedding_size=2,
        hidden=(4, 2),
        second_hidden=(2,),
        residual=residual,
        field_gate=gate,
        batch_norm=False,
    )
    model = FinalNet(SPEC, config).eval()
    w = wave(model)
    e = w["embedding.table.weight"][IDS.numpy()]
    gated = e
    if gate:
        gates = np.einsum("gf,bfd->bgd", w["gate.linear.weight"], e) + w["gate.linear.bias"][None, :, None]
        gated = np.concatenate([e, e * gates], axis=1)
    first = block_by_hand(w, "first", gated.reshape(2, -1), residual, layers=(0, 3))
    second = block_by_hand(w, "second", e.reshape(2, -1), residual, layers=(0,))
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), (first + second) / 2, rtol=1e-5)


def entropy(p, y):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def quiet():
    """A model with logits of order one, and a batch."""
    model = FinalNet(SPEC, FinalNetConfig.sized("tiny", dropout=0, second_dropout=0, batch_norm=False))
    wave(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.2)
    return model, RankBatch(ids=IDS, labels=torch.tensor([1.0, 0.0]))


def test_loss_by_hand():
    model, batch = quiet()
    z_1, z_2 = (z.detach().double().numpy() for z in model.block_logits(batch))
    p, p_1, p_2 = (1 / (1 + np.exp(-z)) for z in ((z_1 + z_2) / 2, z_1, z_2))
    expected = entropy(p, np.array([1.0, 0.0])) + entropy(p_1, p) + entropy(p_2, p)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_is_a_target_without_gradient():
    """The gradient of a head's bias: half of the label's pull, plus its own distance to the mean."""
    model, batch = quiet()
    model.loss(batch).backward()
    z_1, z_2 = (z.detach() for z in model.block_logits(batch))
    p = (0.5 * (z_1 + z_2)).sigmoid()
    expected = (0.5 * (p - batch.labels) + (z_1.sigmoid() - p)).mean()
    torch.testing.assert_close(model.first.head.bias.grad[0], expected)


def test_one_block_has_the_plain_loss():
    model = FinalNet(SPEC, FinalNetConfig.sized("tiny", num_blocks=1)).eval()
    batch = RankBatch(ids=IDS, labels=torch.tensor([1.0, 0.0]))
    plain = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.labels)
    torch.testing.assert_close(model.loss(batch), plain)


def test_weights_count_rows():
    model = FinalNet(SPEC, FinalNetConfig.sized("tiny")).eval()
    rows = [RankBatch(ids=IDS[i : i + 1], labels=torch.tensor([float(i)])) for i in range(2)]
    both = RankBatch(ids=IDS, labels=torch.tensor([0.0, 1.0]), weights=torch.tensor([3.0, 0.5]))
    torch.testing.assert_close(model.loss(both), (3 * model.loss(rows[0]) + 0.5 * model.loss(rows[1])) / 2)


def test_layers_double_the_degree():
    """Without norm and activation the third differences of one layer vanish along a ray, the fifth of two."""
    torch.manual_seed(0)
    x = torch.randn(1, 6, dtype=torch.float64)
    net = torch.nn.Sequential(FactorizedInteraction(6, 8), FactorizedInteraction(8, 2)).double()
    steps = torch.arange(7, dtype=torch.float64)[:, None] * x
    for depth, degree in ((1, 2), (2, 4)):
        values = net[:depth](steps).detach().numpy()
        np.testing.assert_allclose(np.diff(values, n=degree + 1, axis=0), 0, atol=1e-9)
        assert np.abs(np.diff(values, n=degree, axis=0)).max() > 1e-3


def test_the_gate_starts_as_a_copy():
    fields = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(FieldGate(3)(fields), torch.cat([fields, fields], dim=1))


def test_parameters_on_criteo_are_those_of_the_public_benchmark():
    criteo = FeatureSpec.from_sizes(rest=910_747 - 76, **{f"f{i}": 2 for i in range(38)})
    with torch.device("meta"):
        model = FinalNet(criteo, FinalNetConfig.sized("base"))
    assert sum(p.numel() for p in model.parameters()) == 18_153_050  # BARS, FinalNet on Criteo_x4


def test_odd_widths_cannot_be_halved():
    with pytest.raises(ConfigError, match="a width is 33"):
        FinalNetConfig(hidden=(33,))
    assert FinalNetConfig(hidden=(33,), residual="sum").hidden == (33,)


def test_three_blocks_are_refused():
    with pytest.raises(ConfigError, match="num_blocks"):
        FinalNetConfig(num_blocks=3)


@pytest.mark.parametrize(
    "settings",
    [{"num_blocks": 1}, {"residual": "sum", "field_gate": False}, {"activation": "relu", "batch_norm": False}],
)
def test_variants_keep_the_laws(settings):
    check_ranker("finalnet", **settings)
