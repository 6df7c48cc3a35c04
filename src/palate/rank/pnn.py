"""Product-based network: a tower that is handed the products instead of having to find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import LogitHead
from palate.rank.tower import TowerConfig, make_tower
from palate.registry import register

__all__ = ["PNN", "PNNConfig"]


class PNNConfig(TowerConfig):
    """Settings of :class:`PNN`; ``base`` is the one of the BARS benchmark on Criteo.

    Besides those of :class:`~palate.rank.tower.TowerConfig`:

    Attributes:
        product: ``inner`` (IPNN), ``outer`` (OPNN) or ``both`` (PNN*).
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32)},
        "small": {},
        "base": {"hidden": (1000, 1000), "dropout": 0.2},
    }

    product: Literal["inner", "outer", "both"] = "inner"


@register("ranker", "pnn", source='Qu et al., "Product-based Neural Networks", ICDM 2016')
class PNN(Ranker):
    r"""Deep network over the embeddings and their products.

    .. math::
        z = \mathrm{MLP}\big([e_1; \dots; e_F;\ p]\big), \qquad p = \begin{cases}
            (\langle e_f, e_g\rangle)_{f<g} & \text{inner} \\
            \mathrm{vec}(s s^\top),\ s = \sum_f e_f & \text{outer} \\
            \text{both of them} & \text{both}
        \end{cases}

    The inner products go into the tower one by one, as in the public implementations; the paper's factorised
    weights for them save memory only. The outer products are superposed over all pairs, as in the paper. Good
    when pairs matter and how they combine is not known; with hundreds of fields the ``F (F - 1) / 2`` products
    become the largest part of the input, and ``dcnv2`` with ``low-rank`` scales better.

    Args:
        spec: The fields; ``inner`` needs at least two.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If inner products are asked for and there is only one field.

    Example:
        >>> model = PNN(FeatureSpec.from_sizes(user=10, item=20), PNNConfig.sized("tiny", product="both"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Qu et al., "Product-based Neural Networks for User Response Prediction", ICDM 2016.
    """

    Config: ClassVar[type[ModelConfig]] = PNNConfig
    pairs: Tensor

    def __init__(self, spec: FeatureSpec, config: PNNConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        num_fields, size = spec.num_fields, config.embedding_size
        self.inner = config.product in ("inner", "both")
        self.outer = config.product in ("outer", "both")
        if self.inner and num_fields < 2:
            raise ConfigError("Inner products need at least two fields.", remedy='Choose product="outer", or "dnn".')
        pairs = torch.triu_indices(num_fields, num_fields, offset=1)
        self.register_buffer("pairs", pairs, persistent=False)
        width = num_fields * size + self.inner * pairs.shape[1] + self.outer * size**2
        self.embedding = FieldEmbedding(spec, size, vectors=vectors)
        self.tower = make_tower(width, config)
        self.head = LogitHead(self.tower.out_features)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        parts = [fields.flatten(1)]
        if self.inner:
            products = fields @ fields.transpose(1, 2)  # [B, F, F]
            parts.append(products[:, self.pairs[0], self.pairs[1]])
        if self.outer:
            total = fields.sum(dim=1)
            parts.append((total.unsqueeze(2) * total.unsqueeze(1)).flatten(1))
        logits: Tensor = self.head(self.tower(torch.cat(parts, dim=1)))
        return logits
