"""DeepFM: factorisation machine plus tower over one table."""

import numpy as np
import pytest
import torch

from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.deepfm import DeepFM, DeepFMConfig

IDS = torch.tensor([[1, 4, 8], [2, 5, 9]])


def test_logits_by_hand():
    model = DeepFM(FeatureSpec.from_sizes(a=3, b=4, c=3), DeepFMConfig(embedding_size=2, hidden=(3,), dropout=0))
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.sin(1 + place + 0.7 * torch.arange(parameter.numel())).view(parameter.shape))
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    e = w["embedding.table.weight"][IDS.numpy()]
    linear = w["linear.weights.table.weight"][IDS.numpy()].sum((1, 2)) + w["linear.bias"]
    pairs = sum((e[:, f] * e[:, g]).sum(1) for f, g in [(0, 1), (0, 2), (1, 2)])
    hidden = np.maximum(e.reshape(2, 6) @ w["tower.layers.0.weight"].T + w["tower.layers.0.bias"], 0)
    deep = (hidden @ w["head.weight"].T + w["head.bias"])[:, 0]
    np.testing.assert_allclose(model(RankBatch(ids=IDS)).detach(), linear + pairs + deep, rtol=1e-5)


def test_parameters_on_frappe_are_those_of_the_public_benchmark():
    frappe = FeatureSpec.from_sizes(rest=5389 - 18, **{f"f{i}": 2 for i in range(9)})
    with torch.device("meta"):
        model = DeepFM(frappe, DeepFMConfig(embedding_size=10, hidden=(400, 400, 400), batch_norm=True))
    # BARS, DeepFM on Frappe_x1: 423,280, where the linear term has no bias of its own.
    assert sum(p.numel() for p in model.parameters()) == 423_280 + 1


def test_a_misspelt_setting_is_refused():
    with pytest.raises(ConfigError, match='Did you mean "embedding_size"'):
        DeepFMConfig(embeding_size=8)
