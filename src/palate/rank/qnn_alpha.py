"""QNN-alpha: mid-activated quadratic layers with a multi-head Khatri-Rao product, taught by their own ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from palate.config import ModelConfig, Size
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.dropout import Dropout
from palate.rank.embedding import FieldEmbedding
from palate.rank.khatri_rao import KhatriRaoShape, khatri_rao_plain, khatri_rao_training
from palate.rank.layers import LogitHead, activation_called, init_linear
from palate.rank.self_ensemble import self_ensemble_loss
from palate.rank.trunk import Layer, Trunk
from palate.registry import register

__all__ = ["KhatriRaoLayer", "QNNAlpha", "QNNAlphaConfig", "alpha_trunk"]

HeadLayout = Literal["reference", "aligned"]


class QNNAlphaConfig(ModelConfig):
    """Settings of QNN-alpha; the base size is the published one for Criteo.

    Attributes:
        embedding_size: Width ``D`` of every field.
        num_layers: Number of layers ``L``.
        num_rows: Rows ``R`` of the Khatri-Rao product. More rows make a richer gate and a less stable training.
        num_heads: Heads ``H``; must divide ``embedding_size``.
        dropout: Share dropped from the activated factor and, again, from every layer's output.
        batch_norm: Normalise the linear map's output before the activation.
        mid_activation: Activation inside the product.
        head_layout: ``reference`` adds the product head by head, as it comes, to the input field by field, like the
            authors' code; ``aligned`` brings it back into field order first. They agree for one head.
        loss: ``self-ensemble`` (needs dropout) or ``bce``.
    """

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 8, "num_layers": 1, "num_rows": 2, "batch_norm": True},
        "small": {"num_layers": 2, "num_rows": 3, "batch_norm": True},
        "base": {"num_layers": 4, "num_rows": 5},
    }

    embedding_size: int = Field(16, ge=1)
    num_layers: int = Field(3, ge=1)
    num_rows: int = Field(2, ge=1)
    num_heads: int = Field(1, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm: bool = False
    mid_activation: str = "relu"
    head_layout: HeadLayout = "reference"
    loss: Literal["self-ensemble", "bce"] = "self-ensemble"

    @field_validator("mid_activation")
    @classmethod
    def _known_activation(cls, name: str) -> str:
        activation_called(name)
        return name

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ConfigError(
                f"num_heads = {self.num_heads} does not divide embedding_size = {self.embedding_size}.",
                remedy="Every head takes an equal slice of each embedding.",
            )
        return self


class KhatriRaoLayer(Layer):
    r"""One layer of QNN-alpha.

    .. math::
        u = \mathrm{BN}(W x + b) \in \mathbb R^{R d}, \qquad
        h = \mathrm{Dropout}(\mathrm{ReLU}(u)) \in \mathbb R^{H \times R \times d/H}

    .. math::
        y_{\eta} = \sum_{r=1}^{R} x_{\eta} \odot h_{\eta, r}, \qquad
        Q(x) = \mathrm{Dropout}([y_1; \dots; y_H] + x)

    where head ``η`` of the input, ``x_η``, is slice ``η`` of every field's embedding: each head sees all fields.

    Args:
        num_fields: Number of fields ``F``; the width is ``d = F * embedding_size``.
        config: The network's settings.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.
    """

    def __init__(self, num_fields: int, config: QNNAlphaConfig) -> None:
        super().__init__()
        self.shape = KhatriRaoShape(
            num_fields,
            config.embedding_size,
            config.num_heads,
            config.num_rows,
            aligned=config.head_layout == "aligned",
        )
        width = num_fields * config.embedding_size
        self.linear = nn.Linear(width, config.num_rows * width)
        self.norm = nn.BatchNorm1d(config.num_rows * width) if config.batch_norm else nn.Identity()
        self.activation = activation_called(config.mid_activation)
        self.factor_dropout = Dropout(config.dropout)
        self.dropout = Dropout(config.dropout)
        init_linear(self)

    def prepare(self, x: Tensor) -> Tensor:
        """Return ``u``, which two passes share."""
        u: Tensor = self.norm(self.linear(x))
        return u

    def finish(self, x: Tensor, prepared: Tensor) -> Tensor:
        """Return ``Q(x)`` with dropout."""
        if self._fused:
            return khatri_rao_training(x, prepared, self.shape, self.factor_dropout, self.dropout)
        h = self.factor_dropout(self.activation(prepared))
        out: Tensor = self.dropout(khatri_rao_plain(x, h, self.shape))
        return out

    def finish_twice(self, x: Tensor, prepared: Tensor) -> Tensor:
        """Return two outputs under independent masks, in one sweep over ``u``."""
        if self._fused:
            return khatri_rao_training(x, prepared, self.shape, self.factor_dropout, self.dropout, passes=2)
        return super().finish_twice(x, prepared)

    @property
    def _fused(self) -> bool:
        return isinstance(self.activation, nn.ReLU) and self.factor_dropout.active and self.dropout.active


def alpha_trunk(num_fields: int, config: QNNAlphaConfig) -> Trunk:
    """Return the stack of QNN-alpha's layers."""
    return Trunk(KhatriRaoLayer(num_fields, config) for _ in range(config.num_layers))


@register("ranker", "qnn-alpha", source="Li et al., KDD 2025, arXiv 2505.17999")
class QNNAlpha(Ranker):
    r"""QNN-alpha: quadratic layers gated by a rectified Khatri-Rao product, trained by the self-ensemble loss.

    .. math::
        x_0 = [e_1; \dots; e_F], \qquad x_{l+1} = \mathrm{Dropout}(Q_l(x_l)), \qquad z = w^\top x_L + b

    with ``Q`` the :class:`KhatriRaoLayer`. In training every row passes twice under independent masks, after one
    embedding look-up; at inference once, without masks. No tower, no wide term. Choose it for tables of many
    categorical fields; without dropout its loss is plain cross-entropy at twice the cost, so choose ``loss="bce"``.

    Args:
        spec: The fields.
        config: Settings; ``QNNAlphaConfig()`` when left out.
        vectors: Frozen matrices of ``vector`` fields.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits ``[B]``.

    Example:
        >>> import torch
        >>> spec = FeatureSpec.from_sizes(user=10, item=20)
        >>> model = QNNAlpha(spec, QNNAlphaConfig.sized("tiny")).eval()
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Li et al., "Revisiting Feature Interactions from the Perspective of Quadratic Neural Networks for
        Click-through Rate Prediction", KDD 2025.
    """

    Config = QNNAlphaConfig
    config: QNNAlphaConfig

    def __init__(
        self,
        spec: FeatureSpec,
        config: QNNAlphaConfig | None = None,
        *,
        vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        config = QNNAlphaConfig() if config is None else config
        super().__init__(spec, config)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.trunk = alpha_trunk(spec.num_fields, config)
        self.head = LogitHead(spec.num_fields * config.embedding_size)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.head(self.trunk(self.embedding(batch).flatten(1)))
        return logits

    def loss(self, batch: RankBatch) -> Tensor:
        """Return the self-ensemble loss (or the cross-entropy, when the settings say so)."""
        if self.config.loss == "bce":
            return super().loss(batch)
        assert batch.labels is not None, "a batch for training carries labels"
        first, second = self.trunk.twice(self.embedding(batch).flatten(1))
        return self_ensemble_loss(self.head(first), self.head(second), batch.labels, batch.weights)
