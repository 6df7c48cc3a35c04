"""The monotone function: it rises for any weights, has the right derivative, and chains its bins when asked."""

from __future__ import annotations

import pytest
import torch

from palate.calibrate.embedding import ContextEmbedding
from palate.calibrate.monotone import MonotoneBins

VALUES = 4


def random_map(seed, *, bins=1, axis="logit", spread=1.0, nodes=16, **settings):
    """A map whose every weight is drawn from N(0, spread), far from anything that was fitted."""
    generator = torch.Generator().manual_seed(seed)
    settings = {"hidden_size": 8, **settings}
    monotone = MonotoneBins(bins, ContextEmbedding([VALUES + 1], 3), nodes=nodes, **settings).double()
    with torch.no_grad():
        for parameter in monotone.parameters():
            parameter.normal_(0.0, spread, generator=generator)
        monotone.embedding.shares(0).fill_(1 / VALUES)
        lowest, highest, centre, scale = (-5.0, 2.0, -1.6, 1.1) if axis == "logit" else (0.01, 0.9, 0.2, 0.15)
        monotone.get_buffer("limits").copy_(torch.linspace(lowest, highest, bins + 1))
        monotone.slope.get_buffer("centre").fill_(centre)
        monotone.slope.get_buffer("scale").fill_(scale)
    return monotone


def thousand_positions(axis):
    scores = torch.linspace(1e-4, 1 - 1e-4, 1000, dtype=torch.float64)
    return torch.log(scores) - torch.log1p(-scores) if axis == "logit" else scores


@torch.no_grad()
def curves(monotone, axis):
    """The map on 1,000 scores in every context, ``[contexts, 1000]``."""
    position = thousand_positions(axis)
    ids = torch.arange(VALUES + 1).repeat_interleave(len(position)).unsqueeze(1)
    return monotone(position.repeat(VALUES + 1), ids).view(VALUES + 1, -1)


SHAPES = [
    (activation, positive, axis)
    for activation in ["tanh", "softplus", "silu", "relu"]
    for positive in ["elu", "softplus"]
    for axis in ["logit", "prob"]
]


@pytest.mark.parametrize(("activation", "positive", "axis"), SHAPES)
def test_every_random_network_rises_strictly_on_a_thousand_scores_in_every_context(activation, positive, axis):
    for seed in range(13):  # 13 seeds x 16 shapes: 208 networks
        settings = {"activation": activation, "positive": positive, "num_layers": 1 + seed % 2}
        monotone = random_map(seed, axis=axis, spread=1.0 + seed % 3, **settings)
        values = curves(monotone, axis)
        assert (values.diff(dim=1) > 0).all()
        assert all(len(curve.unique()) == 1000 for curve in values)


