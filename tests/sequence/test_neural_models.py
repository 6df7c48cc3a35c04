"""What every neural next-item model must do: never look ahead, ignore padding, and learn a world that is certain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from palate.data.sequence_source import SequenceSource
from palate.data.sequences import SequenceLog
from palate.errors import ConfigError
from palate.sequence.bert4rec import BERT4Rec, BERT4RecConfig
from palate.sequence.caser import Caser, CaserConfig
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.fpmc import FPMC
from palate.sequence.gru4rec import GRU4Rec, GRU4RecConfig
from palate.sequence.hstu import HSTU, HSTUConfig
from palate.sequence.linrec import LinRec, LinRecConfig, causal_linear_attention
from palate.sequence.losses import bpr_max_loss
from palate.sequence.lrurec import LinearRecurrentUnit, LRURec, LRURecConfig, decayed_sums
from palate.sequence.mamba4rec import Mamba4Rec, Mamba4RecConfig, MambaLayer, selective_scan
from palate.sequence.neural import NeuralModel
from palate.sequence.sasrec import SASRec
from palate.sequence.ttt4rec import TTT4Rec, TTT4RecConfig
from palate.sequence.ttt_mlp import TTTMLP, gelu_slope

MODELS: list[type[NeuralModel]] = [
    BERT4Rec,
    Caser,
    CoCorrRec,
    FPMC,
    GRU4Rec,
    HSTU,
    LinRec,
    LRURec,
    Mamba4Rec,
    SASRec,
    TTT4Rec,
]
EVERY = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def tiny(model: type[NeuralModel], num_items: int = 20, **settings: Any) -> NeuralModel:
    torch.manual_seed(0)
    made = model(num_items, model.Config.sized("tiny", **settings))
    with torch.no_grad():  # far from the small initial weights, so that an influence would show
        for name, parameter in made.named_parameters():
            if "theta" not in name and "nu" not in name and "log" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@EVERY
def test_a_later_item_never_changes_an_earlier_position(model: type[NeuralModel]) -> None:
    made = tiny(model)
    items = torch.randint(1, 21, (2, 12), generator=torch.Generator().manual_seed(1))
    lengths = torch.full((2,), 12)
    with torch.no_grad():
        before = made.encode(items, lengths)
        for changed in (1, 5, 11):
            other = items.clone()
            other[:, changed] = other[:, changed] % 20 + 1
            after = made.encode(other, lengths)
            torch.testing.assert_close(after[:, :changed], before[:, :changed], atol=1e-5, rtol=1e-5)
            assert (after[:, changed] - before[:, changed]).abs().max() > 1e-3


@EVERY
def test_padding_and_other_rows_have_no_influence(model: type[NeuralModel]) -> None:
    made = tiny(model)
    items = torch.randint(1, 21, (3, 9), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9, 4, 1])
    items[torch.arange(9) >= lengths[:, None]] = 0
    with torch.no_grad():
        together = made.encode(items, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = made.encode(items[row : row + 1, :length], lengths[row : row + 1])
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


@EVERY
def test_an_empty_history_alone_or_beside_others(model: type[NeuralModel]) -> None:
    made = tiny(model)
    with torch.no_grad():
        empty = made.score(torch.zeros(1, 3, dtype=torch.long), torch.tensor([0]))
        mixed = made.score(torch.tensor([[4, 5, 6], [0, 0, 0]]), torch.tensor([3, 0]))
    torch.testing.assert_close(mixed[1], empty[0])
    assert torch.isfinite(empty[0, 1:]).all()


@EVERY
def test_a_world_that_goes_round_is_learned(model: type[NeuralModel]) -> None:
    """Everyone goes 1 2 .. 6 1 2 .., starting anywhere: the next item is certain, and must be ranked first."""
    starts = np.arange(24) % 6
    items = (starts[:, None] + np.arange(8)) % 6 + 1
    log = SequenceLog(items.ravel().astype(np.int64), np.arange(0, 24 * 8 + 1, 8), 6)
    torch.manual_seed(0)
    made = model(6, model.Config.sized("tiny", dropout=0.0))
    source = SequenceSource(log, batch_size=24)
    steps, learning_rate = (200, 0.005) if model is BERT4Rec else (70, 0.02)  # masks teach more slowly
    optimiser = torch.optim.Adam(made.parameters(), lr=learning_rate)
    made.train()
    for epoch in range(steps):
        optimiser.zero_grad()
        made.loss(source.batch(epoch, 0)).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 5.0)
        optimiser.step()
    histories = torch.tensor([[(start + step) % 6 + 1 for step in range(5)] for start in range(6)])
    best = made.eval().rank(histories, torch.full((6,), 5), k=1).items[:, 0]
    assert best.tolist() == [(start + 5) % 6 + 1 for start in range(6)]


@pytest.mark.parametrize(
    ("loss", "settings"),
    [("sampled-softmax", {}), ("bce", {}), ("bpr", {}), ("bpr-max", {})],
)
def test_every_loss_trains_every_model_that_offers_it(loss: str, settings: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    log = SequenceLog(generator.integers(1, 31, 200), np.arange(0, 201, 10), 30)
    for model in MODELS:
        if model is BERT4Rec:
            continue
        made = model(30, model.Config.sized("tiny", loss=loss, num_negatives=3, **settings))
        source = SequenceSource(log, batch_size=20, num_negatives=3)
        made.train().loss(source.batch(0, 0)).backward()
        gradient = made.item_embedding.weight.grad
        assert gradient is not None, (model, loss)
        assert torch.isfinite(gradient).all(), (model, loss)
        assert gradient.abs().max() > 0, (model, loss)


def test_bpr_max_by_hand() -> None:
    table = torch.tensor([[0.0], [2.0], [-1.0], [1.0]])
    weights = torch.tensor([-1.0, 1.0]).softmax(0)
    won = (weights * torch.sigmoid(2.0 - torch.tensor([-1.0, 1.0]))).sum()
    expected = -won.log() + 0.5 * weights.sum()
    for negatives in (torch.tensor([[2, 3]]), torch.tensor([[2, 1, 3]])):
        loss = bpr_max_loss(torch.ones(1, 1), table, torch.tensor([1]), negatives, regularisation=0.5)
        torch.testing.assert_close(loss, expected)
    assert bpr_max_loss(torch.ones(1, 1), table, torch.tensor([1]), torch.tensor([[1, 1]])).item() == 0


def test_gru4rec_by_hand() -> None:
    """With all weights of the gates at zero the state moves half-way to the candidate at every step."""
    made = GRU4Rec(3, GRU4RecConfig(embedding_size=2, dropout=0.0)).eval()
    with torch.no_grad():
        for weight in made.gru.parameters():
            weight.zero_()
        made.gru.weight_ih_l0[4:] = torch.eye(2)
        made.item_embedding.weight[1] = torch.tensor([0.5, -0.25])
        states = made.encode(torch.tensor([[1, 1]]), torch.tensor([2]))
    candidate = torch.tanh(torch.tensor([0.5, -0.25]))
    torch.testing.assert_close(states[0], torch.stack([candidate / 2, candidate * 3 / 4]))


def test_gru4rec_projects_only_a_state_of_another_width() -> None:
    assert isinstance(GRU4Rec(3, GRU4RecConfig(hidden_size=64)).output, torch.nn.Identity)
    assert GRU4Rec(3, GRU4RecConfig(hidden_size=48)).output.weight.shape == (64, 48)


def test_decayed_sums_equal_the_recurrence() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 13, 3, dtype=torch.complex128)
    decay = 0.9 * torch.exp(1j * torch.rand(3, dtype=torch.float64))
    state, expected = torch.zeros(2, 3, dtype=torch.complex128), []
    for t in range(13):
        state = decay * state + inputs[:, t]
        expected.append(state)
    torch.testing.assert_close(decayed_sums(inputs, decay), torch.stack(expected, 1))


def test_linear_recurrent_unit_starts_on_its_ring_and_keeps_variance() -> None:
    torch.manual_seed(0)
    unit = LinearRecurrentUnit(4, 500, 0.8, 0.99, 0.02)
    radius = unit.decay().abs()
    assert 0.8 <= radius.min() <= radius.max() <= 0.99
    torch.testing.assert_close(unit.log_gamma.exp().square(), 1 - radius.square(), atol=1e-5, rtol=1e-4)


def test_lrurec_reads_the_real_part() -> None:
    unit = LinearRecurrentUnit(1, 1, 0.8, 0.99, 0.02)
    with torch.no_grad():
        unit.nu.fill_(float(np.log(np.log(2.0))))  # |decay| = 1/2
        unit.theta.fill_(float(np.log(np.pi / 2)))  # a quarter turn
        unit.log_gamma.zero_()
        unit.inputs.weight.copy_(torch.tensor([[1.0], [0.0]]))
        unit.outputs.weight.copy_(torch.tensor([[1.0, 0.0]]))
        out = unit(torch.tensor([[[1.0], [0.0], [0.0], [0.0], [0.0]]]))
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 0.0, -0.25, 0.0, 0.0625]), atol=1e-6, rtol=0)


def test_lrurec_settings_reach_the_unit() -> None:
    made = LRURec(5, LRURecConfig(embedding_size=8, expand=3, num_layers=2))
    assert len(made.blocks) == 2
    assert made.blocks[0].unit.nu.shape == (24,)


def test_selective_scan_by_hand() -> None:
    x, delta = torch.tensor([[[2.0], [3.0]]]), torch.tensor([[[1.0], [0.5]]])
    write, read = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]), torch.tensor([[[1.0, 1.0], [1.0, 2.0]]])
    decay = torch.tensor([[-1.0, -2.0]])
    first = torch.tensor([2.0, 0.0])
    second = torch.exp(0.5 * decay[0]) * first + 1.5
    expected = torch.stack([first.sum(), second[0] + 2 * second[1]])
    torch.testing.assert_close(selective_scan(x, delta, decay, write, read).flatten(), expected)


def test_mamba_starts_with_published_step_sizes_and_decays() -> None:
    torch.manual_seed(0)
    made = Mamba4Rec(5, Mamba4RecConfig(embedding_size=32, state_size=4, num_layers=2))
    layer = made.blocks[0].mamba
    steps = torch.nn.functional.softplus(layer.delta.bias)
    assert 9e-4 < steps.min() < steps.max() < 0.101
    torch.testing.assert_close(layer.log_decay[0].exp(), torch.arange(1.0, 5.0))
    assert made.blocks[0].residual
    assert not Mamba4Rec(5, Mamba4RecConfig(num_layers=1)).blocks[0].residual


def test_mamba_parameters_are_near_the_published_count() -> None:
    layer = MambaLayer(64, 32, 4, 2)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 38_784  # "about 39 k" in the cost table


def test_linear_attention_equals_its_definition_in_any_chunks() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, 11, 4).unbind(0)
    expected = torch.zeros_like(value)
    q = torch.nn.functional.elu(query)
    q = q / q.norm(dim=-1, keepdim=True)
    k = torch.nn.functional.elu(key)
    for t in range(11):
        columns = k[:, :, : t + 1] / k[:, :, : t + 1].norm(dim=-2, keepdim=True)
        state = columns.transpose(-1, -2) @ value[:, :, : t + 1]
        expected[:, :, t] = (q[:, :, t, None] @ state).squeeze(-2) / 2
    for chunk in (1, 3, 11, 64):
        torch.testing.assert_close(causal_linear_attention(query, key, value, chunk), expected, atol=1e-5, rtol=1e-4)


def test_hstu_by_hand() -> None:
    """Without projections of query and key, attention is silu of the distance bias over the maximum length."""
    block = HSTU(3, HSTUConfig(embedding_size=2, num_heads=1, num_layers=1, max_length=4, dropout=0.0)).blocks[0]
    with torch.no_grad():
        block.inputs.weight.zero_()
        block.inputs.weight[2:4] = torch.eye(2)  # values
        block.inputs.bias.copy_(torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]))  # gates
        block.output.weight.copy_(torch.eye(2))
        block.distance_bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        x = torch.tensor([[[1.0, 3.0], [2.0, -2.0]]])
        silu = torch.nn.functional.silu
        value = silu(torch.nn.functional.layer_norm(x, (2,)))[0]
        first = silu(torch.tensor(1.0)) / 4 * value[0]
        second = silu(torch.tensor(2.0)) / 4 * value[0] + silu(torch.tensor(1.0)) / 4 * value[1]
        mixed = torch.nn.functional.layer_norm(torch.stack([first, second]), (2,))
        expected = x[0] + mixed * silu(torch.tensor(1.0))
        torch.testing.assert_close(block(x)[0], expected)


def test_hstu_with_a_temperature_scores_by_cosine() -> None:
    made = HSTU(9, HSTUConfig.sized("tiny", temperature=0.05)).eval()
    with torch.no_grad():
        scores = made.score(torch.tensor([[1, 2]]), torch.tensor([2]))[0, 1:]
    assert scores.abs().max() <= 20.0 + 1e-4


def test_caser_by_hand() -> None:
    made = Caser(3, CaserConfig(embedding_size=1, window=2, horizontal_filters=1, vertical_filters=1)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.item_embedding.weight[1:, 0] = torch.tensor([1.0, -2.0, 4.0])
        made.taste_embedding.weight[1:, 0] = torch.tensor([1.0, 3.0, 5.0])
        made.horizontal[0].weight.fill_(1.0)  # height 1: the largest positive value of the window
        made.horizontal[1].weight.copy_(torch.tensor([[1.0, 10.0]]))  # height 2: first + 10 second
        made.vertical.weight.copy_(torch.tensor([[1.0, 100.0]]))
        made.joined.weight.copy_(torch.tensor([[1.0, 1.0, 1.0]]))
        states = made.encode(torch.tensor([[1, 2, 3]]), torch.tensor([3]))[0]
    # windows (0, 1), (1, -2), (-2, 4); vertical 100, -199, 398; heights 1, 1, 4 and 10, 0 (-19), 38
    assert states[:, 0].tolist() == [111.0, 0.0, 440.0]
    assert states[:, 1].tolist() == [1.0, 2.0, 3.0]
    assert states[:, 2].tolist() == [1.0, 1.0, 1.0]


def test_fpmc_is_taste_plus_last_item() -> None:
    made = FPMC(3).eval()
    with torch.no_grad():
        scores = made.score(torch.tensor([[1, 2]]), torch.tensor([2]))[0]
        taste = (made.taste_embedding.weight[1] + made.taste_embedding.weight[2]) / 2
        towards_user, towards_last = made.output_embedding.weight.chunk(2, 1)
        expected = towards_user @ taste + towards_last @ made.item_embedding.weight[2]
    torch.testing.assert_close(scores[1:], expected[1:])


def bert(**settings: Any) -> BERT4Rec:
    torch.manual_seed(0)
    return BERT4Rec(20, BERT4RecConfig.sized("tiny", **settings))


def a_batch(rows: int = 400) -> tuple[BERT4Rec, Any]:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 12, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    log = SequenceLog(generator.integers(1, 21, int(offsets[-1])), offsets, 20)
    return bert(mask_share=0.3, last_share=0.0), SequenceSource(log, batch_size=rows).batch(0, 0)


def test_bert4rec_trains_on_whole_sequences() -> None:
    made, batch = a_batch()
    items, lengths = made._with_last_target(batch)
    assert torch.equal(lengths, batch.lengths + 1)
    assert torch.equal(items[:, 1:][batch.targets > 0], batch.targets[batch.targets > 0])


def test_bert4rec_masks_the_share_it_was_told_and_something_in_every_row() -> None:
    made, batch = a_batch()
    items, lengths = made._with_last_target(batch)
    masked = made._draw_masks(items > 0, lengths)
    assert masked.any(1).all()
    assert not masked[items == 0].any()
    long = lengths >= 8
    share = masked[long].sum() / (items[long] > 0).sum()
    assert 0.26 < share < 0.34
    only_last = bert(last_share=1.0)._draw_masks(items > 0, lengths)
    assert torch.equal(only_last.int().argmax(1), lengths - 1)
    assert torch.equal(only_last.sum(1), torch.ones_like(lengths))


def test_bert4rec_does_not_see_what_is_masked_and_sees_both_sides() -> None:
    made = bert().eval()
    items = torch.tensor([[3, 4, 5, 6]])
    masked, real = torch.tensor([[False, True, False, False]]), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        state = made.fill(items, masked, real)[0, 1]
        hidden = torch.tensor([[3, 9, 5, 6]])
        assert torch.equal(made.fill(hidden, masked, real)[0, 1], state)
        for changed in (0, 3):
            other = items.clone()
            other[0, changed] = 11
            assert not torch.allclose(made.fill(other, masked, real)[0, 1], state)


def test_gelu_slope_agrees_with_autograd() -> None:
    x = torch.linspace(-4, 4, 41, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.gelu(x, approximate="tanh").sum().backward()
    torch.testing.assert_close(gelu_slope(x.detach()), x.grad)


def test_ttt_mlp_equals_gradient_descent_spelled_out() -> None:
    """The dual form against autograd on the inner model, token by token, across a mini-batch boundary."""
    torch.manual_seed(0)
    layer = TTTMLP(4, 1, 3, factor=2, rope_base=None).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    query, key, value = layer.query(x)[0], layer.key(x)[0], layer.value(x)[0]
    rates, taus = layer.rates(x)[0, 0], layer.taus()
    weights = [part[0, 0] for part in layer.initial_weights(1)]

    def inner(token: Tensor, *parts: Tensor) -> Tensor:
        first, first_bias, second, second_bias = parts
        return torch.nn.functional.gelu(token @ first + first_bias[0], approximate="tanh") @ second + second_bias[0]

    outputs = []
    for start in (0, 3):
        sums = [torch.zeros_like(part) for part in weights]
        moved = weights
        for j, t in enumerate(range(start, min(start + 3, 5))):
            leaves = [part.detach().requires_grad_() for part in weights]
            loss = (layer._norm(inner(key[t], *leaves))[0] - (value[t] - key[t])).square().sum() / 2
            gradients = torch.autograd.grad(loss, leaves)
            sums = [total + rates[t] * gradient for total, gradient in zip(sums, gradients, strict=True)]
            moved = [part - taus[j] * total for part, total in zip(weights, sums, strict=True)]
            outputs.append(query[t] + layer._norm(inner(query[t], *moved))[0, 0])
        weights = moved
    expected = layer.output(layer.norm(torch.stack(outputs)))
    torch.testing.assert_close(layer(x)[0], expected, atol=1e-10, rtol=1e-10)


def test_ttt4rec_offers_both_inner_models() -> None:
    linear, mlp = (TTT4Rec(5, TTT4RecConfig(inner=inner)) for inner in ("linear", "mlp"))
    assert type(linear.blocks[0].ttt).__name__ == "TTTLinear"
    assert mlp.blocks[0].ttt.first_weight.shape == (4, 16, 64)


def test_linrec_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="does not divide"):
        LinRecConfig(embedding_size=10, num_heads=4)
