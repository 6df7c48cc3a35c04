"""Context values as vectors; a value that was never seen is the average of those that were."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

__all__ = ["ContextEmbedding"]


class ContextEmbedding(nn.Module):
    """One table per context field, joined side by side.

    Id 0 (unseen and rare values) has no parameters: it is the count-weighted mean of the others,
    ``E_0 = sum_j share_j E_j``, while training as well as afterwards.

    Args:
        sizes: Ids of each field, the 0 included.
        embedding_size: Width of each field's vector.

    Shapes:
        forward: ids int64 ``[N, F]`` -> ``[N, F * embedding_size]``.
    """

    def __init__(self, sizes: Sequence[int], embedding_size: int) -> None:
        super().__init__()
        self.sizes, self.embedding_size = tuple(sizes), embedding_size
        self.tables = nn.ParameterList([nn.Parameter(torch.empty(size - 1, embedding_size)) for size in sizes])
        for place, size in enumerate(sizes):
            self.register_buffer(f"shares_{place}", torch.empty(size - 1))

    @property
    def width(self) -> int:
        """Width of the joined vector."""
        return len(self.tables) * self.embedding_size

    def reset(self, counts: Sequence[Tensor], generator: torch.Generator, spread: float = 0.3) -> None:
        """Draw the vectors and note how often each value was seen."""
        with torch.no_grad():
            for place, (table, count) in enumerate(zip(self.tables, counts, strict=True)):
                table.normal_(0.0, spread, generator=generator)
                self.shares(place).copy_(count / count.sum().clamp(min=1e-12))

    def shares(self, place: int) -> Tensor:
        """Return the share of each value of field ``place`` among the rows that were fitted."""
        return self.get_buffer(f"shares_{place}")

    def forward(self, ids: Tensor) -> Tensor:
        """Look the vectors up."""
        parts = [ids.new_zeros((len(ids), 0), dtype=torch.get_default_dtype())] if not len(self.tables) else []
        for place, table in enumerate(self.tables):
            average = (self.shares(place).unsqueeze(0) @ table).reshape(1, -1)
            parts.append(functional.embedding(ids[:, place], torch.cat([average, table])))
        return torch.cat(parts, dim=1)
