"""What a ranking model sees: fields, their place in the fused embedding table, and batches of rows.

All categorical ids live in one index space ``[0, num_ids)``: field ``f`` owns the rows
``[offset_f, offset_f + size_f)`` of a single embedding table. Inside its range, row 0 is PAD (zero, never
trained), rows 1..K are the tokens of the training part by falling count, and the last row is OOV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from palate.config import Config
from palate.errors import ConfigError, UnknownNameError

__all__ = ["FeatureSpec", "FieldSpec", "RankBatch"]

FieldKind = Literal["categorical", "numeric", "sequence", "vector"]


class FieldSpec(Config):
    """One input field of a ranking model.

    Attributes:
        name: Column it comes from.
        kind: ``categorical`` (one id), ``numeric`` (one float), ``sequence`` (padded ids, pooled by a masked sum)
            or ``vector`` (an id that looks up a frozen, pretrained vector).
        size: Number of ids, PAD and OOV included (0 for numeric fields); of a vector field, the rows of its matrix,
            which is not part of the fused table.
        offset: First row in the fused table (0 for numeric fields). A field with ``shares`` has the other's offset.
        length: Padded length of a sequence (0 otherwise).
        dimensions: Width of the pretrained vector (0 otherwise).
        shares: Name of the field whose vocabulary and embeddings it uses, for example a history of items.
    """

    name: str
    kind: FieldKind
    size: int = 0
    offset: int = 0
    length: int = 0
    dimensions: int = 0
    shares: str | None = None


class FeatureSpec(Config):
    """The fields of a model in order, and the size of the fused table.

    The input vector of a model is the concatenation of the field embeddings in *this* order (field-major).
    """

    fields: tuple[FieldSpec, ...]

    @property
    def num_ids(self) -> int:
        """Rows of the fused embedding table."""
        return sum(f.size for f in self.of_kind("categorical", "sequence") if f.shares is None)

    @property
    def num_fields(self) -> int:
        """Number of fields ``F``."""
        return len(self.fields)

    def of_kind(self, *kinds: FieldKind) -> tuple[FieldSpec, ...]:
        """Return the fields of the given kinds, in order."""
        return tuple(f for f in self.fields if f.kind in kinds)

    def __getitem__(self, name: str) -> FieldSpec:
        for spec in self.fields:
            if spec.name == name:
                return spec
        raise UnknownNameError.among("field", name, (f.name for f in self.fields))

    @classmethod
    def from_sizes(cls, **sizes: int) -> Self:
        """Return a spec of categorical fields with the given numbers of ids (PAD and OOV included).

        Example:
            >>> FeatureSpec.from_sizes(user=10, item=20).num_ids
            30
        """
        if any(size < 2 for size in sizes.values()):
            raise ConfigError("Every field needs at least 2 ids: PAD and OOV.")
        fields, offset = [], 0
        for name, size in sizes.items():
            fields.append(FieldSpec(name=name, kind="categorical", size=size, offset=offset))
            offset += size
        return cls(fields=tuple(fields))


@dataclass(frozen=True, slots=True)
class RankBatch:
    """Rows for a ranking model.

    Shapes:
        ids: int64 ``[B, F_categorical]``, rows of the fused table (offset included), in field order.
        numeric: float32 ``[B, F_numeric]``, in field order.
        sequences: one int64 ``[B, L]`` per sequence field, rows of the fused table, 0-padded at the left with
            the PAD row of its field (``offset``).
        vectors: int64 ``[B, F_vector]``, rows of the pretrained matrix of each vector field (0 = none).
        labels: float32 ``[B]`` or ``None``.
        weights: float32 ``[B]`` or ``None``.
        users: int64 ``[B]``, the group of each row for GAUC, or ``None``.
    """

    ids: Tensor
    numeric: Tensor | None = None
    sequences: tuple[Tensor, ...] = ()
    vectors: Tensor | None = None
    labels: Tensor | None = None
    weights: Tensor | None = None
    users: Tensor | None = None

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    def to(self, device: torch.device | str) -> RankBatch:
        """Return the batch on ``device``."""
        return self._map(lambda tensor: tensor.to(device))

    def rows(self, start: int, stop: int) -> RankBatch:
        """Return rows ``start`` to ``stop`` as views."""
        return self._map(lambda tensor: tensor[start:stop])

    def _map(self, change: Callable[[Tensor], Tensor]) -> RankBatch:
        def optional(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return RankBatch(
            ids=change(self.ids),
            numeric=optional(self.numeric),
            sequences=tuple(change(sequence) for sequence in self.sequences),
            vectors=optional(self.vectors),
            labels=optional(self.labels),
            weights=optional(self.weights),
            users=optional(self.users),
        )
