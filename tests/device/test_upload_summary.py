"""The summaries of a device are those of the cloud."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palate.device.upload_summary import UploadSummary
from palate.errors import ConfigError
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig


@pytest.fixture
def model() -> CoCorrRec:
    torch.manual_seed(0)
    return CoCorrRec(30, CoCorrRecConfig(embedding_size=16, num_heads=2, mini_batch_size=4)).eval()


def weights(model: CoCorrRec) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def test_it_is_the_recurrence_of_the_cloud_at_every_prefix(model):
    hidden = model.hidden(torch.randint(1, 31, (1, 12))).detach() * 3
    both = torch.stack(model.gcn.summaries(hidden), 2)[0].detach().numpy()  # [N, 2, 64]
    summary = UploadSummary(weights(model))
    np.testing.assert_allclose(summary(hidden[0].numpy()), both[-1], atol=1e-6)
    state = summary.start()
    for place, row in enumerate(hidden[0].numpy()):
        state = summary.step(row, state)
        np.testing.assert_allclose(state, both[place], atol=1e-6)
    assert state.shape == (2, 64)
    assert state.dtype == np.float32


def test_large_states_do_not_overflow(model):
    with np.errstate(over="raise"):
        summaries = UploadSummary(weights(model))(np.full((3, 16), 1e4, np.float32))
    assert np.isfinite(summaries).all()


def test_weights_that_lack_or_do_not_fit_are_refused(model):
    base = CoCorrRec(30, CoCorrRecConfig(embedding_size=16, num_heads=2, mode="base"))
    with pytest.raises(ConfigError, match=r"gcn\.attention\.gru\.weight_ih_l0"):
        UploadSummary(weights(base))
    damaged = weights(model)
    damaged["gcn.bias.gru.bias_hh_l0"] = damaged["gcn.bias.gru.bias_hh_l0"][:-1]
    with pytest.raises(ConfigError, match="do not fit"):
        UploadSummary(damaged)
