"""AutoInt+ against attention written out head by head."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.autoint_plus import AutoIntPlus, AutoIntPlusConfig, InteractingLayer
from palate.testing.rankers import check_ranker

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def attention_by_hand(w, prefix, e, *, heads, scale):
    rows = []
    for row in e:
        query, key, value = (row @ w[f"{prefix}.{part}.weight"].T for part in ("query", "key", "value"))
        width = query.shape[1] // heads
        parts = []
        for head in range(heads):
            cut = slice(head * width, (head + 1) * width)
            scores = query[:, cut] @ key[:, cut].T / (np.sqrt(width) if scale else 1)
            weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            parts.append(weights @ value[:, cut])
        residual = f"{prefix}.residual.weight"
        rows.append(np.concatenate(parts, axis=1) + (row @ w[residual].T if residual in w else row))
    return np.maximum(np.stack(rows), 0)


@pytest.mark.parametrize("scale", [False, True])
def test_logits_by_hand(scale):
    config = AutoIntPlusConfig(
        embedding_size=2,
        num_layers=2,
        attention_size=4,
        num_heads=2,
        scale=scale,
        wide=True,
        hidden=(3,),
        dropout=0,
    )
    model = AutoIntPlus(FeatureSpec.from_sizes(a=3, b=4, c=3), config)
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    e = w["embedding.table.weight"][IDS.numpy()]
    out = attention_by_hand(w, "attention.0", e, heads=2, scale=scale)
    out = attention_by_hand(w, "attention.1", out, heads=2, scale=scale)
    attended = out.reshape(2, 12) @ w["head.weight"][0] + w["head.bias"]
    hidden = np.maximum(e.reshape(2, 6) @ w["tower.0.layers.0.weight"].T + w["tower.0.layers.0.bias"], 0)
    deep = (hidden @ w["tower.1.weight"].T + w["tower.1.bias"])[:, 0]
    wide = w["linear.weights.table.weight"][IDS.numpy()].sum((1, 2)) + w["linear.bias"]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), attended + deep + wide, rtol=1e-5)


def test_permuting_the_fields_permutes_the_output():
    torch.manual_seed(0)
    layer = InteractingLayer(4, 6, num_heads=3, layer_norm=True)
    fields, order = torch.randn(2, 5, 4), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(fields[:, order]), layer(fields)[:, order])


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    config = AutoIntPlusConfig(
        embedding_size=10,
        num_layers=5,
        attention_size=128,
        num_heads=4,
        layer_norm=True,
        hidden=(400, 400, 400),
        batch_norm=True,
    )
    with torch.device("meta"):
        model = AutoIntPlus(frappe, config)
    assert sum(p.numel() for p in model.parameters()) == 622_180  # BARS, AutoInt+ on Frappe_x1


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="num_heads must divide"):
        AutoIntPlusConfig(attention_size=10, num_heads=4)


@pytest.mark.parametrize(
    "settings", [{"hidden": ()}, {"wide": True, "scale": True, "layer_norm": True}, {"residual": False}]
)
def test_variants_keep_the_laws(settings):
    check_ranker("autoint-plus", **settings)
