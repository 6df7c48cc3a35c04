"""GRU4Rec: a recurrent network reads the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from palate.config import Size
from palate.registry import register
from palate.sequence.blocks import initialise
from palate.sequence.dropout import Dropout
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["GRU4Rec", "GRU4RecConfig"]


class GRU4RecConfig(NeuralConfig):
    """Settings of GRU4Rec.

    Attributes:
        hidden_size: Width of the recurrent state; ``None`` means ``embedding_size``.
        num_layers: Recurrent layers.
    """

    hidden_size: int | None = Field(None, ge=1)
    num_layers: int = Field(1, ge=1)

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32},
        "small": {"embedding_size": 64, "hidden_size": 128},
        "base": {"embedding_size": 128, "hidden_size": 256, "dropout": 0.3},
    }


@register("next-item", "gru4rec", source="Hidasi et al., ICLR 2016; Hidasi and Karatzoglou, CIKM 2018")
class GRU4Rec(NeuralModel):
    """Session-based recommendation with a gated recurrent network.

    Equation:
        h_t = GRU(dropout(e(i_t)), h_{t-1});  state_t = W dropout(h_t);  score(j) = <state_t, e_j>

    ``W`` is there only if the recurrent state has another width than the item vectors. Losses of the papers:
    ``softmax`` (cross-entropy) and ``bpr-max``.

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``.

    Example:
        >>> import torch
        >>> GRU4Rec(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = GRU4RecConfig
    config: GRU4RecConfig

    def __init__(self, num_items: int, config: GRU4RecConfig | None = None) -> None:
        config = config or GRU4RecConfig.sized("tiny")
        super().__init__(num_items, config)
        size, hidden = config.embedding_size, config.hidden_size or config.embedding_size
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(size, hidden, config.num_layers, batch_first=True)
        self.output: nn.Module = nn.Linear(hidden, size) if hidden != size else nn.Identity()
        initialise(self.item_embedding, config.initial_std)
        for name, weight in self.gru.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(weight)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(weight)

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state of every position, ``[B, L, D]``."""
        hidden, _ = self.gru(self.dropout(self.item_embedding(items)))
        states: Tensor = self.output(self.dropout(hidden))
        return states
