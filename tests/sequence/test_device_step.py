"""The step on the device: equal to the batch, corrected or not, and exported with its state in the signature."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.device_step import CorrectedDeviceStep, CorrectedState, DeviceStep

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


@pytest.mark.parametrize("length", [1, 4, 5, 14])
def test_device_steps_equal_the_batch(length: int) -> None:
    made = model(mode="base")
    items, lengths = histories(length=length)
    step, state = DeviceStep(made), made.initial_state(3)
    for place in range(length):
        user, *state = step(items[:, place], *state)
        torch.testing.assert_close(user, made.encode(items, lengths)[:, place], atol=1e-5, rtol=1e-5)
    scores = user @ made.output_table().T
    torch.testing.assert_close(scores[:, 1:], made.score(items, lengths)[:, 1:], atol=1e-4, rtol=1e-4)


def test_corrected_device_steps_equal_the_batch() -> None:
    made = model()
    with torch.no_grad():
        made.attention_weight.fill_(0.3)
    items, lengths = histories(length=14)
    expected = made.encode(items, lengths)
    step, state = CorrectedDeviceStep(made), CorrectedState.initial(made, 3)
    p, q = made.weights()
    answer, none = made.correct(made.hidden(items[:, :1]), torch.ones(3, dtype=torch.int64)), torch.tensor(0.0)
    for place in range(14):
        if place and place % 4 == 0:  # an upload of everything so far, answered at once
            answer = made.correct(made.hidden(items[:, :place]), torch.full((3,), place))
        weights = (p, q) if place >= 4 else (none, none)
        user, *state = step(items[:, place], *state, answer.attention, answer.bias, *weights)
        torch.testing.assert_close(user, expected[:, place], atol=2e-5, rtol=1e-4)


def test_the_steps_export_with_state_through_the_signature() -> None:
    made = model()
    item, state = torch.tensor([3]), made.initial_state()
    with torch.no_grad():
        exported = torch.export.export(DeviceStep(made), (item, *state))
        assert not exported.graph_signature.buffers_to_mutate
        assert len(exported.graph_signature.user_outputs) == 6
        eager, run = DeviceStep(made), exported.module()
        one = two = state
        for clicked in (3, 17, 8, 3, 39, 1, 22):  # across a roll-over of the mini-batch of 4
            user, *one = eager(torch.tensor([clicked]), *one)
            same, *two = run(torch.tensor([clicked]), *two)
            torch.testing.assert_close(same, user, atol=1e-5, rtol=1e-5)
        answer = made.correct(made.hidden(torch.tensor([[3, 17]])), torch.tensor([2]))
        corrected = CorrectedState.initial(made)
        inputs = (item, *corrected, *answer[:4])
        exported = torch.export.export(CorrectedDeviceStep(made), inputs)
        torch.testing.assert_close(exported.module()(*inputs)[0], CorrectedDeviceStep(made)(*inputs)[0])
