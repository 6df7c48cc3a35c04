"""DCN-V2: cross layers with a full, a low-rank or a mixed matrix, stacked under a tower or beside one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.interactions import CrossNetV2
from palate.rank.layers import LogitHead, init_linear
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["DCNv2", "DCNv2Config", "MixtureCrossNet"]


class DCNv2Config(TowerConfig):
    """Settings of :class:`DCNv2`; ``base`` is the one of the BARS benchmark on Criteo.

    Besides those of :class:`~palate.rank.tower.TowerConfig`:

    Attributes:
        cross: Matrix of a cross layer: ``full``, ``low-rank`` (two factors) or ``mixture`` (low-rank experts).
        num_layers: Number of cross layers.
        rank: Rank of ``low-rank`` and of each expert of ``mixture``.
        num_experts: Experts of ``mixture``.
        structure: ``parallel`` (tower beside the cross network), ``stacked`` (tower on top of it),
            ``stacked-parallel`` (both) or ``cross`` (no tower).
        stacked_hidden: Widths of the tower on top, where they differ from ``hidden``.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "num_layers": 2, "hidden": (64, 32), "rank": 8, "num_experts": 2},
        "small": {},
        "base": {"hidden": (1000,) * 5, "batch_norm": True},
    }

    cross: Literal["full", "low-rank", "mixture"] = "full"
    num_layers: int = Field(3, ge=1)
    rank: int = Field(32, ge=1)
    num_experts: int = Field(4, ge=1)
    structure: Literal["parallel", "stacked", "stacked-parallel", "cross"] = "parallel"
    stacked_hidden: tuple[PositiveInt, ...] | None = Field(None, min_length=1)


class MixtureCrossNet(nn.Module):
    r"""Cross layers whose matrix is a gated mixture of low-rank maps with a nonlinearity between the factors.

    .. math::
        x_{l+1} &= \sum_k G_k(x_l)\, x_0 \odot \big(U_l^k \tanh(C_l^k \tanh(V_l^{k\top} x_l)) + b_l\big) + x_l \\
        G(x) &= \mathrm{softmax}(g_1^\top x, \dots, g_K^\top x)

    The gate is one for all layers, as in the public implementations, and ``b_l`` is one for all experts. The gates
    sum to one, so ``x_0`` and ``b_l`` leave the sum and all experts cost one product with ``[U^1 .. U^K]``.

    Args:
        in_features: Width ``d``.
        num_layers: Number of layers, at least 1.
        rank: Rank ``r`` of every expert, from 1 to ``d``.
        num_experts: Number of experts ``K``.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.

    Raises:
        ConfigError: If the rank is larger than the width.

    Example:
        >>> MixtureCrossNet(6, 2, rank=3, num_experts=2)(torch.zeros(4, 6)).shape
        torch.Size([4, 6])
    """

    def __init__(self, in_features: int, num_layers: int, *, rank: int, num_experts: int) -> None:
        super().__init__()
        if not 1 <= rank <= in_features:
            raise ConfigError(f"rank is {rank}.", remedy=f"It must lie between 1 and the width {in_features}.")

        def maps(*shape: int) -> nn.ParameterList:
            # Xavier normal of each expert's map by itself.
            std = math.sqrt(2.0 / (shape[-2] + shape[-1]))
            return nn.ParameterList(nn.Parameter(torch.empty(shape).normal_(std=std)) for _ in range(num_layers))

        self.down = maps(num_experts, rank, in_features)
        self.inner = maps(num_experts, rank, rank)
        self.up = maps(num_experts, rank, in_features)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(in_features)) for _ in range(num_layers))
        self.gate = nn.Linear(in_features, num_experts, bias=False)
        init_linear(self.gate)

    def forward(self, x_0: Tensor) -> Tensor:
        """Return the crossed features ``[B, d]``."""
        x = x_0
        for down, inner, up, bias in zip(self.down, self.inner, self.up, self.biases, strict=True):
            low = torch.tanh(torch.einsum("bd,krd->bkr", x, down))
            low = torch.tanh(torch.einsum("bkr,ksr->bks", low, inner))
            gated = low * self.gate(x).softmax(dim=1).unsqueeze(-1)  # [B, K, r]
            x = torch.addcmul(x, x_0, gated.flatten(1) @ up.flatten(0, 1) + bias)
        return x


@register("ranker", "dcnv2", source='Wang et al., "DCN V2", WWW 2021')
class DCNv2(Ranker):
    r"""Cross network with a matrix per layer.

    .. math:: x_{l+1} = x_0 \odot (W_l x_l + b_l) + x_l, \qquad x_0 = [e_1; \dots; e_F]

    .. math::
        z = w^\top h + b, \qquad h = \begin{cases}
            \mathrm{MLP}(x_L) & \text{stacked} \\
            [x_L; \mathrm{MLP}(x_0)] & \text{parallel} \\
            [\mathrm{MLP}_1(x_L); \mathrm{MLP}_2(x_0)] & \text{stacked-parallel} \\
            x_L & \text{cross}
        \end{cases}

    ``low-rank`` writes ``W_l = U_l V_l``; ``mixture`` is :class:`MixtureCrossNet`. A strong default for wide
    tables: polynomial terms up to degree ``num_layers + 1`` with one matrix each. With many fields and little
    memory take ``low-rank``; for terms of degree ``2^L`` see ``qnn-alpha`` and ``fcn``.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If ``rank`` is larger than ``F * embedding_size``.

    Example:
        >>> model = DCNv2(FeatureSpec.from_sizes(user=10, item=20), DCNv2Config.sized("tiny", cross="mixture"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems", WWW 2021.
    """

    Config: ClassVar[type[ModelConfig]] = DCNv2Config

    def __init__(self, spec: FeatureSpec, config: DCNv2Config, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        width = spec.num_fields * config.embedding_size
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.cross: nn.Module
        if config.cross == "mixture":
            self.cross = MixtureCrossNet(width, config.num_layers, rank=config.rank, num_experts=config.num_experts)
        else:
            rank = config.rank if config.cross == "low-rank" else None
            self.cross = CrossNetV2(width, config.num_layers, rank=rank)

        stacked = config.structure in ("stacked", "stacked-parallel")
        parallel = config.structure in ("parallel", "stacked-parallel")
        self.stacked = make_tower(width, config, config.stacked_hidden) if stacked else None
        self.parallel = make_tower(width, config) if parallel else None
        crossed = self.stacked.out_features if self.stacked is not None else width
        self.head = LogitHead(crossed + (self.parallel.out_features if self.parallel is not None else 0))

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        x_0 = self.embedding(batch).flatten(1)
        out = self.cross(x_0)
        if self.stacked is not None:
            out = self.stacked(out)
        parts = (out,) if self.parallel is None else (out, self.parallel(x_0))
        logits: Tensor = self.head(*parts)
        return logits
