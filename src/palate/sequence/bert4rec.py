"""BERT4Rec: fill in the masked items, looking both ways."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as functional
from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import Size
from palate.data.sequences import SequenceBatch
from palate.errors import ConfigError, TrainingError
from palate.registry import register
from palate.sequence.blocks import FeedForward, PositionEmbedding, attend, initialise, keep_last
from palate.sequence.dropout import Dropout
from palate.sequence.losses import softmax_loss
from palate.sequence.neural import NeuralConfig, NeuralModel

__all__ = ["BERT4Rec", "BERT4RecConfig"]


class BERT4RecConfig(NeuralConfig):
    """Settings of BERT4Rec.

    Attributes:
        max_length: Longest input, the masked place at its end included.
        num_layers: Transformer blocks.
        num_heads: Attention heads; must divide ``embedding_size``.
        hidden_factor: Width of the feed-forward layer over ``embedding_size``.
        mask_share: Share of items masked in training.
        last_share: Share of training rows in which only the last item is masked, as it is when scoring.
        loss: The model has a loss of its own, the softmax over all items at the masked places.
    """

    max_length: int = Field(50, ge=2)
    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)
    hidden_factor: int = Field(4, ge=1)
    mask_share: float = Field(0.2, gt=0, lt=1)
    last_share: float = Field(0.1, ge=0, le=1)
    loss: Literal["softmax"] = "softmax"

    # The published 0.02 leaves narrow models blind to positions for many epochs.
    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 32, "num_layers": 1, "num_heads": 1, "initial_std": 0.1},
        "small": {"embedding_size": 64, "num_layers": 2, "num_heads": 2, "initial_std": 0.1},
        "base": {"embedding_size": 64, "num_layers": 2, "num_heads": 2, "dropout": 0.1, "max_length": 200},
    }

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ConfigError(
                f"BERT4RecConfig: num_heads={self.num_heads} does not divide embedding_size={self.embedding_size}."
            )
        return self


class BidirectionalBlock(nn.Module):
    """Self-attention in which every real position sees every other, and a feed-forward layer; norms after.

    Equation:
        x <- LN(x + dropout(attention(x)));  x <- LN(x + dropout(feed_forward(x)))

    Shapes:
        x ``[B, L, D]``, real bool ``[B, L]`` -> ``[B, L, D]``.
    """

    def __init__(self, size: int, num_heads: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.inputs = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.attention_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, hidden_size, dropout)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Return the new states; padding is not seen."""
        batch, length, width = x.shape
        shape = (batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = self.inputs(x).view(shape).permute(2, 0, 3, 1, 4)
        share = self.dropout.p if self.training else 0.0
        mixed = attend(query, key, value, seen=real[:, None, None, :], dropout_share=share)
        x = self.attention_norm(x + self.dropout(self.output(mixed.transpose(1, 2).reshape(batch, length, width))))
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return out


@register("next-item", "bert4rec", source="Sun et al., CIKM 2019, arXiv 1904.06690")
class BERT4Rec(NeuralModel):
    """Sequential recommendation with bidirectional self-attention.

    Equation:
        training: each item, the target of the last position included, is masked with probability ``mask_share``;
        state at a masked place = LN(gelu(W x + b));  loss = softmax cross-entropy with its item
        scoring: a mask is put after the history;  score(j) = <state at the mask, e_j> + b_j

    Masks are drawn from torch's generator, so they differ from epoch to epoch.

    Shapes:
        encode: items ``[B, L]`` -> ``[B, L, D]``: the state at ``t`` is that of a mask after items 1..t.

    Example:
        >>> BERT4Rec(100).eval().score(torch.tensor([[3, 7]]), torch.tensor([2])).shape
        torch.Size([1, 101])
    """

    Config = BERT4RecConfig
    config: BERT4RecConfig

    def __init__(self, num_items: int, config: BERT4RecConfig | None = None) -> None:
        config = config or BERT4RecConfig.sized("tiny")
        size = config.embedding_size
        super().__init__(num_items, config, state_size=size + 1)
        self.mask = nn.Parameter(torch.randn(size) * config.initial_std)
        self.position = PositionEmbedding(config.max_length, size)
        self.input_norm = nn.LayerNorm(size)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            BidirectionalBlock(size, config.num_heads, config.hidden_factor * size, config.dropout)
            for _ in range(config.num_layers)
        )
        self.head = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))
        self.item_bias = nn.Parameter(torch.zeros(num_items + 1, 1))
        self.apply(partial(initialise, std=config.initial_std))

    def output_table(self) -> Tensor:
        """Return item vectors with their biases as a last column, ``[V + 1, D + 1]``."""
        return torch.cat([self.item_embedding.weight, self.item_bias], 1)

    def fill(self, items: Tensor, masked: Tensor, real: Tensor) -> Tensor:
        """Return the states of all places ``[B, L, D + 1]`` where ``masked`` hides items among the ``real``."""
        x = torch.where(masked[..., None], self.mask, self.item_embedding(items))
        x = self.dropout(self.input_norm(x + self.position(items.shape[1])))
        for block in self.blocks:
            x = block(x, real)
        x = self.head(x)
        return torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)  # the last column meets the item biases

    def state(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state at a mask after each history, ``[B, D + 1]``; ``start`` for an empty one."""
        items, lengths = keep_last(items, lengths, self.config.max_length - 1)
        places = torch.arange(items.shape[1] + 1, device=items.device)
        states = self.fill(functional.pad(items, (0, 1)), places == lengths[:, None], places <= lengths[:, None])
        at_mask = states[torch.arange(len(items), device=items.device), lengths]
        return torch.where((lengths > 0)[:, None], at_mask, self.start)

    def encode(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the state after each prefix, one pass per position; for looking in, not for training."""
        prefixes = [self.state(items[:, : t + 1], lengths.clamp(max=t + 1)) for t in range(items.shape[1])]
        return torch.stack(prefixes, 1)

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Return the mean cross-entropy at the masked places.

        Raises:
            TrainingError: If the batch has no targets.
        """
        if batch.targets is None:
            raise TrainingError("The batch has no targets.", remedy="Take batches from a SequenceSource.")
        items, lengths = self._with_last_target(batch)
        real = items > 0
        masked = self._draw_masks(real, lengths)
        states = self.fill(items, masked, real)[masked]
        table = self.output_table()
        loss = softmax_loss(states, table, items[masked])
        beginning = self.beginning(table.detach(), batch.items[batch.lengths > 0, 0])
        return loss + (beginning - beginning.detach())

    def _with_last_target(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Return the items of each row followed by the target of its last position."""
        assert batch.targets is not None, "checked by the caller"
        items, lengths = functional.pad(batch.items, (0, 1)), batch.lengths
        last = batch.targets.gather(1, (lengths - 1).clamp(min=0)[:, None])
        items = items.scatter(1, lengths[:, None], torch.where(lengths[:, None] > 0, last, 0))
        return keep_last(items, (items > 0).sum(1), self.config.max_length)

    def _draw_masks(self, real: Tensor, lengths: Tensor) -> Tensor:
        """Return what is hidden, bool ``[B, L]``: at least the last item of every row that would have none."""
        shape, device = real.shape, real.device
        last = torch.arange(shape[1], device=device) == lengths[:, None] - 1
        masked = (torch.rand(shape, device=device) < self.config.mask_share) & real
        only_last = torch.rand(shape[0], 1, device=device) < self.config.last_share
        return torch.where(only_last | ~masked.any(1, keepdim=True), last, masked)
