"""The factorisation machine: every pair of fields through the inner product of two vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.interactions import fm_second_order
from palate.registry import register

__all__ = ["FM", "FMConfig"]


class FMConfig(ModelConfig):
    """Settings of :class:`FM`.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
    """

    sizes: ClassVar = {"tiny": {"embedding_size": 8}, "small": {}, "base": {}}

    embedding_size: int = Field(16, ge=1)


@register("ranker", "fm", source='Rendle, "Factorization Machines", ICDM 2010')
class FM(Ranker):
    r"""Factorisation machine of order two.

    .. math::
        z = \mathrm{LR}(x) + \sum_{f<g} \langle e_f, e_g\rangle
          = \mathrm{LR}(x) + \tfrac12\Big(\big\|\textstyle\sum_f e_f\big\|^2 - \sum_f \|e_f\|^2\Big)

    The right-hand form costs ``F D`` instead of ``F^2 D``. Every pair of fields counts alike; when some pairs
    matter more than others take :class:`~palate.rank.fwfm.FwFM` or :class:`~palate.rank.fmfm.FmFM`, and for
    combinations of three fields and more a network such as :class:`~palate.rank.dcnv2.DCNv2`.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> import torch
        >>> model = FM(FeatureSpec.from_sizes(user=10, item=20), FMConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Rendle, "Factorization Machines", ICDM 2010.
    """

    Config: ClassVar[type[ModelConfig]] = FMConfig

    def __init__(self, spec: FeatureSpec, config: FMConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        self.linear = LinearTerm(spec, vectors=vectors)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.linear(batch) + fm_second_order(self.embedding(batch))
        return logits
