"""QNN-alpha beside a second network: the same stack and the same loss, over the combined logit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from palate.config import Size
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.interactions import CIN, CrossNetV2, fm_second_order
from palate.rank.layers import MLP, LogitHead
from palate.rank.qnn_alpha import QNNAlphaConfig, alpha_trunk
from palate.rank.self_ensemble import self_ensemble_loss
from palate.registry import register

__all__ = [
    "QNNAlphaDCNv2",
    "QNNAlphaDCNv2Config",
    "QNNAlphaDeepFM",
    "QNNAlphaMLP",
    "QNNAlphaMLPConfig",
    "QNNAlphaXDeepFM",
    "QNNAlphaXDeepFMConfig",
]

SOURCE = "Li et al., KDD 2025, arXiv 2505.17999"


class QNNAlphaDCNv2Config(QNNAlphaConfig):
    """Settings of QNN-alpha with a cross network beside it.

    Attributes:
        num_cross_layers: Layers of the cross network.
    """

    num_cross_layers: int = Field(2, ge=1)


class QNNAlphaXDeepFMConfig(QNNAlphaConfig):
    """Settings of QNN-alpha with a compressed interaction network beside it.

    Attributes:
        cin_hidden: Maps of every layer of the compressed interaction network.
    """

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {**QNNAlphaConfig.sizes["tiny"], "cin_hidden": (8,)},
        "small": {**QNNAlphaConfig.sizes["small"], "cin_hidden": (16,)},
        "base": {**QNNAlphaConfig.sizes["base"], "cin_hidden": (64,)},
    }

    cin_hidden: tuple[PositiveInt, ...] = Field((64,), min_length=1)


class QNNAlphaMLPConfig(QNNAlphaConfig):
    """Settings of QNN-alpha with a tower beside it.

    Attributes:
        hidden: Widths of the tower.
    """

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {**QNNAlphaConfig.sizes["tiny"], "hidden": (64, 32)},
        "small": {**QNNAlphaConfig.sizes["small"], "hidden": (400, 400)},
        "base": {**QNNAlphaConfig.sizes["base"], "hidden": (400, 400, 400)},
    }

    hidden: tuple[PositiveInt, ...] = Field((400, 400, 400), min_length=1)


class _Combination(Ranker):
    """What the four have in common: one look-up, the stack of QNN-alpha, and the loss over the combined logit."""

    config: QNNAlphaConfig

    def __init__(self, spec: FeatureSpec, config: QNNAlphaConfig, vectors: Mapping[str, Tensor] | None) -> None:
        super().__init__(spec, config)
        self.width = spec.num_fields * config.embedding_size
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.trunk = alpha_trunk(spec.num_fields, config)

    @abstractmethod
    def combine(self, batch: RankBatch, fields: Tensor, crossed: Tensor) -> Tensor:
        """Return logits ``[B]`` from the embeddings ``[B, F, D]`` and one pass of the stack ``[B, d]``."""

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        return self.combine(batch, fields, self.trunk(fields.flatten(1)))

    def loss(self, batch: RankBatch) -> Tensor:
        """Return the self-ensemble loss (or the cross-entropy, when the settings say so)."""
        if self.config.loss == "bce":
            return super().loss(batch)
        assert batch.labels is not None, "a batch for training carries labels"
        fields = self.embedding(batch)
        # The second network is run once per pass as well: its dropout and its BatchNorm see the passes apart.
        first, second = (self.combine(batch, fields, crossed) for crossed in self.trunk.twice(fields.flatten(1)))
        return self_ensemble_loss(first, second, batch.labels, batch.weights)


@register("ranker", "qnn-alpha-dcnv2", source=SOURCE)
class QNNAlphaDCNv2(_Combination):
    r"""QNN-alpha with a rectified cross network beside it.

    .. math::
        c_{l+1} = \mathrm{Dropout}(c_0 \odot \mathrm{ReLU}(\mathrm{BN}(W_l c_l + b_l)) + c_l), \qquad
        z = w^\top [x_L; c_K] + b

    Args:
        spec: The fields.
        config: Settings.
        vectors: Frozen matrices of ``vector`` fields.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits ``[B]``.

    Example:
        >>> model = QNNAlphaDCNv2(FeatureSpec.from_sizes(user=10, item=20), QNNAlphaDCNv2Config.sized("tiny"))
        >>> model.eval()(RankBatch(ids=torch.tensor([[1, 11]]))).shape
        torch.Size([1])
    """

    Config = QNNAlphaDCNv2Config

    def __init__(
        self,
        spec: FeatureSpec,
        config: QNNAlphaDCNv2Config | None = None,
        *,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        config = QNNAlphaDCNv2Config() if config is None else config
        super().__init__(spec, config, vectors)
        self.cross = CrossNetV2(
            self.width,
            config.num_cross_layers,
            activation="relu",
            batch_norm=config.batch_norm,
            dropout=config.dropout,
        )
        self.head = LogitHead(2 * self.width)

    def combine(self, batch: RankBatch, fields: Tensor, crossed: Tensor) -> Tensor:
        """Return ``w^T [x_L; c_K] + b``."""
        logits: Tensor = self.head(crossed, self.cross(fields.flatten(1)))
        return logits


@register("ranker", "qnn-alpha-deepfm", source=SOURCE)
class QNNAlphaDeepFM(_Combination):
    r"""QNN-alpha with a factorisation machine beside it.

    .. math:: z = w^\top x_L + b + \tfrac12 \Big(\mathrm{LR}(x) + \sum_{f<g} \langle e_f, e_g\rangle\Big)

    Args:
        spec: The fields.
        config: Settings.
        vectors: Frozen matrices of ``vector`` fields.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits ``[B]``.

    Example:
        >>> model = QNNAlphaDeepFM(FeatureSpec.from_sizes(user=10, item=20), QNNAlphaConfig.sized("tiny"))
        >>> model.eval()(RankBatch(ids=torch.tensor([[1, 11]]))).shape
        torch.Size([1])
    """

    Config = QNNAlphaConfig

    def __init__(
        self, spec: FeatureSpec, config: QNNAlphaConfig | None = None, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, QNNAlphaConfig() if config is None else config, vectors)
        self.linear = LinearTerm(spec, vectors=vectors)
        self.head = LogitHead(self.width)

    def combine(self, batch: RankBatch, fields: Tensor, crossed: Tensor) -> Tensor:
        """Return the stack's logit and half of the factorisation machine's."""
        logits: Tensor = self.head(crossed) + 0.5 * (self.linear(batch) + fm_second_order(fields))
        return logits


@register("ranker", "qnn-alpha-xdeepfm", source=SOURCE)
class QNNAlphaXDeepFM(_Combination):
    r"""QNN-alpha with a linear term and a compressed interaction network beside it.

    .. math:: z = w^\top x_L + b + \mathrm{LR}(x) + v^\top \mathrm{CIN}(e_1, \dots, e_F) + c

    Args:
        spec: The fields.
        config: Settings.
        vectors: Frozen matrices of ``vector`` fields.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits ``[B]``.

    Example:
        >>> model = QNNAlphaXDeepFM(FeatureSpec.from_sizes(user=10, item=20), QNNAlphaXDeepFMConfig.sized("tiny"))
        >>> model.eval()(RankBatch(ids=torch.tensor([[1, 11]]))).shape
        torch.Size([1])
    """

    Config = QNNAlphaXDeepFMConfig

    def __init__(
        self,
        spec: FeatureSpec,
        config: QNNAlphaXDeepFMConfig | None = None,
        *,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        config = QNNAlphaXDeepFMConfig() if config is None else config
        super().__init__(spec, config, vectors)
        self.linear = LinearTerm(spec, vectors=vectors)
        self.cin = CIN(spec.num_fields, config.cin_hidden)
        self.cin_head = LogitHead(self.cin.out_features)
        self.head = LogitHead(self.width)

    def combine(self, batch: RankBatch, fields: Tensor, crossed: Tensor) -> Tensor:
        """Return the sum of the three logits."""
        logits: Tensor = self.head(crossed) + self.linear(batch) + self.cin_head(self.cin(fields))
        return logits


@register("ranker", "qnn-alpha-mlp", source=SOURCE)
class QNNAlphaMLP(_Combination):
    r"""QNN-alpha with a tower beside it.

    .. math:: z = w^\top [x_L; \mathrm{MLP}(x_0)] + b

    Args:
        spec: The fields.
        config: Settings.
        vectors: Frozen matrices of ``vector`` fields.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits ``[B]``.

    Example:
        >>> model = QNNAlphaMLP(FeatureSpec.from_sizes(user=10, item=20), QNNAlphaMLPConfig.sized("tiny"))
        >>> model.eval()(RankBatch(ids=torch.tensor([[1, 11]]))).shape
        torch.Size([1])
    """

    Config = QNNAlphaMLPConfig

    def __init__(
        self,
        spec: FeatureSpec,
        config: QNNAlphaMLPConfig | None = None,
        *,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        config = QNNAlphaMLPConfig() if config is None else config
        super().__init__(spec, config, vectors)
        self.tower: nn.Module = MLP(self.width, config.hidden, dropout=config.dropout, batch_norm=config.batch_norm)
        self.head = LogitHead(self.width + config.hidden[-1])

    def combine(self, batch: RankBatch, fields: Tensor, crossed: Tensor) -> Tensor:
        """Return ``w^T [x_L; MLP(x_0)] + b``."""
        logits: Tensor = self.head(crossed, self.tower(fields.flatten(1)))
        return logits
