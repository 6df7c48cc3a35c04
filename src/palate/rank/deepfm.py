"""DeepFM: a factorisation machine and a tower that share one set of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.interactions import fm_second_order
from palate.rank.layers import LogitHead
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["DeepFM", "DeepFMConfig"]


class DeepFMConfig(TowerConfig):
    """Settings of :class:`DeepFM`; ``base`` is the one of the BARS benchmark on Criteo.

    All of them are those of :class:`~palate.rank.tower.TowerConfig`.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32)},
        "small": {},
        "base": {"hidden": (1000,) * 5, "dropout": 0.2},
    }


@register("ranker", "deepfm", source='Guo et al., "DeepFM", IJCAI 2017')
class DeepFM(Ranker):
    r"""Factorisation machine plus deep network over the same embeddings.

    .. math:: z = \mathrm{LR}(x) + \sum_{f<g} \langle e_f, e_g\rangle + \mathrm{MLP}([e_1; \dots; e_F])

    The robust first choice: cheap, hard to break, few settings. Where the last tenth of a point counts, compare
    it with ``dcnv2`` and ``qnn-alpha``.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> import torch
        >>> model = DeepFM(FeatureSpec.from_sizes(user=10, item=20), DeepFMConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Guo, Tang, Ye, Li, He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
    """

    Config: ClassVar[type[ModelConfig]] = DeepFMConfig

    def __init__(self, spec: FeatureSpec, config: DeepFMConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        self.linear = LinearTerm(spec, vectors=vectors)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.tower = make_tower(spec.num_fields * config.embedding_size, config)
        self.head = LogitHead(self.tower.out_features)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        deep = self.head(self.tower(fields.flatten(1)))
        logits: Tensor = self.linear(batch) + fm_second_order(fields) + deep
        return logits
