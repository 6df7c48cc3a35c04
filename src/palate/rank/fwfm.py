"""Field-weighted factorisation machine: one number says how much a pair of fields counts."""

from __future__ import annotations

from typing import ClassVar, Literal

from palate.config import ModelConfig
from palate.rank.fmfm import FmFM, FmFMConfig
from palate.registry import register

__all__ = ["FwFM", "FwFMConfig"]


class FwFMConfig(FmFMConfig):
    """Settings of :class:`FwFM`: those of FmFM with the defaults of its own paper (FwFM with FiLV).

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        interaction: ``scalar`` for the paper's model; ``vector`` and ``matrix`` as for FmFM.
        linear: First-order part, see :class:`~palate.rank.fmfm.FmFMConfig`.
    """

    interaction: Literal["matrix", "vector", "scalar"] = "scalar"
    linear: Literal["id", "field", "feature"] = "field"


@register("ranker", "fwfm", source='Pan et al., "Field-weighted Factorization Machines", WWW 2018')
class FwFM(FmFM):
    r"""Factorisation machine with a weight per pair of fields.

    .. math:: z = b + \sum_f \langle w_f, e_f\rangle + \sum_{f<g} r_{fg}\, \langle e_f, e_g\rangle

    ``F (F - 1) / 2`` numbers more than FM, and readable ones: ``model.pairs.weight`` tells which pairs of fields
    work together. With more data, a matrix per pair (:class:`~palate.rank.fmfm.FmFM`) is better.

    Args:
        spec: The fields, at least two.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If there are fewer than two fields.

    Example:
        >>> from palate.data.features import FeatureSpec
        >>> model = FwFM(FeatureSpec.from_sizes(user=10, item=20, hour=26), FwFMConfig.sized("tiny"))
        >>> model.pairs.weight.shape
        torch.Size([3])

    Source:
        Pan et al., "Field-weighted Factorization Machines for Click-Through Rate Prediction in Display
        Advertising", WWW 2018.
    """

    Config: ClassVar[type[ModelConfig]] = FwFMConfig
