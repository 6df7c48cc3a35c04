"""Pieces that several sequence models share. Each takes and returns ``[B, L, D]`` and never looks ahead."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.sequence.dropout import Dropout, dropout

__all__ = [
    "CausalSelfAttention",
    "FeedForward",
    "PositionEmbedding",
    "RMSNorm",
    "TransformerBlock",
    "attend",
    "initialise",
    "keep_last",
    "last_state",
    "running_mean",
]


def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Draw linear and embedding weights from N(0, std), and set their biases and the padding row to 0.

    For use with ``Module.apply``: ``model.apply(initialise)``.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=std)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def keep_last(items: Tensor, lengths: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
    """Return the last ``max_length`` items of each row, right-padded as before, and the new lengths.

    Example:
        >>> keep_last(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1]), 2)
        (tensor([[2, 3],
                [4, 0]]), tensor([2, 1]))
    """
    if items.shape[1] <= max_length:
        return items, lengths
    kept = lengths.clamp(max=max_length)
    column = torch.arange(max_length, device=items.device)[None, :]
    place = (lengths - kept)[:, None] + column
    return items.gather(1, place).masked_fill(column >= kept[:, None], 0), kept


def last_state(states: Tensor, lengths: Tensor) -> Tensor:
    """Return the state at the last real position of each row, ``[B, D]`` (the first one for an empty row)."""
    place = (lengths - 1).clamp(min=0)
    return states[torch.arange(len(states), device=states.device), place]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = False,
    seen: Tensor | None = None,
    dropout_share: float = 0.0,
) -> Tensor:
    """Return softmax attention, ``[B, h, L, d]``.

    Equation:
        softmax(Q K^T / sqrt(d) + mask) V

    Args:
        query: ``[B, h, L, d]``.
        key: ``[B, h, L, d]``.
        value: ``[B, h, L, d]``.
        causal: Let a position see itself and what came before only.
        seen: bool, broadcast to ``[B, h, L, L]``: what may be seen; not together with ``causal``.
        dropout_share: Share of attention weights to drop.
    """
    if dropout_share == 0.0 or query.device.type != "cpu":
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=dropout_share, is_causal=causal
        )
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        places = torch.arange(query.shape[-2], device=query.device)
        seen = places[:, None] >= places
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return dropout(scores.softmax(-1), dropout_share) @ value


class PositionEmbedding(nn.Module):
    """A learned vector per position, counted from the first kept item.

    Shapes:
        ``length`` -> ``[length, D]``.
    """

    def __init__(self, max_length: int, embedding_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, embedding_size)

    def forward(self, length: int) -> Tensor:
        """Return the vectors of the first ``length`` positions."""
        return self.table.weight[:length]


class RMSNorm(nn.Module):
    """Scale by the root mean square.

    Equation:
        y = g * x / sqrt(mean(x^2) + eps)
    """

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised ``x``, same shape."""
        return self.gain * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a position sees itself and what came before.

    Equation:
        head = softmax(Q K^T / sqrt(d) + mask) V,  mask = -inf above the diagonal

    With padding at the right, the mask alone keeps padding out of every real position.
    """

    def __init__(self, embedding_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.inputs = nn.Linear(embedding_size, 3 * embedding_size)
        self.output = nn.Linear(embedding_size, embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed states, ``[B, L, D]``."""
        batch, length, width = x.shape
        shape = (batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = self.inputs(x).view(shape).permute(2, 0, 3, 1, 4)
        mixed = attend(query, key, value, causal=True, dropout_share=self.dropout if self.training else 0.0)
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class FeedForward(nn.Module):
    """Two linear layers with an activation between them.

    Equation:
        y = W2 dropout(act(W1 x + b1)) + b2
    """

    def __init__(self, size: int, hidden_size: int, dropout: float, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, hidden_size), activation(), Dropout(dropout), nn.Linear(hidden_size, size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed ``x``, same shape."""
        out: Tensor = self.layers(x)
        return out


class TransformerBlock(nn.Module):
    """Causal self-attention and a feed-forward layer, each with a norm before, a residual around, and dropout.

    Equation:
        x <- x + dropout(attention(LN(x)))
        x <- x + dropout(feed_forward(LN(x)))
    """

    def __init__(self, size: int, num_heads: int, hidden_size: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size)
        self.attention = CausalSelfAttention(size, num_heads, attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.feed_forward = FeedForward(size, hidden_size, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new states, ``[B, L, D]``."""
        mixed: Tensor = x + self.dropout(self.attention(self.attention_norm(x)))
        out: Tensor = mixed + self.dropout(self.feed_forward(self.feed_forward_norm(mixed)))
        return out


def running_mean(vectors: Tensor) -> Tensor:
    """Return the mean of the vectors up to each position, ``[B, L, D]``.

    Example:
        >>> running_mean(torch.tensor([[[2.0], [4.0]]])).tolist()
        [[[2.0], [3.0]]]
    """
    counts = torch.arange(1, vectors.shape[1] + 1, device=vectors.device, dtype=vectors.dtype)
    return vectors.cumsum(1) / counts[:, None]
