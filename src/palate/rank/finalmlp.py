"""FinalMLP: two plain towers on two differently weighted views of a row, multiplied at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, FieldKind, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import MLP, LogitHead
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["BilinearFusion", "FeatureGate", "FinalMLP", "FinalMLPConfig"]


class FinalMLPConfig(TowerConfig):
    """Settings of :class:`FinalMLP`; ``base`` is the one of the BARS benchmark on Criteo.

    Besides those of :class:`~palate.rank.tower.TowerConfig`:

    Attributes:
        hidden: Widths of the first tower.
        dropout: Share of its hidden units zeroed in training.
        second_hidden: Widths of the second tower.
        second_dropout: Share of its hidden units zeroed in training.
        num_heads: Heads of the fusion; divides the last width of both towers.
        gate: Weight the input of each tower by a gate.
        gate_hidden: Widths of the hidden layers of the gates.
        context: Names of the fields that decide the first gate, for example those of the user; empty for one
            learned weighting for all rows.
        second_context: The same for the second gate, for example the fields of the item.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32), "second_hidden": (32,), "gate_hidden": (16,)},
        "small": {},
        "base": {
            "hidden": (1000,) * 5,
            "dropout": 0.2,
            "second_hidden": (500,),
            "second_dropout": 0.1,
            "num_heads": 50,
            "gate": False,
        },
    }

    second_hidden: tuple[PositiveInt, ...] = Field((400,), min_length=1)
    second_dropout: float = Field(0.1, ge=0, lt=1)
    num_heads: int = Field(2, ge=1)
    gate: bool = True
    gate_hidden: tuple[PositiveInt, ...] = (64,)
    context: tuple[str, ...] = ()
    second_context: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _heads_fit(self) -> FinalMLPConfig:
        for width in (self.hidden[-1], self.second_hidden[-1]):
            if width % self.num_heads:
                raise ConfigError(
                    f"num_heads is {self.num_heads} and a tower ends with {width}.",
                    remedy="num_heads must divide the last width of both towers.",
                )
        return self


class FeatureGate(nn.Module):
    r"""A weight for every coordinate of the input, decided by some fields of the row.

    .. math:: g = 2\,\sigma(\mathrm{MLP}(c)), \qquad c = [e'_f]_{f \in \mathrm{context}} \text{ or a learned vector}

    ``e'`` is an embedding of the context fields of its own. Without context fields ``c`` is one learned vector,
    and the gate is the same for all rows. That vector starts small and not, as in the public code, at zero, where
    with zero biases ReLU passes no gradient and the gate could never learn through it.

    Args:
        spec: All fields.
        context: Names of the fields that decide.
        embedding_size: Width of their embedding.
        hidden: Widths of the hidden layers of the gate.
        out_features: Width ``d`` of what is weighted.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> ``[B, d]``, or ``[1, d]`` without context.

    Raises:
        UnknownNameError: If a context field is not in the spec.

    Example:
        >>> spec = FeatureSpec.from_sizes(user=10, item=20)
        >>> gate = FeatureGate(spec, ("item",), 4, (8,), 6)
        >>> gate(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        spec: FeatureSpec,
        context: tuple[str, ...],
        embedding_size: int,
        hidden: tuple[int, ...],
        out_features: int,
        *,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.context = _ContextEmbedding(spec, context, embedding_size, vectors or {}) if context else None
        if self.context is None:
            self.constant = nn.Parameter(torch.empty(1, embedding_size).normal_(std=1e-4))
        self.mlp = MLP(embedding_size * max(1, len(context)), hidden, out_features=out_features)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return the weights ``[B, d]`` or ``[1, d]``, each in (0, 2)."""
        context = self.constant if self.context is None else self.context(batch)
        gate: Tensor = self.mlp(context)
        return 2 * gate.sigmoid()


