"""Wide & Deep: a linear model that remembers beside a tower that generalises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.layers import LogitHead
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["WideAndDeep", "WideAndDeepConfig"]


class WideAndDeepConfig(TowerConfig):
    """Settings of :class:`WideAndDeep`; ``base`` is the one of the BARS benchmark on Criteo.

    All of them are those of :class:`~palate.rank.tower.TowerConfig`.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32)},
        "small": {},
        "base": {"hidden": (1000,) * 5, "dropout": 0.2},
    }


@register("ranker", "wide-and-deep", source='Cheng et al., "Wide & Deep Learning", DLRS 2016')
class WideAndDeep(Ranker):
    r"""A linear term and a tower, added.

    .. math:: z = \mathrm{LR}(x) + \mathrm{MLP}([e_1; \dots; e_F])

    The paper feeds the wide part with crossed columns chosen by hand; as everywhere in the literature since, here
    it has the single fields only. Add a crossed column to the table to have it remembered, or take
    :class:`~palate.rank.deepfm.DeepFM`, which needs no crossing by hand. Both parts are trained by one optimiser,
    not by FTRL and Adagrad.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> import torch
        >>> model = WideAndDeep(FeatureSpec.from_sizes(user=10, item=20), WideAndDeepConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.
    """

    Config: ClassVar[type[ModelConfig]] = WideAndDeepConfig

    def __init__(
        self, spec: FeatureSpec, config: WideAndDeepConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        self.wide = LinearTerm(spec, vectors=vectors)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.deep = make_tower(spec.num_fields * config.embedding_size, config)
        self.head = LogitHead(self.deep.out_features)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.wide(batch) + self.head(self.deep(self.embedding(batch).flatten(1)))
        return logits
