"""CoCorrRec: sizes, modes, what the cloud may know, and the step on the device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palate.data.sequences import SequenceBatch
from palate.errors import ConfigError
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig

ITEMS = 40


def model(seed: int = 0, **settings: object) -> CoCorrRec:
    torch.manual_seed(seed)
    config = {"embedding_size": 16, "num_heads": 2, "mini_batch_size": 4, "sync_every": 4, **settings}
    made = CoCorrRec(ITEMS, CoCorrRecConfig(**config)).eval()
    with torch.no_grad():  # far from the small initial weights, so that every part shows
        for name, parameter in made.named_parameters():
            if not name.startswith("gcn"):
                parameter.add_(0.2 * torch.randn_like(parameter))
        made.item_embedding.weight[0] = 0
    return made


def histories(batch: int = 3, length: int = 14) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    items = torch.randint(1, ITEMS + 1, (batch, length), generator=generator)
    return items, torch.full((batch,), length)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_of_the_paper() -> None:
    made = CoCorrRec(100, CoCorrRecConfig.sized("base"))
    assert count(made.scn) == 18_126
    assert count(made.scn) + count(made.target) == 26_446
    assert count(made.gcn) == 132_864
    # beside these: item vectors, P and Q, and the state of an empty history
    assert count(made) == 26_446 + 132_864 + 101 * 64 + 2 + 64


def test_weights_of_the_corrections_start_at_the_published_values() -> None:
    p, q = CoCorrRec(10).weights()
    assert (p.item(), q.item()) == (0.0, 0.25)


def test_base_mode_is_the_causal_mode_with_weights_of_zero() -> None:
    causal = model(mode="causal")
    base = CoCorrRec(ITEMS, causal.config.replace(mode="base")).eval()
    base.load_state_dict({key: value for key, value in causal.state_dict().items() if key in base.state_dict()})
    with torch.no_grad():
        causal.attention_weight.zero_()
        causal.bias_weight.zero_()
    assert torch.equal(causal.score(*histories()), base.score(*histories()))
    assert not hasattr(base, "gcn")


def test_without_a_fresh_correction_the_device_goes_on_alone() -> None:
    made = model()
    items, lengths = histories()
    corrected = made.score(items, lengths)
    made.lag = None
    alone = made.score(items, lengths)
    assert not torch.allclose(corrected[:, 1:], alone[:, 1:], atol=1e-5)
    made.lag = 100  # nothing has come back yet
    assert torch.equal(made.score(items, lengths), alone)


@pytest.mark.parametrize("lag", [0, 4, 8])
def test_corrections_know_only_what_was_uploaded_before(lag: int) -> None:
    made = model()
    with torch.no_grad():
        made.attention_weight.fill_(0.5)
    made.lag = lag
    items, lengths = histories(length=16)
    hidden = made.hidden(items)
    rows = made._correction(hidden, lengths)
    for changed in range(16):
        other = items.clone()
        other[:, changed] = other[:, changed] % ITEMS + 1
        moved = made._correction(made.hidden(other), lengths)
        used = rows.bias_weight[0, 0, :, 0] != 0
        differs = ((moved.bias - rows.bias).abs().amax((0, 1, 3)) > 0) & used
        # uploads after 4, 8, 12 items; token t uses the upload at floor(t / 4) * 4 - lag
        expected = [changed < (t // 4) * 4 - lag for t in range(16)]
        assert differs.tolist() == expected
        assert torch.equal(made.encode(other, lengths)[:, :changed], made.encode(items, lengths)[:, :changed])


def test_the_published_mode_sees_the_whole_history_and_trains_at_the_last_position_only() -> None:
    made = model(mode="paper")
    with torch.no_grad():
        made.attention_weight.fill_(0.5)
    items, lengths = histories(length=10)
    other = items.clone()
    other[:, -1] = other[:, -1] % ITEMS + 1
    moved = (made.encode(other, lengths) - made.encode(items, lengths))[:, :9].abs().max()
    assert moved > 1e-3
    targets = torch.randint(1, ITEMS + 1, items.shape)
    whole = SequenceBatch(items, lengths, targets)
    last = SequenceBatch(items, lengths, torch.where(torch.arange(10) == 9, targets, 0))
    assert torch.equal(made.loss(whole), made.loss(last))
    assert not torch.equal(made.loss(whole), made.loss(SequenceBatch(items, lengths, targets.roll(1, 0))))


def test_padding_does_not_reach_the_published_correction() -> None:
    made = model(mode="paper")
    items, lengths = histories(length=6)
    padded = torch.nn.functional.pad(items, (0, 5))
    torch.testing.assert_close(made.score(padded, lengths), made.score(items, lengths), atol=1e-5, rtol=1e-5)


def test_the_same_correction_serves_every_mini_batch_in_the_published_mode() -> None:
    made = model(mode="paper")
    items, lengths = histories(length=8)
    rows = made._correction(made.hidden(items), lengths)
    assert torch.equal(rows.attention[:, :, :4], rows.attention[:, :, 4:])
    answer = made.correct(made.hidden(items), lengths)
    assert answer.attention.shape == (3, 2, 4, 4)
    assert answer.bias.shape == (3, 2, 4, 8)
    assert torch.equal(rows.bias[:, :, :4], answer.bias)


@pytest.mark.parametrize(("correct", "present"), [("attention", "attention_weight"), ("bias", "bias_weight")])
def test_one_correction_alone(correct: str, present: str) -> None:
    made = model(correct=correct)
    weights = [name for name, _ in made.named_parameters() if name.endswith("_weight") and "." not in name]
    assert weights == [present]
    assert torch.isfinite(made.score(*histories())[:, 1:]).all()


def test_training_draws_the_lag_of_each_row() -> None:
    made = model().train()
    items, lengths = histories(batch=64, length=16)
    torch.manual_seed(0)
    used = made._correction(made.hidden(items), lengths).bias_weight[:, 0, :, 0] != 0
    starts = used.float().argmax(1)
    assert set(starts.tolist()) == {4, 8, 12}


def test_no_inner_update_in_service_is_an_ablation_of_its_own() -> None:
    full = model(mode="base")
    frozen = CoCorrRec(ITEMS, full.config.replace(update_in_service=False)).eval()
    frozen.load_state_dict(full.state_dict())
    never = CoCorrRec(ITEMS, full.config.replace(inner_rate=0.0)).eval()
    never.load_state_dict(full.state_dict())
    items, lengths = histories()
    assert not torch.allclose(full.score(items, lengths)[:, 1:], frozen.score(items, lengths)[:, 1:], atol=1e-4)
    assert torch.equal(frozen.score(items, lengths), never.score(items, lengths))
    # in training the update is on
    torch.testing.assert_close(frozen.train().encode(items, lengths), full.train().encode(items, lengths))


def test_a_cloud_is_trained_around_a_frozen_device() -> None:
    base = model(mode="base")
    made = CoCorrRec.from_base(base)
    learning = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert learning
    assert all(name.startswith(("gcn.", "attention_weight", "bias_weight")) for name in learning)
    made.lag = None
    assert torch.equal(made.eval().score(*histories()), base.score(*histories()))
    items, lengths = histories()
    made.train().loss(SequenceBatch(items, lengths, items.roll(-1, 1))).backward()
    assert made.scn.layer.query.weight.grad is None
    assert made.gcn.bias.third.weight.grad.abs().max() > 0


def test_p_gets_a_gradient_at_zero_and_its_network_once_it_has_moved() -> None:
    made = model().train()
    items, lengths = histories(batch=16)
    batch = SequenceBatch(items, lengths, items.roll(-1, 1))
    with torch.no_grad():
        made.attention_weight.zero_()
    made.loss(batch).backward()
    assert made.attention_weight.grad.abs() > 0
    assert made.gcn.attention.third.weight.grad.abs().max() == 0
    with torch.no_grad():
        made.attention_weight.fill_(0.1)
    made.loss(batch).backward()
    assert made.gcn.attention.third.weight.grad.abs().max() > 0


def test_impossible_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads of even width"):
        CoCorrRecConfig(embedding_size=20, num_heads=4)
    with pytest.raises(ConfigError, match='"mini_batch_size"'):
        CoCorrRecConfig(mini_batch=4)


def test_the_larger_inner_model_is_an_ablation_of_the_layer_alone() -> None:
    with pytest.raises(ConfigError, match='Set mode="base"'):
        CoCorrRecConfig.sized("tiny", inner="mlp")
    settings = {"mode": "base", "inner_rate": 4.0, "mini_batch_size": 4}
    torch.manual_seed(0)
    model = CoCorrRec(ITEMS, CoCorrRecConfig.sized("tiny", inner="mlp", **settings)).eval()
    assert sum(p.numel() for p in model.parameters()) > sum(
        p.numel() for p in CoCorrRec(ITEMS, CoCorrRecConfig.sized("tiny", **settings)).parameters()
    )
    items, lengths = torch.tensor([[3, 7, 9, 4, 2, 8]]), torch.tensor([6])
    states = model.encode(items, lengths)
    # earlier positions do not move when later items do, and the first item still shows after its mini-batch
    torch.testing.assert_close(model.encode(items[:, :5], lengths - 1), states[:, :5])
    other = items.clone()
    other[0, 0] = 5
    assert not torch.equal(model.encode(other, lengths)[:, 5], states[:, 5])
