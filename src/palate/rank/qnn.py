"""QNN: a stack of quadratic neurons of one of thirty formats, without a tower and without a wide term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor, nn

from palate.config import ModelConfig, Size
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.dropout import Dropout
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import LogitHead, activation_called, init_linear
from palate.rank.neuron_formats import neuron_format
from palate.rank.neurons import Neuron
from palate.rank.self_ensemble import self_ensemble_loss
from palate.rank.trunk import Layer, Trunk
from palate.registry import register

__all__ = ["QNN", "QNNConfig", "QuadraticLayer"]


class QNNConfig(ModelConfig):
    """Settings of a quadratic neural network.

    Attributes:
        neuron: Format of the neurons, ``T1`` to ``T30``.
        embedding_size: Width ``D`` of every field.
        num_layers: Number of quadratic layers.
        dropout: Share dropped after every layer.
        batch_norm: ``inside`` normalises after every linear map in the layer (before a mid-activation),
            ``after`` normalises the layer's output (before a post-activation), ``none`` does neither. The formats
            without a residual, T2 to T8, start with almost no signal and need one of them.
        post_activation: Activation after every layer; ``identity`` for none.
        reduced_width: Width to which T1, T2 and T6 reduce the input, their size being cubic in it.
        loss: ``bce``, or ``self-ensemble`` (needs dropout).
    """

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {
        "tiny": {"embedding_size": 8, "num_layers": 1, "batch_norm": "inside", "reduced_width": 16},
        "small": {"num_layers": 2, "batch_norm": "inside"},
        "base": {},
    }

    neuron: str = "T9"
    embedding_size: int = Field(16, ge=1)
    num_layers: int = Field(3, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm: Literal["none", "inside", "after"] = "none"
    post_activation: str = "identity"
    reduced_width: int = Field(100, ge=1)
    loss: Literal["bce", "self-ensemble"] = "bce"

    @field_validator("neuron")
    @classmethod
    def _known_neuron(cls, name: str) -> str:
        return neuron_format(name).name

    @field_validator("post_activation")
    @classmethod
    def _known_activation(cls, name: str) -> str:
        activation_called(name)
        return name


class QuadraticLayer(Layer):
    r"""One layer of quadratic neurons: ``x_{l+1} = Dropout(a(BN(Q(x_l))))``.

    Args:
        width: Width ``d``.
        config: The network's settings.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.
    """

    def __init__(self, width: int, config: QNNConfig) -> None:
        super().__init__()
        parts: list[nn.Module] = [Neuron(config.neuron, width, batch_norm=config.batch_norm == "inside")]
        if config.batch_norm == "after":
            parts.append(nn.BatchNorm1d(width))
        if config.post_activation != "identity":
            parts.append(activation_called(config.post_activation))
        self.quadratic = nn.Sequential(*parts)
        self.dropout = Dropout(config.dropout)

    def prepare(self, x: Tensor) -> Tensor:
        """Return the layer's output before dropout: two passes share all of it."""
        out: Tensor = self.quadratic(x)
        return out

    def finish(self, x: Tensor, prepared: Tensor) -> Tensor:
        """Return the layer's output."""
        out: Tensor = self.dropout(prepared)
        return out


@register("ranker", "qnn", source="Li et al., KDD 2025, arXiv 2505.17999")
class QNN(Ranker):
    r"""Quadratic neural network: a polynomial of the features, without any activation unless asked for.

    .. math::
        x_0 = [e_1; \dots; e_F] \in \mathbb R^d, \qquad
        x_{l+1} = \mathrm{Dropout}(Q_l(x_l)), \qquad
        z = w^\top x_L + b

    ``Q`` is one of the formats of :mod:`palate.rank.neuron_formats`. Without an activation inside, ``L`` layers of
    degree 2 give a polynomial of degree ``2^L``. Formats T1, T2 and T6 hold ``n^3`` numbers and run behind a
    bias-free linear map to a reduced width.

    Args:
        spec: The fields.
        config: Settings; ``QNNConfig()`` when left out.
        vectors: Frozen matrices of ``vector`` fields.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits ``[B]``.

    Example:
        >>> spec = FeatureSpec.from_sizes(user=10, item=20)
        >>> QNN(spec, QNNConfig(neuron="T19")).trunk.layers[0].quadratic
        Sequential(
          (0): Neuron(
            T19: x ⊙ σ(Wx) + x
            (maps): ModuleList(
              (0): Linear(in_features=32, out_features=32, bias=True)
            )
          )
        )

    Source:
        Li et al., "Revisiting Feature Interactions from the Perspective of Quadratic Neural Networks for
        Click-through Rate Prediction", KDD 2025.
    """

    Config = QNNConfig
    config: QNNConfig

    def __init__(
        self, spec: FeatureSpec, config: QNNConfig | None = None, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        config = QNNConfig() if config is None else config
        super().__init__(spec, config)
        width = spec.num_fields * config.embedding_size
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.reduce: nn.Module = nn.Identity()
        if neuron_format(config.neuron).cubic:
            self.reduce = nn.Linear(width, config.reduced_width, bias=False)
            init_linear(self.reduce)
            width = config.reduced_width
        self.trunk = Trunk(QuadraticLayer(width, config) for _ in range(config.num_layers))
        self.head = LogitHead(width)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.head(self.trunk(self._input(batch)))
        return logits

    def loss(self, batch: RankBatch) -> Tensor:
        """Return the loss that the settings name."""
        if self.config.loss == "bce":
            return super().loss(batch)
        assert batch.labels is not None, "a batch for training carries labels"
        first, second = self.trunk.twice(self._input(batch))
        return self_ensemble_loss(self.head(first), self.head(second), batch.labels, batch.weights)

    def _input(self, batch: RankBatch) -> Tensor:
        x: Tensor = self.reduce(self.embedding(batch).flatten(1))
        return x
