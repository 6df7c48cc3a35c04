r"""The encoder of BERT, in evaluation: tokens to hidden states.

.. math::
    x &= \mathrm{LN}(\mathrm{token} + \mathrm{position} + \mathrm{segment}) \\
    x &\leftarrow \mathrm{LN}(x + W_o\,\mathrm{attention}(x)) \\
    x &\leftarrow \mathrm{LN}(x + W_2\,\mathrm{gelu}(W_1 x)), \quad \text{layer by layer}

Sources:
    Devlin et al., NAACL 2019; the small student MiniLM, Wang et al., arXiv 2002.10957.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from palate.config import Config
from palate.errors import DataError

__all__ = ["BertConfig", "BertEncoder"]

# Names of the published weights, and ours.
_NAMES = {
    "embeddings.word_embeddings": "tokens",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "mix",
    "attention.output.LayerNorm": "mix_norm",
    "intermediate.dense": "widen",
    "output.dense": "narrow",
    "output.LayerNorm": "narrow_norm",
}


class BertConfig(Config):
    """Shape of the encoder.

    Attributes:
        vocabulary: Tokens.
        embedding_size: Width ``D``.
        num_layers: Layers.
        num_heads: Heads; they divide the width.
        hidden_size: Width within a layer's second half.
        positions: Longest text in tokens.
        epsilon: What keeps layer norms from dividing by zero.
    """

    vocabulary: int = Field(ge=1)
    embedding_size: int = Field(ge=1)
    num_layers: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    positions: int = Field(ge=1)
    epsilon: float = Field(1e-12, gt=0)


class BertEncoder(nn.Module):
    """Hidden states of every token.

    Shapes:
        tokens int ``[B, L]``, mask bool ``[B, L]`` (``True`` for tokens, ``False`` for padding) -> ``[B, L, D]``.

    Example:
        >>> import torch
        >>> small = dict(embedding_size=8, num_layers=1, num_heads=2, hidden_size=16)
        >>> encoder = BertEncoder(BertConfig(vocabulary=10, positions=4, **small))
        >>> encoder(torch.tensor([[1, 2, 0]]), torch.tensor([[True, True, False]])).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embedding_size
        self.tokens = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Embedding(config.positions, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, config.epsilon)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        hidden: Tensor = self.norm(x)
        for layer in self.layers:
            hidden = layer(hidden, mask[:, None, None, :])
        return hidden

    @classmethod
    def load(cls, folder: Path) -> BertEncoder:
        """Read ``config.json`` and ``model.safetensors`` of a published encoder.

        Raises:
            DataError: If they are missing, are of another architecture, or do not fit one another.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            told: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            weights = load_file(folder / "model.safetensors")
            encoder = cls(_config(told))
            encoder.load_state_dict({ours: value for name, value in weights.items() if (ours := _renamed(name))})
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise DataError(f"{folder} holds no BERT encoder that can be read: {error}.") from None
        return encoder.eval()


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, self.heads = config.embedding_size, config.num_heads
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.mix_norm = nn.LayerNorm(width, config.epsilon)
        self.widen, self.narrow = nn.Linear(width, config.hidden_size), nn.Linear(config.hidden_size, width)
        self.narrow_norm = nn.LayerNorm(width, config.epsilon)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self._projections())
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.mix_norm(x + self.mix(attended.transpose(1, 2).flatten(2)))
        out: Tensor = self.narrow_norm(x + self.narrow(functional.gelu(self.widen(x))))
        return out

    def _projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.query, self.key, self.value


def _config(told: dict[str, Any]) -> BertConfig:
    if told.get("model_type") != "bert" or told.get("hidden_act") != "gelu":
        raise ValueError(
            f"it is of type {told.get('model_type')!r} with {told.get('hidden_act')!r}, not bert with gelu"
        )
    return BertConfig(
        vocabulary=told["vocab_size"],
        embedding_size=told["hidden_size"],
        num_layers=told["num_hidden_layers"],
        num_heads=told["num_attention_heads"],
        hidden_size=told["intermediate_size"],
        positions=told["max_position_embeddings"],
        epsilon=told["layer_norm_eps"],
    )


def _renamed(name: str) -> str:
    """Return our name of a published weight; empty for what the encoder does not have."""
    name = name.removeprefix("bert.")
    if name.startswith(("pooler.", "cls.")) or name.endswith("position_ids"):
        return ""
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name
