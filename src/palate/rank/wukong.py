"""Wukong: stacked factorisation machines that grow by depth and width without new ideas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import MLP, LogitHead, init_linear
from palate.registry import register

__all__ = ["Wukong", "WukongConfig", "WukongLayer"]


class WukongConfig(ModelConfig):
    """Settings of :class:`Wukong`; ``base`` is a setting for public data, far below the paper's scale.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        num_layers: Number of Wukong layers.
        fm_vectors: Vectors that the factorisation machine of a layer returns.
        linear_vectors: Vectors that its linear compression returns.
        rank: Columns of the matrix that compresses the products of a layer.
        fm_hidden: Widths of the hidden layers inside a Wukong layer.
        hidden: Widths of the tower at the end.
        dropout: Share of hidden units zeroed in training.
    """

    sizes: ClassVar = {
        "tiny": {
            "embedding_size": 8,
            "num_layers": 2,
            "fm_vectors": 4,
            "linear_vectors": 4,
            "rank": 4,
            "fm_hidden": (32,),
            "hidden": (32,),
        },
        "small": {},
        "base": {
            "embedding_size": 64,
            "num_layers": 8,
            "fm_vectors": 32,
            "linear_vectors": 32,
            "rank": 24,
            "fm_hidden": (512, 512),
            "hidden": (512, 512),
        },
    }

    embedding_size: int = Field(16, ge=1)
    num_layers: int = Field(3, ge=1)
    fm_vectors: int = Field(8, ge=1)
    linear_vectors: int = Field(8, ge=1)
    rank: int = Field(8, ge=1)
    fm_hidden: tuple[PositiveInt, ...] = (128,)
    hidden: tuple[PositiveInt, ...] = (128, 128)
    dropout: float = Field(0.1, ge=0, lt=1)


class WukongLayer(nn.Module):
    r"""All pairs of vectors through a compressed factorisation machine, beside a linear compression.

    .. math::
        \mathrm{FMB}(X) &= \mathrm{MLP}\big(\mathrm{LN}(\mathrm{vec}(X X^\top Y))\big) \in R^{n_F \times D}, \qquad
        \mathrm{LCB}(X) = W X \in R^{n_L \times D} \\
        X' &= \mathrm{LN}\big([\mathrm{FMB}(X);\ \mathrm{LCB}(X)] + R X\big)

    ``R`` is the identity where as many vectors leave as came, else a learned matrix. ``X^T Y`` is computed first,
    so the products cost ``n k D`` instead of ``n^2 D``. ``Y`` is a plain matrix; the paper also tries one that
    depends on the input.

    Args:
        in_vectors: Number of vectors ``n`` at the input.
        embedding_size: Width ``D``.
        fm_vectors: ``n_F``.
        linear_vectors: ``n_L``.
        rank: Columns ``k`` of ``Y``.
        hidden: Widths of the hidden layers of the MLP.
        dropout: Share of its hidden units zeroed in training.

    Shapes:
        forward: ``[B, n, D]`` -> ``[B, n_F + n_L, D]``.

    Example:
        >>> WukongLayer(5, 4, fm_vectors=2, linear_vectors=3, rank=2, hidden=(8,))(torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        in_vectors: int,
        embedding_size: int,
        *,
        fm_vectors: int,
        linear_vectors: int,
        rank: int,
        hidden: tuple[int, ...],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        out_vectors = fm_vectors + linear_vectors
        self.fm_vectors = fm_vectors
        self.compress = nn.Linear(in_vectors, rank, bias=False)
        self.product_norm = nn.LayerNorm(in_vectors * rank)
        self.mlp = MLP(in_vectors * rank, hidden, out_features=fm_vectors * embedding_size, dropout=dropout)
        self.linear = nn.Linear(in_vectors, linear_vectors, bias=False)
        self.residual = nn.Linear(in_vectors, out_vectors, bias=False) if in_vectors != out_vectors else nn.Identity()
        self.norm = nn.LayerNorm(embedding_size)
        init_linear(self)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the next vectors ``[B, n_F + n_L, D]``."""
        columns = vectors.transpose(1, 2)  # [B, D, n]: linear maps act over the vectors
        products = vectors @ self.compress(columns)  # [B, n, k]
        machine = self.mlp(self.product_norm(products.flatten(1))).unflatten(1, (self.fm_vectors, -1))
        linear = self.linear(columns).transpose(1, 2)
        residual = self.residual(columns).transpose(1, 2)
        out: Tensor = self.norm(torch.cat([machine, linear], dim=1) + residual)
        return out


@register("ranker", "wukong", source='Zhang et al., "Wukong", ICML 2024')
class Wukong(Ranker):
    r"""A stack of Wukong layers and a tower.

    .. math:: X_0 = (e_1, \dots, e_F), \qquad X_{l+1} = \mathrm{Wukong}_l(X_l), \qquad
              z = \mathrm{MLP}(\mathrm{vec}\,X_L)

    with each step the :class:`WukongLayer`; ``l`` layers hold the products of up to ``2^l`` fields. The layers end
    normalised, so the last linear map starts from N(0, 0.01^2) and an untrained model is undecided. Made to improve
    steadily as it grows; its gains show with very large data, and on small tables ``dcnv2`` is the better choice.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> model = Wukong(FeatureSpec.from_sizes(user=10, item=20), WukongConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", ICML 2024.
    """

    Config: ClassVar[type[ModelConfig]] = WukongConfig

    def __init__(self, spec: FeatureSpec, config: WukongConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        size = config.embedding_size
        out_vectors = config.fm_vectors + config.linear_vectors
        self.embedding = FieldEmbedding(spec, size, vectors=vectors)
        counts = [spec.num_fields, *[out_vectors] * (config.num_layers - 1)]
        self.layers = nn.Sequential(
            *(
                WukongLayer(
                    count,
                    size,
                    fm_vectors=config.fm_vectors,
                    linear_vectors=config.linear_vectors,
                    rank=config.rank,
                    hidden=config.fm_hidden,
                    dropout=config.dropout,
                )
                for count in counts
            )
        )
        self.tower = MLP(out_vectors * size, config.hidden, dropout=config.dropout)
        self.head = LogitHead(self.tower.out_features)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.head(self.tower(self.layers(self.embedding(batch)).flatten(1)))
        return logits