@pytest.mark.parametrize("axis", ["logit", "prob"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_chained_bins_rise_across_the_whole_axis_without_a_jump(activation, axis):
    for seed in range(10):
        monotone = random_map(seed, bins=7, axis=axis, strict=True, activation=activation)
        assert (curves(monotone, axis).diff(dim=1) > 0).all()
        edges = monotone.edges.repeat(VALUES)
        ids = torch.arange(1, VALUES + 1).repeat_interleave(6).unsqueeze(1)
        with torch.no_grad():
            jump = monotone(edges + 1e-6, ids) - monotone(edges - 1e-6, ids)
            steepest = monotone.derivative(edges, monotone.bin_of(edges), ids).max() + 1
        assert jump.abs().max() < 1e-4 * steepest


def test_free_bins_rise_inside_and_may_jump_at_the_edges():
    monotone = random_map(3, bins=5)
    position = thousand_positions("logit")
    bins = monotone.bin_of(position)
    inside = bins[1:] == bins[:-1]
    values = curves(monotone, "logit")
    assert (values.diff(dim=1)[:, inside] > 0).all()
    assert (values.diff(dim=1)[:, ~inside] < 0).any()


def test_the_derivative_of_the_map_is_the_slope_network():
    for seed in range(5):
        monotone = random_map(seed, nodes=32, spread=0.5)
        monotone.get_buffer("limits").copy_(torch.tensor([-2.0, -1.65]))
        position = torch.linspace(-1.999, -1.651, 400, dtype=torch.float64, requires_grad=True)
        ids = torch.ones((400, 1), dtype=torch.int64)
        (slope,) = torch.autograd.grad(monotone(position, ids).sum(), position)
        expected = monotone.derivative(position, torch.zeros(400, dtype=torch.int64), ids)
        assert (slope - expected).abs().max() < 1e-6


def test_the_integral_converges_to_a_fine_riemann_sum():
    monotone = random_map(1, nodes=64, spread=0.7)
    position = torch.tensor([-4.2, -2.0, 0.3, 1.9], dtype=torch.float64)
    ids = torch.ones((4, 1), dtype=torch.int64)
    bins = torch.zeros(4, dtype=torch.int64)
    with torch.no_grad():
        found = monotone.integral(position, bins, monotone.embedding(ids))
        for value, upper in zip(found, position, strict=True):
            middle = -5 + (upper + 5) * (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
            many = torch.ones((20_000, 1), dtype=torch.int64)
            sums = monotone.derivative(middle, torch.zeros(20_000, dtype=torch.int64), many).mean() * (upper + 5)
            assert value.item() == pytest.approx(sums.item(), rel=2e-4)


def test_gradients_of_the_integral_in_limit_context_and_parameters():
    monotone = random_map(2, bins=3, hidden_size=3, num_layers=2, nodes=8, spread=0.6)
    position = torch.tensor([-4.3, -1.9, 0.4, 1.4, 2.6], dtype=torch.float64, requires_grad=True)
    bins = torch.tensor([0, 1, 2, 2, 2])
    vectors = torch.randn((5, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, h: monotone.integral(u, bins, h), (position, vectors))
    names = [name for name, _ in monotone.slope.named_parameters()]
    weights = tuple(parameter.detach().clone().requires_grad_() for parameter in monotone.slope.parameters())

    def through(*values):
        given = {f"slope.{name}": value for name, value in zip(names, values, strict=True)}
        with torch.nn.utils.parametrize.cached():
            return torch.func.functional_call(_Integral(monotone), {f"monotone.{k}": v for k, v in given.items()}, ())

    class _Integral(torch.nn.Module):
        def __init__(self, monotone):
            super().__init__()
            self.monotone = monotone

        def forward(self):
            return self.monotone.integral(position.detach(), bins, vectors.detach())

    assert torch.autograd.gradcheck(through, weights)


def test_the_gradient_reaches_every_parameter():
    for strict in [False, True]:
        monotone = random_map(4, bins=4, strict=strict, num_layers=2)
        position = torch.linspace(-4.5, 1.8, 200, dtype=torch.float64)
        ids = (torch.arange(200) % (VALUES + 1)).unsqueeze(1)
        monotone(position, ids).square().sum().backward()
        for name, parameter in monotone.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_beyond_the_seen_scores_the_map_is_a_straight_line():
    monotone = random_map(5, bins=3)
    ids = torch.ones((3, 1), dtype=torch.int64)
    with torch.no_grad():
        for position in ([-9.0, -8.0, -7.0], [3.0, 5.0, 7.0]):
            values = monotone(torch.tensor(position, dtype=torch.float64), ids)
            assert (values[2] - values[1]).item() == pytest.approx((values[1] - values[0]).item(), rel=1e-9)


def test_edge_values_are_the_map_seen_from_both_sides():
    for strict in [False, True]:
        monotone = random_map(6, bins=4, strict=strict)
        ids = torch.tensor([[1], [3]])
        with torch.no_grad():
            below, above = monotone.edge_values(ids)
            rows = ids.repeat_interleave(3, 0)
            bins = torch.arange(3).repeat(2)
            edges = monotone.edges.repeat(2)
            assert torch.allclose(below.flatten(), monotone.value(edges, bins, rows))
            assert torch.allclose(above.flatten(), monotone.value(edges, bins + 1, rows))
        assert torch.allclose(below, above) == strict


def test_rows_of_a_batch_do_not_touch_one_another():
    for strict in [False, True]:
        monotone = random_map(7, bins=5, strict=strict)
        position = torch.linspace(-6, 3, 50, dtype=torch.float64)
        ids = (torch.arange(50) % (VALUES + 1)).unsqueeze(1)
        with torch.no_grad():
            together = monotone(position, ids)
            alone = torch.cat([monotone(position[i : i + 1], ids[i : i + 1]) for i in range(50)])
        assert torch.allclose(together, alone, rtol=0, atol=1e-12)


def test_the_number_of_parameters_is_that_of_the_specification():
    monotone = MonotoneBins(20, ContextEmbedding([61], 8), hidden_size=32)
    assert sum(parameter.numel() for parameter in monotone.parameters()) == 13_960


def test_too_many_combinations_for_one_number_still_work():
    sizes = [2**16] * 5
    embedding = ContextEmbedding([3] * 5, 2)
    monotone = MonotoneBins(2, embedding, hidden_size=4).double()
    with torch.no_grad():
        for parameter in monotone.parameters():
            parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
        for place in range(5):
            embedding.shares(place).fill_(0.5)
        monotone.get_buffer("limits").copy_(torch.tensor([-3.0, -1.0, 2.0]))
        monotone.slope.get_buffer("centre").fill_(0.0)
        monotone.slope.get_buffer("scale").fill_(1.0)
        position, ids = torch.linspace(-4, 3, 30, dtype=torch.float64), torch.arange(150).view(30, 5) % 3
        expected = monotone(position, ids)
        embedding.sizes = tuple(sizes)
        assert torch.equal(monotone(position, ids), expected)
