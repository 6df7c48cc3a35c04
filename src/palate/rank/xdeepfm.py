"""xDeepFM: vector-wise products of growing order, a tower and a linear term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.interactions import CIN
from palate.rank.layers import LogitHead
from palate.rank.tower import OptionalTowerConfig, make_tower
from palate.registry import register

__all__ = ["XDeepFM", "XDeepFMConfig"]


class XDeepFMConfig(OptionalTowerConfig):
    """Settings of :class:`XDeepFM`; ``base`` is the one of the BARS benchmark on Criteo.

    Besides those of :class:`~palate.rank.tower.OptionalTowerConfig`:

    Attributes:
        maps: Number of feature maps of each layer of the compressed interaction network.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "maps": (8, 8), "hidden": (64, 32)},
        "small": {},
        "base": {"maps": (64, 64, 64), "hidden": (1000,) * 5, "dropout": 0.2},
    }

    maps: tuple[PositiveInt, ...] = Field((32, 32), min_length=1)


@register("ranker", "xdeepfm", source='Lian et al., "xDeepFM", KDD 2018')
class XDeepFM(Ranker):
    r"""Linear term, compressed interaction network (CIN) and tower, added.

    .. math::
        X^{k+1}_h &= b^k_h + \sum_{i,j} W^{k,h}_{ij}\,(X^k_i \odot X^0_j), \qquad X^0 = (e_1, \dots, e_F) \\
        z &= \mathrm{LR}(x) + w^\top\big[\textstyle\sum_D X^1; \dots; \sum_D X^K\big] + b
             + \mathrm{MLP}([e_1; \dots; e_F])

    Layer ``k`` holds exactly the products of ``k + 1`` fields, coordinate by coordinate. The products are computed
    one by one, which makes it the slowest of the baselines in time and memory; ``dcnv2`` reaches the same orders
    at a fraction of the cost.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> import torch
        >>> model = XDeepFM(FeatureSpec.from_sizes(user=10, item=20), XDeepFMConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems", KDD 2018.
    """

    Config: ClassVar[type[ModelConfig]] = XDeepFMConfig

    def __init__(
        self, spec: FeatureSpec, config: XDeepFMConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        self.linear = LinearTerm(spec, vectors=vectors)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.cin = CIN(spec.num_fields, config.maps)
        self.cin_head = LogitHead(self.cin.out_features)
        self.tower: nn.Module | None = None
        if config.hidden:
            width = spec.num_fields * config.embedding_size
            tower = make_tower(width, config)
            self.tower = nn.Sequential(tower, LogitHead(tower.out_features))

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        logits: Tensor = self.linear(batch) + self.cin_head(self.cin(fields))
        if self.tower is not None:
            logits = logits + self.tower(fields.flatten(1))
        return logits
