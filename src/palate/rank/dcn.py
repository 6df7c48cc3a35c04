"""Deep & Cross Network: a cheap cross layer that raises the degree by one, beside a tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.interactions import CrossNet
from palate.rank.layers import MLP, LogitHead
from palate.rank.tower import OptionalTowerConfig, make_tower
from palate.registry import register

__all__ = ["DCN", "DCNConfig"]


class DCNConfig(OptionalTowerConfig):
    """Settings of :class:`DCN`; ``base`` is the one of the BARS benchmark on Criteo.

    Besides those of :class:`~palate.rank.tower.OptionalTowerConfig`:

    Attributes:
        num_layers: Number of cross layers; the cross part is of degree ``num_layers + 1``.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32)},
        "small": {},
        "base": {"num_layers": 4, "hidden": (1000,) * 5, "dropout": 0.2},
    }

    num_layers: int = Field(3, ge=1)


@register("ranker", "dcn", source='Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017')
class DCN(Ranker):
    r"""Cross network with one vector per layer, and a tower in parallel.

    .. math::
        x_{l+1} &= x_0\,(w_l^\top x_l) + b_l + x_l, \qquad x_0 = [e_1; \dots; e_F] \\
        z &= w^\top [x_L; \mathrm{MLP}(x_0)] + b

    A layer costs ``2 d`` parameters, and every ``x_l`` is ``x_0`` times a number plus a constant: very light, and
    weak. :class:`~palate.rank.dcnv2.DCNv2` gives each layer a matrix and is better wherever it can be afforded.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> model = DCN(FeatureSpec.from_sizes(user=10, item=20), DCNConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Wang, Fu, Fu, Wang, "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.
    """

    Config: ClassVar[type[ModelConfig]] = DCNConfig

    def __init__(self, spec: FeatureSpec, config: DCNConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        width = spec.num_fields * config.embedding_size
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.cross = CrossNet(width, config.num_layers)
        self.tower: MLP | None = None
        if config.hidden:
            self.tower = make_tower(width, config)
        self.head = LogitHead(width + (config.hidden[-1] if config.hidden else 0))

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        x_0 = self.embedding(batch).flatten(1)
        out = self.cross(x_0)
        parts = (out,) if self.tower is None else (out, self.tower(x_0))
        logits: Tensor = self.head(*parts)
        return logits
