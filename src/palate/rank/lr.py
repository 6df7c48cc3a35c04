"""Logistic regression: one weight per id, the floor that every other ranker must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import LinearTerm
from palate.registry import register

__all__ = ["LR", "LRConfig"]


class LRConfig(ModelConfig):
    """Logistic regression has no settings of its own; how strongly it is regularised belongs to training."""

    sizes: ClassVar = {"tiny": {}, "small": {}, "base": {}}


@register("ranker", "lr", source='Richardson et al., "Predicting Clicks", WWW 2007')
class LR(Ranker):
    r"""Logistic regression over ids and numbers.

    .. math:: z = b + \sum_f w_f[\mathrm{id}_f] + \sum_{f\ \mathrm{numeric}} w_f x_f

    It sees no combination of fields. Train it beside any other model: a model that does not beat it has learned
    popularity and nothing else. When two fields act together, take :class:`~palate.rank.fm.FM`.

    Args:
        spec: The fields.
        config: No settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> import torch
        >>> model = LR(FeatureSpec.from_sizes(user=10, item=20), LRConfig())
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Richardson, Dominowska, Ragno, "Predicting Clicks: Estimating the Click-Through Rate for New Ads", WWW 2007.
    """

    Config: ClassVar[type[ModelConfig]] = LRConfig

    def __init__(self, spec: FeatureSpec, config: LRConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        self.linear = LinearTerm(spec, vectors=vectors)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.linear(batch)
        return logits
