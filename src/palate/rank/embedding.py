"""Fields -> vectors: one fused table, one gather.

Choices made here:

* All ids share one table, so a batch costs one gather of ``[B, F]`` ids and no concatenation of ``F`` tensors.
* Every field's PAD reads the table's padding row, which torch keeps at zero and gives no gradient. The PAD rows of
  the other fields are never read, so they too stay zero whatever the optimiser does.
* Pooling a sequence by a masked sum is then a plain sum, because PAD adds zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from palate.data.features import FeatureSpec, FieldSpec, RankBatch
from palate.errors import ConfigError, DataError

__all__ = ["FieldEmbedding", "LinearTerm"]


class FieldEmbedding(nn.Module):
    r"""Embed every field of a batch into ``D`` numbers.

    .. math::
        e_f = \begin{cases}
            E[\mathrm{id}_f]                       & \text{categorical} \\
            x_f\, w_f                              & \text{numeric, a bias-free Linear}(1, D) \\
            \sum_{t:\ \mathrm{id}_{f,t} \ne \mathrm{PAD}} E[\mathrm{id}_{f,t}] & \text{sequence} \\
            P_f\, v_f[\mathrm{id}_f]               & \text{vector: frozen } v_f \text{, bias-free } P_f
        \end{cases}

    Args:
        spec: The fields, in the order of the output.
        embedding_size: Width ``D`` of every field, at least 1.
        init_std: Standard deviation of the table at the start; PAD rows are zero.
        vectors: For each ``vector`` field its frozen matrix ``[rows, dimensions]``, row 0 meaning "none". A field
            left out keeps NaN until ``load_state_dict`` brings its rows, so that a forgotten matrix stops the first
            batch instead of passing for zeros.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> float32 ``[B, F, D]``.

    Raises:
        ConfigError: If a width is below 1, or ``vectors`` does not fit the spec.
        DataError: If a batch does not have the columns of the spec.

    Example:
        >>> spec = FeatureSpec.from_sizes(user=10, item=20)
        >>> FieldEmbedding(spec, 8)(RankBatch(ids=torch.tensor([[1, 11], [2, 12], [0, 10]]))).shape
        torch.Size([3, 2, 8])
    """

    pads: Tensor
    order: Tensor

    def __init__(
        self,
        spec: FeatureSpec,
        embedding_size: int,
        *,
        init_std: float = 1e-4,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if embedding_size < 1:
            raise ConfigError(f"embedding_size is {embedding_size}.", remedy="It must be at least 1.")
        self.spec = spec
        self.embedding_size = embedding_size
        self._categorical = spec.of_kind("categorical")
        self._numeric = spec.of_kind("numeric")
        self._sequence = spec.of_kind("sequence")
        self._vector = spec.of_kind("vector")

        pads = [f.offset for f in (*self._categorical, *self._sequence)]
        self.register_buffer("pads", torch.tensor(pads, dtype=torch.int64), persistent=False)
        self._padding_row = min(pads, default=0)
        self.table = nn.Embedding(
            spec.num_ids,
            embedding_size,
            padding_idx=self._padding_row if pads else None,
            _weight=torch.empty(spec.num_ids, embedding_size),  # drawn once, below
        )

        self.numeric_weight = nn.Parameter(torch.empty(len(self._numeric), embedding_size)) if self._numeric else None
        self.projections = nn.ModuleList(nn.Linear(f.dimensions, embedding_size, bias=False) for f in self._vector)
        for index, matrix in enumerate(_matrices(self._vector, vectors or {})):
            self.register_buffer(f"vectors_{index}", matrix)

        grouped = [*self._categorical, *self._numeric, *self._sequence, *self._vector]
        places = {f.name: place for place, f in enumerate(grouped)}
        order = [places[f.name] for f in spec.fields]
        self._in_order = order == list(range(len(order)))
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64), persistent=False)
        self.reset_parameters(init_std)

    def reset_parameters(self, init_std: float) -> None:
        """Draw the table from N(0, ``init_std``^2) with zero PAD rows, and the linear maps Xavier normal."""
        with torch.no_grad():
            self.table.weight.normal_(0.0, init_std)
            self.table.weight[self.pads] = 0.0
            if self.numeric_weight is not None:
                # Xavier normal of a Linear(1, D): variance 2 / (fan_in + fan_out).
                self.numeric_weight.normal_(0.0, math.sqrt(2.0 / (1 + self.embedding_size)))
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            nn.init.xavier_normal_(projection.weight)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return the field vectors ``[B, F, D]`` in field order."""
        self._check(batch)
        parts: list[Tensor] = []
        vectors, pooled = self._look_up(batch)
        if self._categorical:
            parts.append(vectors)
        if self.numeric_weight is not None:
            assert batch.numeric is not None
            parts.append(batch.numeric.unsqueeze(-1) * self.numeric_weight)
        if pooled:
            parts.append(torch.stack(pooled, dim=1))
        if self._vector:
            assert batch.vectors is not None
            columns = enumerate(zip(self.projections, batch.vectors.unbind(1), strict=True))
            parts.append(torch.stack([p(getattr(self, f"vectors_{i}")[rows]) for i, (p, rows) in columns], dim=1))
        fields = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return fields if self._in_order else fields.index_select(1, self.order)

    def _look_up(self, batch: RankBatch) -> tuple[Tensor, list[Tensor]]:
        """Return the vectors of the categorical fields ``[B, F_c, D]`` and the sum of each sequence ``[B, D]``."""
        known = len(self._categorical)
        ids = [self._own_padding(batch.ids, self.pads[:known])]
        shared: dict[int, Tensor] = {}
        for place, (sequence, pad) in enumerate(zip(batch.sequences, self.pads[known:], strict=True)):
            if sequence.stride(0) == 0:  # a view of one row for all: looked up and summed once
                one = self.table(self._own_padding(sequence[:1], pad)).sum(dim=1)
                shared[place] = one.expand(len(batch), -1)
            else:
                ids.append(self._own_padding(sequence, pad))
        if len(ids) == 1:  # no split, whose gradient would copy everything once more
            return self.table(ids[0]), list(shared.values())
        looked_up = torch.split(self.table(torch.cat(ids, dim=1)), [each.shape[1] for each in ids], dim=1)
        sums = (positions.sum(dim=1) for positions in looked_up[1:])
        return looked_up[0], [shared[place] if place in shared else next(sums) for place in range(len(batch.sequences))]

    def _own_padding(self, ids: Tensor, pads: Tensor) -> Tensor:
        # The field's own PAD row becomes the padding row: compare B x F integers, not B x F x D numbers.
        return torch.where(ids == pads, self._padding_row, ids)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # A model built without its frozen vectors takes their number of rows from the saved ones.
        for index in range(len(self._vector)):
            saved = state_dict.get(f"{prefix}vectors_{index}")
            if saved is not None:
                setattr(self, f"vectors_{index}", torch.empty_like(saved, device=self.pads.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check(self, batch: RankBatch) -> None:
        widths = (
            ("ids", batch.ids.shape[1], len(self._categorical)),
            ("numeric", 0 if batch.numeric is None else batch.numeric.shape[1], len(self._numeric)),
            ("vectors", 0 if batch.vectors is None else batch.vectors.shape[1], len(self._vector)),
            ("sequences", len(batch.sequences), len(self._sequence)),
        )
        for part, found, expected in widths:
            if found != expected:
                raise DataError(
                    f'The batch has {found} columns in "{part}"; the model was built for {expected}.',
                    remedy="Build batches and model from the same FeatureSpec.",
                )

    def extra_repr(self) -> str:
        """Return the sizes shown by ``repr``."""
        return f"fields={self.spec.num_fields}, ids={self.spec.num_ids}, embedding_size={self.embedding_size}"


class LinearTerm(nn.Module):
    r"""The linear (wide) part: a weight per id, a weight per numeric field, and a bias.

    .. math:: z = b + \sum_f w_f[\mathrm{id}_f] + \sum_{f\ \mathrm{numeric}} w_f x_f

    Args:
        spec: The fields.
        init_std: Standard deviation of the weights at the start.
        vectors: Frozen matrices of ``vector`` fields, as for :class:`FieldEmbedding`.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> float32 ``[B]``.

    Example:
        >>> LinearTerm(FeatureSpec.from_sizes(user=10, item=20))(RankBatch(ids=torch.tensor([[1, 11]]))).shape
        torch.Size([1])
    """

    def __init__(
        self, spec: FeatureSpec, *, init_std: float = 1e-4, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.weights = FieldEmbedding(spec, 1, init_std=init_std, vectors=vectors)
        self.bias = nn.Parameter(torch.zeros(1))
        if self.weights.numeric_weight is not None:
            nn.init.normal_(self.weights.numeric_weight, std=init_std)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return the linear term ``[B]``."""
        total: Tensor = self.weights(batch).sum(dim=(1, 2)) + self.bias
        return total


def _matrices(fields: tuple[FieldSpec, ...], vectors: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the frozen matrix of each vector field, with a zero row 0."""
    unknown = sorted(set(vectors) - {f.name for f in fields})
    if unknown:
        raise ConfigError(f'"{unknown[0]}" is not a vector field of the spec.')
    matrices = []
    for f in fields:
        given = vectors.get(f.name)
        if given is None:
            matrix = torch.full((max(f.size, 1), f.dimensions), math.nan)
        elif given.ndim != 2 or given.shape[1] != f.dimensions:
            raise ConfigError(
                f'The vectors of field "{f.name}" have shape {list(given.shape)}; [rows, {f.dimensions}] is expected.'
            )
        else:
            matrix = given.detach().to(torch.float32).clone()
        matrix[0] = 0.0
        matrices.append(matrix)
    return matrices
