"""Field-matrixed factorisation machine: every pair of fields has its own way to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.layers import LogitHead
from palate.registry import register

__all__ = ["FieldPairs", "FmFM", "FmFMConfig"]


class FmFMConfig(ModelConfig):
    """Settings of :class:`FmFM`.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        interaction: What a pair of fields owns: a ``matrix`` (FmFM), a ``vector`` (FvFM) or a ``scalar`` (FwFM).
        linear: First-order part: ``id`` (a weight per id), ``field`` (a vector per field against the embedding,
            FiLV) or ``feature`` (a second embedding per id against the first, FeLV).
    """

    sizes: ClassVar = {"tiny": {"embedding_size": 8}, "small": {}, "base": {}}

    embedding_size: int = Field(16, ge=1)
    interaction: Literal["matrix", "vector", "scalar"] = "matrix"
    linear: Literal["id", "field", "feature"] = "id"


class FieldPairs(nn.Module):
    r"""The weighted sum over all pairs of fields.

    .. math:: \sum_{f<g} e_f^\top M_{fg}\, e_g, \qquad
              M_{fg} = r_{fg} I \text{ (scalar)},\ \mathrm{diag}(r_{fg}) \text{ (vector)},\ \text{free (matrix)}

    The pairs are laid out as one strictly upper triangular table ``[F, F, ...]``, so that the sum over all of them
    is one matrix product and no ``[B, F (F - 1) / 2, D]`` tensor is ever made. The weights start as in the public
    implementation: Xavier normal over the whole table of pairs.

    Args:
        num_fields: Number of fields ``F``, at least 2.
        embedding_size: Width ``D``.
        interaction: ``matrix``, ``vector`` or ``scalar``.

    Shapes:
        forward: ``[B, F, D]`` -> ``[B]``.

    Raises:
        ConfigError: If there are fewer than two fields.

    Example:
        >>> FieldPairs(3, 4, "vector")(torch.zeros(2, 3, 4))
        tensor([0., 0.], grad_fn=<SumBackward1>)
    """

    pairs: Tensor
    _equations: ClassVar[dict[str, str]] = {
        "scalar": "bfd,fg->bgd",
        "vector": "bfd,fgd->bgd",
        "matrix": "bfd,fgde->bge",
    }

    def __init__(self, num_fields: int, embedding_size: int, interaction: str) -> None:
        super().__init__()
        if num_fields < 2:
            raise ConfigError("A pair needs at least two fields.", remedy='With one field, use "lr".')
        self.num_fields = num_fields
        self._equation = self._equations[interaction]
        self.register_buffer("pairs", torch.triu_indices(num_fields, num_fields, offset=1), persistent=False)
        width = {"scalar": (), "vector": (embedding_size,), "matrix": (embedding_size, embedding_size)}[interaction]
        self.weight = nn.Parameter(torch.empty(self.pairs.shape[1], *width))
        nn.init.xavier_normal_(self.weight if width else self.weight.data.unsqueeze(0))

    def forward(self, fields: Tensor) -> Tensor:
        """Return the sum over pairs ``[B]``."""
        table = self.weight.new_zeros(self.num_fields, self.num_fields, *self.weight.shape[1:])
        table = table.index_put((self.pairs[0], self.pairs[1]), self.weight)
        return (torch.einsum(self._equation, fields, table) * fields).sum(dim=(1, 2))


@register("ranker", "fmfm", source='Sun et al., "FM^2: Field-matrixed Factorization Machines", WWW 2021')
class FmFM(Ranker):
    r"""Factorisation machine with a matrix, a vector or a scalar per pair of fields.

    .. math:: z = \mathrm{linear}(x) + \sum_{f<g} e_f^\top M_{fg}\, e_g

    The strongest of the shallow models and the quickest to serve: no tower, one matrix product. It has no terms
    of three fields; where those count take ``dcnv2``. :class:`~palate.rank.fwfm.FwFM` is its scalar case with the
    first-order part of its own paper.

    Args:
        spec: The fields, at least two.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If there are fewer than two fields.

    Example:
        >>> model = FmFM(FeatureSpec.from_sizes(user=10, item=20), FmFMConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Sun, Pan, Zhang, Flores, "FM^2: Field-matrixed Factorization Machines for Recommender Systems", WWW 2021.
    """

    Config: ClassVar[type[ModelConfig]] = FmFMConfig

    def __init__(self, spec: FeatureSpec, config: FmFMConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        size = config.embedding_size
        self.embedding = FieldEmbedding(spec, size, vectors=vectors)
        self.pairs = FieldPairs(spec.num_fields, size, config.interaction)
        self._linear_kind = config.linear
        self.linear: nn.Module
        if config.linear == "id":
            self.linear = LinearTerm(spec, vectors=vectors)
        elif config.linear == "field":
            self.linear = LogitHead(spec.num_fields * size)
        else:
            self.linear = FieldEmbedding(spec, size, vectors=vectors)
            self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        logits: Tensor = self._first_order(batch, fields) + self.pairs(fields)
        return logits

    def _first_order(self, batch: RankBatch, fields: Tensor) -> Tensor:
        if self._linear_kind == "id":
            first: Tensor = self.linear(batch)
        elif self._linear_kind == "field":
            first = self.linear(fields.flatten(1))
        else:
            first = (fields * self.linear(batch)).sum(dim=(1, 2)) + self.bias
        return first
