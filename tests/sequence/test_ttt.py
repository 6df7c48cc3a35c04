"""The test-time-training layer: the worked example of the specification, and the laws of its two forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from palate.errors import ConfigError
from palate.sequence.ttt import InnerState, TTTLinear
from palate.sequence.ttt_layer import Correction, apply_rope, inner_gradient, rescale, rope_tables

K = torch.tensor([[1.0, 0, 2], [0, 1, 1]])
V = torch.tensor([[0.0, 1, 1], [1, 0, 2]])
Q = torch.tensor([[1.0, 1, 0], [0, 1, -1]])
W0 = torch.tensor([[0.5, 0, 0.2], [0, 0.5, -0.1], [0.1, 0, 0.3]])
RATES = torch.tensor([0.5, 0.25]) / 3
TAUS = torch.tensor([1.0, 0.5])


def worked_layer(form: str) -> TTTLinear:
    return TTTLinear(3, 1, 2, rope_base=None, form=form)


def layer(form: str = "dual", m: int = 10, seed: int = 0, **settings: object) -> TTTLinear:
    torch.manual_seed(seed)
    made = TTTLinear(16, 2, m, form=form, **settings).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def stream(made: TTTLinear, x: Tensor) -> tuple[Tensor, InnerState]:
    state, outputs = made.initial_state(len(x)), []
    for place in range(x.shape[1]):
        out, state = made.step(x[:, place], state)
        outputs.append(out)
    return torch.stack(outputs, 1), state


def close(actual: Tensor, expected: list[object], atol: float = 2e-6) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), atol=atol, rtol=0)


@pytest.mark.parametrize("form", ["dual", "primal"])
def test_worked_example(form: str) -> None:
    z = K @ W0
    close(z[0], [0.7, 0, 0.8])
    close((V - K)[0], [-1.0, 1, -1])
    one, zero = torch.ones(3), torch.zeros(3)
    gradient = inner_gradient(z, V - K, one, zero)
    close(gradient[0], [0.394375, -0.049354, -0.345020])
    close(gradient[1], [1.357321, 0.453103, -1.810424])
    heads = [x[None, None] for x in (Q, K, V, RATES)]
    start = (W0[None, None], torch.zeros(1, 1, 1, 3))
    out, (weight_sum, bias_sum) = worked_layer(form).mini_batch(*heads, TAUS, start)
    close(out[0, 0], [[1.015236, 2.217015, -1.232251], [-0.353319, 2.362561, -2.009242]])
    close(
        (W0 - TAUS[1] * weight_sum)[0, 0],
        [[0.467135, 0.004113, 0.228752], [-0.056555, 0.481121, -0.024566], [-0.022284, -0.010654, 0.432938]],
    )
    close((-TAUS[1] * bias_sum)[0, 0, 0], [-0.089420, -0.014766, 0.104186])


def test_one_inner_step_lowers_the_inner_loss() -> None:
    def inner_loss(weight: Tensor, bias: Tensor) -> float:
        z = K[0] @ weight + bias
        normal = torch.nn.functional.layer_norm(z, (3,), eps=1e-6)
        return float((normal - (V - K)[0]).square().sum() / 2)

    gradient = inner_gradient((K @ W0)[0], (V - K)[0], torch.ones(3), torch.zeros(3))
    assert inner_loss(W0, torch.zeros(3)) == pytest.approx(5.809735, abs=2e-6)
    after = inner_loss(W0 - RATES[0] * torch.outer(K[0], gradient), -RATES[0] * gradient)
    assert after == pytest.approx(4.926057, abs=2e-6)


def test_inner_gradient_agrees_with_autograd() -> None:
    torch.manual_seed(0)
    z, target, gain, bias = (torch.randn(5, 7, dtype=torch.float64) for _ in range(4))
    z.requires_grad_()
    normal = (z - z.mean(-1, keepdim=True)) / (z.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    ((gain * normal + bias - target).square().sum() / 2).backward()
    torch.testing.assert_close(inner_gradient(z, target, gain, bias), z.grad, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("length", [1, 9, 10, 11, 25])
def test_dual_equals_primal(length: int) -> None:
    x = torch.randn(3, length, 16, dtype=torch.float64)
    dual, primal = layer("dual").double()(x), layer("primal").double()(x)
    torch.testing.assert_close(dual, primal, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("length", [1, 9, 10, 11, 25, 100])
@pytest.mark.parametrize("m", [1, 10])
def test_stream_equals_batch(length: int, m: int) -> None:
    made, x = layer(m=m), torch.randn(3, length, 16)
    torch.testing.assert_close(stream(made, x)[0], made(x), atol=1e-5, rtol=1e-5)


def test_state_after_a_token_differs_by_exactly_its_step() -> None:
    made = layer()
    x = torch.randn(1, 16)
    _, state = made.step(x, made.initial_state())
    _, key, updates, _ = made.read(x, made.initial_state())
    rate = made.rates(x[:, None])[..., None]
    value = made.value(x).view(1, 2, 1, 8)
    gradient = inner_gradient(key @ made.inner_weight + made.inner_bias, value - key, made.inner_gain, made.inner_shift)
    torch.testing.assert_close(updates, rate * gradient)
    torch.testing.assert_close(state.weight_sum, rate * key.transpose(-1, -2) @ gradient)
    assert torch.equal(state.weight, made.initial_state().weight)  # W0 stands until the mini-batch is full
    assert state.position.tolist() == [1]


def test_all_gradients_of_a_mini_batch_are_taken_at_its_start() -> None:
    # Were they taken one after another, m = 2 would give what m = 1 gives.
    x = torch.randn(1, 2, 16)
    two, one = layer(m=2, rope_base=None), layer(m=1, rope_base=None)
    with torch.no_grad():
        one.load_state_dict({**two.state_dict(), "rate_shift": two.rate_shift[:1]})
        two.rate_shift.fill_(0.5)  # tau = (1.5, 1)
        one.rate_shift.fill_(0.0)
        assert not torch.allclose(two(x)[:, 1], one(x)[:, 1], atol=1e-4)


def test_a_changed_inner_rate_changes_outputs() -> None:
    x = torch.randn(2, 5, 16)
    assert not torch.allclose(layer(inner_rate=1.0)(x), layer(inner_rate=0.5)(x), atol=1e-4)


def test_without_inner_update_the_layer_is_a_fixed_map() -> None:
    made = layer(inner_rate=0.0)
    x = torch.randn(2, 12, 16)
    query = made.query(x).view(2, 12, 2, 8).transpose(1, 2)
    turns = [made.rope_cosine.repeat(2, 1)[:12], made.rope_sine.repeat(2, 1)[:12]]
    query = apply_rope(query, *turns)
    z = query @ made.inner_weight + made.inner_bias
    normal = torch.nn.functional.layer_norm(z, (8,), eps=1e-6) * made.inner_gain + made.inner_shift
    expected = made.output(made.norm((query + normal).transpose(1, 2).flatten(-2)))
    torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=1e-5)


def test_causality_padding_and_independence_of_rows() -> None:
    made, x = layer(), torch.randn(3, 25, 16)
    lengths = torch.tensor([25, 7, 13])
    out = made(x, lengths)
    changed = x.clone()
    changed[0, 20] += 1.0
    changed[1, 7:] = 99.0
    other = made(changed, lengths)
    assert torch.equal(other[0, :20], out[0, :20])
    assert not torch.allclose(other[0, 20:], out[0, 20:])
    assert torch.equal(other[1, :7], out[1, :7])
    assert torch.equal(other[2], out[2])
    for row in range(3):
        alone = made(x[row : row + 1, : lengths[row]], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], out[row, : lengths[row]], atol=1e-6, rtol=1e-5)


def test_prefill_is_the_state_of_the_stream_at_each_length() -> None:
    made, x = layer(m=4), torch.randn(4, 11, 16)
    lengths = torch.tensor([11, 8, 3, 0])
    state = made.prefill(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        _, alone = stream(made, x[row : row + 1, :length]) if length else (None, made.initial_state())
        for mine, theirs in zip(state, alone, strict=True):
            torch.testing.assert_close(mine[row : row + 1], theirs, atol=1e-6, rtol=1e-5)


def test_gradients_through_two_mini_batches() -> None:
    torch.manual_seed(0)
    made = TTTLinear(4, 1, 3).double()
    with torch.no_grad():
        made.inner_weight.add_(0.5 * torch.randn_like(made.inner_weight))
    x = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, (x,))
    names, values = zip(*made.named_parameters(), strict=True)

    def of_parameters(*parameters: Tensor) -> Tensor:
        return torch.func.functional_call(made, dict(zip(names, parameters, strict=True)), (x.detach(),))

    assert torch.autograd.gradcheck(of_parameters, tuple(value.detach().requires_grad_() for value in values))


def test_the_inner_gradient_is_not_detached() -> None:
    # The value projection enters only through the inner gradient, so a detached one would leave it without any.
    made = layer()
    made(torch.randn(1, 6, 16)).sum().backward()
    assert made.value.weight.grad is not None
    assert made.value.weight.grad.abs().max() > 0


def test_a_stream_of_a_hundred_thousand_stays_finite_and_bounded() -> None:
    made = layer(m=50, inner_rate=16.0, max_norm=2.0)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        out = made(torch.randn(1, 100_000, 16, generator=generator))
        assert torch.isfinite(out).all()
        state = made.initial_state()
        for _ in range(300):
            _, state = made.step(torch.randn(1, 16, generator=generator), state)
    assert 1.9 < float(torch.linalg.matrix_norm(state.weight).max()) <= 2.0001  # the bound is reached and kept


def test_state_size_does_not_depend_on_the_stream() -> None:
    made = TTTLinear(64, 4, 10)
    state = made.initial_state()
    count = sum(part.numel() for part in state[:4])
    assert count == 2176
    for _ in range(13):
        _, state = made.step(torch.randn(1, 64), state)
    assert sum(part.numel() for part in state[:4]) == 2176


def test_rope_turns_pairs_and_restarts_with_the_mini_batch() -> None:
    cosine, sine = rope_tables(3, 4, 100.0)
    turned = apply_rope(torch.tensor([1.0, 0, 0, 1]), cosine[1], sine[1])
    close(turned, [math.cos(1), math.sin(1), -math.sin(0.1), math.cos(0.1)])
    # The same two tokens at places 0, 1 and at places 10, 11 meet the same angles, so with no update between
    # them (rate 0) the outputs are equal.
    made = layer(inner_rate=0.0)
    x = torch.randn(1, 10, 16)
    out = made(torch.cat([x, x], 1))
    torch.testing.assert_close(out[:, 10:], out[:, :10])


def test_correction_has_the_statistics_of_its_target() -> None:
    torch.manual_seed(0)
    raw, target = 5 + 3 * torch.randn(4, 2, 10), 0.1 * torch.randn(4, 2, 10) - 2
    corrected = rescale(raw, target)
    torch.testing.assert_close(corrected.mean(-1), target.mean(-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(corrected.std(-1), target.std(-1), atol=1e-4, rtol=1e-4)


def test_a_correction_of_one_column_is_its_target() -> None:
    target = torch.randn(3, 1)
    assert torch.equal(rescale(torch.randn(3, 1), target), target)


def test_a_constant_row_keeps_gradients_finite() -> None:
    raw, target = torch.zeros(2, 4, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    rescale(raw, target).sum().backward()
    assert torch.isfinite(raw.grad).all()
    assert torch.isfinite(target.grad).all()


def correction_for(made: TTTLinear, length: int, p: float, q: float, batch: int = 2) -> Correction:
    torch.manual_seed(1)
    m, h, d = made.mini_batch_size, made.num_heads, made.width
    whole = Correction(torch.randn(batch, h, m, m), torch.randn(batch, h, m, d), torch.tensor(p), torch.tensor(q))
    row = torch.arange(length) % m
    return whole._replace(attention=whole.attention[:, :, row], bias=whole.bias[:, :, row])


def test_weights_of_zero_are_no_correction() -> None:
    made, x = layer(), torch.randn(2, 13, 16)
    assert torch.equal(made(x, None, correction_for(made, 13, 0.0, 0.0)), made(x))


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.0), (0.0, 0.5), (0.5, 0.25)])
def test_a_correction_changes_outputs_but_never_looks_ahead_or_changes_the_state(p: float, q: float) -> None:
    made, x = layer(m=5), torch.randn(2, 13, 16)
    correction = correction_for(made, 13, p, q)
    out = made(x, None, correction)
    assert not torch.allclose(out, made(x), atol=1e-4)
    later = x.clone()
    later[:, 9:] += 1.0
    assert torch.equal(made(later, None, correction)[:, :9], out[:, :9])
    # switched off after the first mini-batch, the rest is as if there had never been one: the state is untouched
    early = (torch.arange(13) < 5).float()[None, None, :, None]
    only_early = correction._replace(attention_weight=p * early, bias_weight=q * early)
    torch.testing.assert_close(made(x, None, only_early)[:, 5:], made(x)[:, 5:])


def test_the_published_correction_looks_ahead_and_says_so() -> None:
    made, x = layer(), torch.randn(2, 10, 16)
    paper = correction_for(made, 10, 0.5, 0.0)._replace(causal=False)
    later = x.clone()
    later[:, 9] += 1.0
    moved = (made(later, None, paper) - made(x, None, paper))[:, :9].abs().max()
    assert moved > 1e-3


@pytest.mark.parametrize("m", [1, 4, 10])
def test_corrected_stream_equals_corrected_batch(m: int) -> None:
    made, x = layer(m=m), torch.randn(2, 13, 16)
    rows = correction_for(made, m, 0.4, 0.3)
    state, outputs = made.initial_state(2), []
    keys = updates = torch.full((2, 2, m, 8), torch.nan)  # what lies beyond the position is never read
    for place in range(13):
        out, state, keys, updates = made.corrected_step(x[:, place], state, keys, updates, rows)
        outputs.append(out)
    batch = made(x, None, correction_for(made, 13, 0.4, 0.3))
    torch.testing.assert_close(torch.stack(outputs, 1), batch, atol=2e-5, rtol=1e-5)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot have 3 heads"):
        TTTLinear(16, 3)
    with pytest.raises(ConfigError, match="even width"):
        TTTLinear(6, 2)