class _ContextEmbedding(nn.Module):
    """Embed some fields of a batch with a table that holds their ids alone."""

    id_shift: Tensor

    def __init__(
        self, spec: FeatureSpec, names: tuple[str, ...], embedding_size: int, vectors: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        chosen = [spec[name] for name in names]
        own, offset = [], 0
        for f in chosen:
            in_table = f.kind in ("categorical", "sequence")
            own.append(f.replace(offset=offset, shares=None) if in_table else f)
            offset += f.size if in_table else 0

        def places(kind: FieldKind) -> list[int]:
            return [spec.of_kind(kind).index(f) for f in chosen if f.kind == kind]

        def shifts(kind: FieldKind) -> list[int]:
            return [new.offset - old.offset for new, old in zip(own, chosen, strict=True) if old.kind == kind]

        self._ids, self._numeric = places("categorical"), places("numeric")
        self._sequences, self._vectors = places("sequence"), places("vector")
        self._sequence_shifts = shifts("sequence")
        self.register_buffer("id_shift", torch.tensor(shifts("categorical"), dtype=torch.int64), persistent=False)
        self.embedding = FieldEmbedding(
            FeatureSpec(fields=tuple(own)),
            embedding_size,
            vectors={f.name: vectors[f.name] for f in chosen if f.name in vectors},
        )

    def forward(self, batch: RankBatch) -> Tensor:
        """Return the context ``[B, len(names) * D]``."""

        def columns(table: Tensor | None, places: list[int]) -> Tensor | None:
            return table[:, places] if table is not None and places else None

        sequences = zip(self._sequences, self._sequence_shifts, strict=True)
        chosen = RankBatch(
            ids=batch.ids[:, self._ids] + self.id_shift,
            numeric=columns(batch.numeric, self._numeric),
            sequences=tuple(batch.sequences[place] + shift for place, shift in sequences),
            vectors=columns(batch.vectors, self._vectors),
        )
        context: Tensor = self.embedding(chosen)
        return context.flatten(1)


class BilinearFusion(nn.Module):
    r"""Two vectors to one logit through their linear and their multi-head bilinear terms.

    .. math:: z = w_1^\top h_1 + w_2^\top h_2 + b + \sum_{k=1}^H h_1^{(k)\top} W_k\, h_2^{(k)}

    with ``h^(k)`` the ``k``-th of ``H`` equal slices. With more heads the bilinear part has fewer parameters:
    ``d_1 d_2 / H``.

    Args:
        first_size: Width ``d_1``.
        second_size: Width ``d_2``.
        num_heads: Number of heads ``H``; divides both.

    Shapes:
        forward: ``[B, d_1]``, ``[B, d_2]`` -> ``[B]``.

    Example:
        >>> BilinearFusion(4, 6, num_heads=2)(torch.zeros(3, 4), torch.zeros(3, 6)).shape
        torch.Size([3])
    """

    def __init__(self, first_size: int, second_size: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.first = LogitHead(first_size)
        self.second = LogitHead(second_size)
        self.bilinear = nn.Parameter(torch.empty(num_heads, first_size // num_heads, second_size // num_heads))
        # As in the authors' code: Xavier normal over all entries as one column.
        nn.init.xavier_normal_(self.bilinear.data.view(-1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return logits ``[B]``."""
        rows, heads = first.shape[0], self.num_heads
        mixed = torch.einsum("bhi,hij->bhj", first.view(rows, heads, -1), self.bilinear)
        linear: Tensor = self.first(first) + self.second(second)
        return linear + (mixed.flatten(1).float() * second.float()).sum(dim=1)


@register("ranker", "finalmlp", source='Mao et al., "FinalMLP", AAAI 2023')
class FinalMLP(Ranker):
    r"""Two towers on two gated views of the embeddings, fused bilinearly.

    .. math::
        h_1 = \mathrm{MLP}_1(g_1 \odot x_0), \qquad h_2 = \mathrm{MLP}_2(g_2 \odot x_0), \qquad
        z = \mathrm{fuse}(h_1, h_2)

    with ``g`` from :class:`FeatureGate` and ``fuse`` the :class:`BilinearFusion`. Two ordinary towers whose only
    product comes last: easy to serve, and hard to beat when tuned. Without tuning of the widths and heads
    ``dcnv2`` is the steadier choice.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If ``num_heads`` does not divide the last width of a tower.
        UnknownNameError: If a context field is not in the spec.

    Example:
        >>> config = FinalMLPConfig.sized("tiny", context=("user",), second_context=("item",))
        >>> model = FinalMLP(FeatureSpec.from_sizes(user=10, item=20), config)
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Mao, Zhu, Su, Cai, Li, Dong, "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023.
    """

    Config: ClassVar[type[ModelConfig]] = FinalMLPConfig

    def __init__(
        self, spec: FeatureSpec, config: FinalMLPConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        width = spec.num_fields * config.embedding_size
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)

        def gate(context: tuple[str, ...]) -> FeatureGate | None:
            if not config.gate:
                return None
            return FeatureGate(spec, context, config.embedding_size, config.gate_hidden, width, vectors=vectors)

        self.gate, self.second_gate = gate(config.context), gate(config.second_context)
        self.tower = make_tower(width, config)
        self.second_tower = MLP(
            width, config.second_hidden, dropout=config.second_dropout, batch_norm=config.batch_norm
        )
        self.fusion = BilinearFusion(
            self.tower.out_features, self.second_tower.out_features, num_heads=config.num_heads
        )

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        x_0 = self.embedding(batch).flatten(1)
        first = x_0 if self.gate is None else x_0 * self.gate(batch)
        second = x_0 if self.second_gate is None else x_0 * self.second_gate(batch)
        logits: Tensor = self.fusion(self.tower(first), self.second_tower(second))
        return logits
