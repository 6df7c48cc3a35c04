from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from palate.rank import trunk as trunk_module
from palate.rank.dropout import Dropout, random_bits
from palate.rank.qnn import QNNConfig, QuadraticLayer
from palate.rank.qnn_alpha import QNNAlphaConfig, alpha_trunk
from palate.rank.trunk import Trunk, counting_twice


class TwoMasks(Dropout):
    """Dropout with one known mask per pass, whether the passes come one by one or as one batch of 2 B."""

    def __init__(self, p: float, rows: int) -> None:
        super().__init__(p)
        self.rows, self.calls = rows, 0
        self.known: Tensor | None = None

    def draw(self, x: Tensor) -> Tensor:
        if self.known is None:
            self.known = random_bits(2 * self.rows, x.shape[1], x.device)
        if len(x) == 2 * self.rows:
            return self.known
        self.calls += 1
        return self.known.chunk(2)[(self.calls - 1) % 2]


def with_two_masks(trunk: Trunk, rows: int) -> Trunk:
    for layer in trunk.layers:
        for name, part in list(layer.named_children()):
            if isinstance(part, Dropout):
                setattr(layer, name, TwoMasks(part.p, rows))
    return trunk


def build(kind: str, batch_norm: bool, num_layers: int) -> Trunk:
    torch.manual_seed(0)
    if kind == "alpha":
        return alpha_trunk(
            3,
            QNNAlphaConfig(
                embedding_size=4, num_layers=num_layers, num_rows=2, num_heads=2, dropout=0.3, batch_norm=batch_norm
            ),
        )
    config = QNNConfig(neuron="T19", dropout=0.3, batch_norm="inside" if batch_norm else "none")
    return Trunk(QuadraticLayer(12, config) for _ in range(num_layers))


@pytest.mark.parametrize("kind", ["alpha", "quadratic"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("joined", [0, 1 << 20])
def test_twice_equals_two_passes_with_the_same_masks(
    kind: str, batch_norm: bool, num_layers: int, joined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_module, "_JOINED", joined)
    rows = 7
    fast = with_two_masks(build(kind, batch_norm, num_layers).double(), rows)
    naive = with_two_masks(build(kind, batch_norm, num_layers).double(), rows)
    x_fast = torch.randn(rows, 12, dtype=torch.float64).requires_grad_()
    x_naive = x_fast.detach().clone().requires_grad_()

    torch.manual_seed(9)
    out_fast = torch.cat(fast.twice(x_fast))
    for one, other in zip(fast.layers, naive.layers, strict=True):
        for a, b in zip(one.modules(), other.modules(), strict=True):
            if isinstance(a, TwoMasks) and isinstance(b, TwoMasks):
                b.known = a.known
    out_naive = torch.cat([naive(x_naive), naive(x_naive)])

    torch.testing.assert_close(out_fast, out_naive)
    assert not torch.allclose(out_fast[:rows], out_fast[rows:]), "the two passes have masks of their own"
    out_fast.square().sum().backward()
    out_naive.square().sum().backward()
    torch.testing.assert_close(x_fast.grad, x_naive.grad)
    for a, b in zip(fast.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert fast.state_dict().keys() == naive.state_dict().keys()
    for name, value in fast.state_dict().items():
        torch.testing.assert_close(value, naive.state_dict()[name], msg=f"{name} after the step")


@pytest.mark.parametrize(("batch_norm", "expected"), [(True, [0, 1, 1]), (False, [0, 1])])
def test_one_look_at_the_first_layer(batch_norm: bool, expected: list[int]) -> None:
    trunk = build("alpha", batch_norm, 2)
    calls: list[int] = []
    for place, layer in enumerate(trunk.layers):
        linear = layer.linear
        assert isinstance(linear, nn.Linear)
        linear.register_forward_hook(lambda *_, place=place: calls.append(place))
    trunk.twice(torch.randn(5, 12))
    assert calls == expected


def test_counting_twice_is_two_updates() -> None:
    once, twice = nn.BatchNorm1d(3).double(), nn.BatchNorm1d(3).double()
    x = torch.randn(10, 3, dtype=torch.float64)
    with counting_twice(nn.Sequential(once)):
        once(x)
    twice(x)
    twice(x)
    for name, value in once.state_dict().items():
        torch.testing.assert_close(value, twice.state_dict()[name])
    assert once.momentum == 0.1


def test_counting_twice_leaves_evaluation_alone() -> None:
    norm = nn.BatchNorm1d(3).eval()
    with counting_twice(norm):
        norm(torch.randn(4, 3))
    assert int(norm.num_batches_tracked or 0) == 0
    assert torch.equal(norm.running_mean, torch.zeros(3)) if norm.running_mean is not None else False
