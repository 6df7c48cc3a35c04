"""FCN (DCN-V3): an exponential and a linear cross network with a self-mask, each judged by its own loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as functional
from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import LogitHead, init_linear
from palate.registry import register

__all__ = ["FCN", "FCNConfig", "MaskedCrossNet"]


class FCNConfig(ModelConfig):
    """Settings of :class:`FCN`; ``base`` is the one of the authors' Criteo log.

    Attributes:
        embedding_size: Width ``D`` of a field in each head; even.
        networks: ``both``, or one of ``exponential`` (ECN) and ``linear`` (LCN) alone with the plain loss.
        num_layers: Layers of the exponential cross network.
        dropout: Share of its units zeroed in training, after each layer.
        linear_layers: Layers of the linear cross network.
        linear_dropout: Share of its units zeroed in training, after each layer.
        num_heads: Independent embeddings that share the cross networks; their logits are averaged.
        layer_norm: Normalise before the mask.
        batch_norm: Normalise each head before the mask.
        detach_weights: Pass no gradient through the weights of the branch losses. The reference does pass it.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "num_layers": 2, "linear_layers": 2},
        "small": {},
        "base": {"num_layers": 3, "dropout": 0.1, "linear_layers": 4, "linear_dropout": 0.2},
    }

    embedding_size: int = Field(16, ge=2, multiple_of=2)
    networks: Literal["both", "exponential", "linear"] = "both"
    num_layers: int = Field(3, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    linear_layers: int = Field(3, ge=1)
    linear_dropout: float = Field(0.1, ge=0, lt=1)
    num_heads: int = Field(1, ge=1)
    layer_norm: bool = True
    batch_norm: bool = False
    detach_weights: bool = False

    @model_validator(mode="after")
    def _branches_have_weights(self) -> FCNConfig:
        if self.detach_weights and self.networks != "both":
            raise ConfigError(
                f'detach_weights is set and networks is "{self.networks}".',
                remedy='Only networks="both" has weighted branch losses.',
            )
        return self


class MaskedCrossNet(nn.Module):
    r"""Cross layers that use half a matrix twice: once as it is, once under a mask of its own.

    .. math::
        c_l = W_l x_l, \qquad
        x_{l+1} = u \odot \big([c_l;\ c_l \odot \mathrm{ReLU}(\mathrm{LN}(c_l))] + b_l\big) + x_l, \qquad
        u = \begin{cases} x_l & \text{exponential: degree doubles} \\ x_0 & \text{linear: degree grows by one}
        \end{cases}

    followed by dropout, and at the end ``z = w^T x_L + b`` per head, averaged over heads. ``W_l`` maps ``d`` to
    ``d / 2`` without a bias, ``b_l`` starts in U(0, 1) as in the authors' code.

    Args:
        in_features: Width ``d``, even.
        num_layers: Number of layers.
        exponential: Whether the outer factor is the layer's input or the network's.
        num_heads: Number of heads ``H``, for the batch normalisation.
        layer_norm: Normalise before the mask.
        batch_norm: Normalise each head of ``c``.
        dropout: Share of units zeroed in training, after each layer.

    Shapes:
        forward: ``[B, H, d]`` -> logits ``[B]``.

    Example:
        >>> MaskedCrossNet(4, 2, exponential=True)(torch.zeros(3, 1, 4)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        in_features: int,
        num_layers: int,
        *,
        exponential: bool,
        num_heads: int = 1,
        layer_norm: bool = True,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        half = in_features // 2
        self.exponential = exponential
        self.crosses = nn.ModuleList(nn.Linear(in_features, half, bias=False) for _ in range(num_layers))
        self.biases = nn.ParameterList(nn.Parameter(torch.empty(in_features).uniform_()) for _ in range(num_layers))
        self.head_norms = nn.ModuleList(
            nn.BatchNorm1d(num_heads) if batch_norm else nn.Identity() for _ in range(num_layers)
        )
        self.mask_norms = nn.ModuleList(nn.LayerNorm(half) if layer_norm else nn.Identity() for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)
        self.head = LogitHead(in_features)
        init_linear(self)

    def forward(self, x_0: Tensor) -> Tensor:
        """Return logits ``[B]``."""
        x = x_0
        layers = zip(self.crosses, self.biases, self.head_norms, self.mask_norms, strict=True)
        for cross, bias, head_norm, mask_norm in layers:
            half = head_norm(cross(x))
            masked = half * mask_norm(half).relu()
            outer = x if self.exponential else x_0
            x = self.dropout(torch.addcmul(x, outer, torch.cat([half, masked], dim=2) + bias))
        logits: Tensor = self.head(x)  # [B, H]
        return logits.mean(dim=1)


@register("ranker", "fcn", source="Li et al., FCN (DCNv3), arXiv 2407.13349")
class FCN(Ranker):
    r"""Exponential (ECN) and linear (LCN) cross network over the same embeddings, averaged.

    .. math:: z = \tfrac12 (z_E + z_L), \qquad
              L = \mathrm{BCE} + \sum_{k \in \{E, L\}} w_k\,\mathrm{BCE}_k, \qquad
              w_k = \max(0, \mathrm{BCE}_k - \mathrm{BCE})

    (Tri-BCE.) A branch that is behind the mean gets a loss of its own. In the authors' code the weights ``w_k``
    carry gradient, so near the mean a branch is pulled by about ``BCE_k`` times the gradient of its lead; that is
    kept here, and ``detach_weights`` turns it off. The field vectors are laid out as [first halves; second halves],
    so that one half of every vector meets the plain and the other the masked part. No tower at all, and among the
    smallest of the strong models; ``qnn-alpha`` is its successor.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If ``embedding_size`` is odd.

    Example:
        >>> model = FCN(FeatureSpec.from_sizes(user=10, item=20), FCNConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction",
        arXiv 2407.13349 (first called DCNv3).
    """

    Config: ClassVar[type[ModelConfig]] = FCNConfig

    def __init__(self, spec: FeatureSpec, config: FCNConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(spec, config)
        self.num_heads = config.num_heads
        self.detach_weights = config.detach_weights
        self.embedding = FieldEmbedding(spec, config.embedding_size * config.num_heads, vectors=vectors)

        def network(exponential: bool) -> MaskedCrossNet:
            return MaskedCrossNet(
                spec.num_fields * config.embedding_size,
                config.num_layers if exponential else config.linear_layers,
                exponential=exponential,
                num_heads=config.num_heads,
                layer_norm=config.layer_norm,
                batch_norm=config.batch_norm,
                dropout=config.dropout if exponential else config.linear_dropout,
            )

        kinds = {"both": (True, False), "exponential": (True,), "linear": (False,)}[config.networks]
        self.networks = nn.ModuleList(network(exponential) for exponential in kinds)

    def branch_logits(self, batch: RankBatch) -> list[Tensor]:
        """Return the logits ``[B]`` of each network."""
        x_0 = self._heads(self.embedding(batch))
        return [network(x_0) for network in self.networks]

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        return _mean(self.branch_logits(batch))

    def loss(self, batch: RankBatch) -> Tensor:
        """Return the cross-entropy of the mean plus, with two networks, the weighted one of each."""
        labels = batch.labels
        assert labels is not None, "a batch for training carries labels"
        branches = [logits.float() for logits in self.branch_logits(batch)]

        def entropy(logits: Tensor) -> Tensor:
            return functional.binary_cross_entropy_with_logits(logits, labels, weight=batch.weights)

        mean = entropy(_mean(branches))
        total = mean
        for branch in branches if len(branches) == 2 else []:
            own = entropy(branch)
            behind = (own - mean).clamp_min(0)
            total = total + own * (behind.detach() if self.detach_weights else behind)
        return total

    def _heads(self, fields: Tensor) -> Tensor:
        """Cut ``[B, F, H D]`` into heads, each laid out as [first halves; second halves]: ``[B, H, F D]``."""
        cut = fields.reshape(*fields.shape[:2], self.num_heads, 2, -1)  # [B, F, H, 2, D / 2]
        return cut.permute(0, 2, 3, 1, 4).flatten(2)


def _mean(branches: list[Tensor]) -> Tensor:
    return branches[0] if len(branches) == 1 else 0.5 * (branches[0] + branches[1])
