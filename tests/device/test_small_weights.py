"""Fewer bytes for weights stay near the model; fewer bytes for the state cost more for less, so it keeps them all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from palate.device.small_weights import SmallLinear, SmallRows, with_small_weights
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.device_step import DeviceStep


def test_small_rows_and_matrices_by_hand() -> None:
    rows = SmallRows(torch.tensor([[0.0, 0.0], [2.0, -1.0]]), "int8")
    torch.testing.assert_close(rows(torch.tensor([1])), torch.tensor([[2.0, -64 * 2 / 127]]))
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.5]]))
    torch.testing.assert_close(SmallLinear(layer)(torch.tensor([[127.0, 127.0]])), torch.tensor([[127.0 + 64.0]]))


def test_the_model_is_left_alone(model: CoCorrRec) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = with_small_weights(model, "int8")
    assert model.item_embedding.weight.requires_grad
    assert not any(parameter.requires_grad for parameter in small.parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def angles(model: CoCorrRec, weights: str, *, byte_state: bool, make: Any) -> float:
    """Return how far users turn from those of the plain model over 60 clicks: 1 - cosine, on average."""
    plain, small = DeviceStep(model), DeviceStep(with_small_weights(model, weights))
    one, two, turned = model.initial_state(), model.initial_state(), []
    for item in np.random.default_rng(0).integers(1, make.items + 1, 60).tolist():
        user, *one = plain(torch.tensor([item]), *one)
        other, *two = small(torch.tensor([item]), *two)
        if byte_state:
            two = [_byte(part) if part.is_floating_point() else part for part in two]
        turned.append(1 - float(torch.cosine_similarity(user, other)))
    return float(np.mean(turned))


def _byte(part: torch.Tensor) -> torch.Tensor:
    scale = part.abs().max().clamp(min=1e-12) / 127
    return (part / scale).round() * scale


@torch.inference_mode()
def test_bytes_for_the_state_would_cost_more_than_bytes_for_the_weights(model: CoCorrRec, make: Any) -> None:
    """Here about twice as much. Both are small: the specification expects a harm that these sizes do not show."""
    weights = angles(model, "int8", byte_state=False, make=make)
    state = angles(model, "float32", byte_state=True, make=make)
    assert 0 < weights < 2e-3
    assert state > 1.2 * weights
