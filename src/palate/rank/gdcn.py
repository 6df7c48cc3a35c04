"""Gated deep cross network: cross layers that may close the door on a product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import LogitHead, init_linear
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["GDCN", "GDCNConfig", "GatedCrossNet"]


class GDCNConfig(TowerConfig):
    """Settings of :class:`GDCN`; ``base`` is the template of the public implementation.

    Besides those of :class:`~palate.rank.tower.TowerConfig`:

    Attributes:
        num_layers: Number of gated cross layers.
        structure: ``parallel`` (GDCN-P, tower beside the cross network) or ``stacked`` (GDCN-S, tower on top).
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "num_layers": 2, "hidden": (64, 32)},
        "small": {},
        "base": {"embedding_size": 32, "hidden": (1024, 512, 256), "dropout": 0.0},
    }

    num_layers: int = Field(3, ge=1)
    structure: Literal["parallel", "stacked"] = "parallel"


class GatedCrossNet(nn.Module):
    r"""Cross layers with an information gate.

    .. math:: x_{l+1} = x_0 \odot (W_l x_l + b_l) \odot \sigma(G_l x_l) + x_l, \qquad b_l \sim U(0, 1)

    The bias starts in (0, 1) as in the authors' code, so that every product is open at the start.

    Args:
        in_features: Width ``d``.
        num_layers: Number of layers, at least 1.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.

    Example:
        >>> GatedCrossNet(4, 2)(torch.zeros(3, 4)).shape
        torch.Size([3, 4])
    """

    def __init__(self, in_features: int, num_layers: int) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(in_features, in_features) for _ in range(num_layers))
        self.gates = nn.ModuleList(nn.Linear(in_features, in_features, bias=False) for _ in range(num_layers))
        init_linear(self)
        for cross in self.crosses:
            assert isinstance(cross, nn.Linear)
            nn.init.uniform_(cross.bias)

    def forward(self, x_0: Tensor) -> Tensor:
        """Return the crossed features ``[B, d]``."""
        x = x_0
        for cross, gate in zip(self.crosses, self.gates, strict=True):
            x = torch.addcmul(x, x_0 * cross(x), gate(x).sigmoid())
        return x


@register("ranker", "gdcn", source='Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network", CIKM 2023')
class GDCN(Ranker):
    r"""Gated cross network and a tower, side by side or one on the other.

    .. math:: z = w^\top [x_L; \mathrm{MLP}(x_0)] + b \text{ (parallel)}, \qquad
              z = \mathrm{MLP}(x_L) \text{ (stacked)}

    with ``x_L`` from :class:`GatedCrossNet`. The gate filters each product by what the row already holds, so that
    more layers hurt less than in DCN-V2, for twice its parameters per layer. The paper's field-level choice of
    embedding widths is not included.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> model = GDCN(FeatureSpec.from_sizes(user=10, item=20), GDCNConfig.sized("tiny", structure="stacked"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Wang, Gu, Li, Lu, Zhang, Gu, "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction",
        CIKM 2023.
    """

    Config: ClassVar[type[ModelConfig]] = GDCNConfig

    def __init__(self, spec: FeatureSpec, config: GDCNConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        width = spec.num_fields * config.embedding_size
        self.parallel = config.structure == "parallel"
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.cross = GatedCrossNet(width, config.num_layers)
        self.tower = make_tower(width, config)
        self.head = LogitHead(self.tower.out_features + (width if self.parallel else 0))

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        x_0 = self.embedding(batch).flatten(1)
        crossed = self.cross(x_0)
        parts = (crossed, self.tower(x_0)) if self.parallel else (self.tower(crossed),)
        logits: Tensor = self.head(*parts)
        return logits
