"""LinRec: linear attention against its definition."""

from __future__ import annotations

import pytest
import torch

from palate.errors import ConfigError
from palate.sequence.linrec import LinRecConfig, causal_linear_attention


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


def test_linrec_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="does not divide"):
        LinRecConfig(embedding_size=10, num_heads=4)
