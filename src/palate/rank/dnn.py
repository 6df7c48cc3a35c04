"""The plain deep network: all field vectors side by side, and a tower on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import LogitHead
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["DNN", "DNNConfig"]


class DNNConfig(TowerConfig):
    """Settings of :class:`DNN`; ``base`` is the one of the BARS benchmark on Criteo.

    All of them are those of :class:`~palate.rank.tower.TowerConfig`.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32)},
        "small": {},
        "base": {"hidden": (1000,) * 5, "dropout": 0.2},
    }


@register("ranker", "dnn", source='Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016')
class DNN(Ranker):
    r"""Embeddings and a tower of dense layers.

    .. math:: z = \mathrm{MLP}([e_1; \dots; e_F])

    A tower has to learn products of fields from sums and kinks, which takes width and data; the models that
    multiply on purpose (``deepfm``, ``dcnv2``, ``qnn-alpha``) usually beat it at equal size. It is the baseline
    that tells whether their products earn their cost.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> import torch
        >>> model = DNN(FeatureSpec.from_sizes(user=10, item=20), DNNConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Covington, Adams, Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.
    """

    Config: ClassVar[type[ModelConfig]] = DNNConfig

    def __init__(self, spec: FeatureSpec, config: DNNConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.tower = make_tower(spec.num_fields * config.embedding_size, config)
        self.head = LogitHead(self.tower.out_features)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.head(self.tower(self.embedding(batch).flatten(1)))
        return logits
