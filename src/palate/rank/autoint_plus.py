"""AutoInt+: self-attention between the fields of a row, beside a tower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding, LinearTerm
from palate.rank.layers import LogitHead, init_linear
from palate.rank.tower import OptionalTowerConfig, make_tower
from palate.registry import register

__all__ = ["AutoIntPlus", "AutoIntPlusConfig", "InteractingLayer"]


class AutoIntPlusConfig(OptionalTowerConfig):
    """Settings of :class:`AutoIntPlus`; ``base`` is the one of the BARS benchmark on Criteo.

    Besides those of :class:`~palate.rank.tower.OptionalTowerConfig`:

    Attributes:
        num_layers: Number of interacting layers.
        attention_size: Width of a field after an interacting layer, all heads together.
        num_heads: Number of heads; divides ``attention_size``.
        scale: Divide the scores by the square root of the head's width (the paper does not).
        residual: Add each layer's input, projected where the widths differ.
        layer_norm: Normalise before the activation of an interacting layer.
        wide: Add a linear term.
        hidden: Widths of the tower; empty for AutoInt without the plus.
        dropout: Share of attention weights and of hidden units zeroed in training.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "num_layers": 2, "attention_size": 16, "hidden": (64, 32)},
        "small": {},
        "base": {"num_layers": 5, "num_heads": 1, "wide": True, "hidden": (1000,) * 5, "dropout": 0.0},
    }

    num_layers: int = Field(3, ge=1)
    attention_size: int = Field(64, ge=1)
    num_heads: int = Field(2, ge=1)
    scale: bool = False
    residual: bool = True
    layer_norm: bool = False
    wide: bool = False

    @model_validator(mode="after")
    def _heads_fit(self) -> AutoIntPlusConfig:
        if self.attention_size % self.num_heads:
            raise ConfigError(
                f"attention_size is {self.attention_size} and num_heads is {self.num_heads}.",
                remedy="num_heads must divide attention_size.",
            )
        return self


class InteractingLayer(nn.Module):
    r"""Multi-head self-attention over the fields, then the input again, then ReLU.

    .. math::
        \alpha^h &= \mathrm{softmax}\big((E Q_h)(E K_h)^\top\big), \qquad
        \tilde E = [\alpha^1 E V_1; \dots; \alpha^H E V_H] \\
        E' &= \mathrm{ReLU}(\tilde E + E W_\mathrm{res})

    Args:
        in_features: Width of a field at the input.
        out_features: Width of a field at the output, all heads together.
        num_heads: Number of heads ``H``; divides ``out_features``.
        scale: Divide the scores by the square root of the head's width.
        residual: Add the input, projected where the widths differ.
        layer_norm: Normalise before the activation.
        dropout: Share of attention weights zeroed in training.

    Shapes:
        forward: ``[B, F, in_features]`` -> ``[B, F, out_features]``.

    Example:
        >>> import torch
        >>> InteractingLayer(8, 16, num_heads=2)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 16])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_heads: int,
        scale: bool = False,
        residual: bool = True,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.factor = 1 / math.sqrt(out_features // num_heads) if scale else 1.0
        self.query = nn.Linear(in_features, out_features, bias=False)
        self.key = nn.Linear(in_features, out_features, bias=False)
        self.value = nn.Linear(in_features, out_features, bias=False)
        self.residual: nn.Module | None = None
        if residual:
            projected = in_features != out_features
            self.residual = nn.Linear(in_features, out_features, bias=False) if projected else nn.Identity()
        self.norm = nn.LayerNorm(out_features) if layer_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        init_linear(self)

    def forward(self, fields: Tensor) -> Tensor:
        """Return the fields after one round of attention ``[B, F, out_features]``."""

        def heads(values: Tensor) -> Tensor:  # [B, F, H * w] -> [B, H, F, w]
            return values.view(*values.shape[:2], self.num_heads, -1).transpose(1, 2)

        query, key, value = heads(self.query(fields)), heads(self.key(fields)), heads(self.value(fields))
        weights = (query @ key.transpose(2, 3) * self.factor).softmax(dim=3)  # [B, H, F, F]
        mixed = (self.dropout(weights) @ value).transpose(1, 2).flatten(2)
        if self.residual is not None:
            mixed = mixed + self.residual(fields)
        out: Tensor = self.norm(mixed)
        return out.relu()


@register("ranker", "autoint-plus", source='Song et al., "AutoInt", CIKM 2019')
class AutoIntPlus(Ranker):
    r"""Interacting layers over the fields, and a tower beside them.

    .. math:: z = w^\top\,\mathrm{vec}\big(E^{(L)}\big) + b + \mathrm{MLP}([e_1; \dots; e_F]) \;(+\ \mathrm{LR}(x))

    with ``E^(l+1)`` the :class:`InteractingLayer` of ``E^(l)``. The attention weights say per row which fields
    were combined. It costs ``F^2`` scores per row and layer; at equal time ``dcnv2`` is usually ahead.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If ``num_heads`` does not divide ``attention_size``.

    Example:
        >>> import torch
        >>> model = AutoIntPlus(FeatureSpec.from_sizes(user=10, item=20), AutoIntPlusConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks", CIKM 2019.
    """

    Config: ClassVar[type[ModelConfig]] = AutoIntPlusConfig

    def __init__(
        self, spec: FeatureSpec, config: AutoIntPlusConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        widths = [config.embedding_size, *[config.attention_size] * config.num_layers]
        self.attention = nn.Sequential(
            *(
                InteractingLayer(
                    width,
                    config.attention_size,
                    num_heads=config.num_heads,
                    scale=config.scale,
                    residual=config.residual,
                    layer_norm=config.layer_norm,
                    dropout=config.dropout,
                )
                for width in widths[:-1]
            )
        )
        self.head = LogitHead(spec.num_fields * config.attention_size)
        self.tower: nn.Module | None = None
        if config.hidden:
            width = spec.num_fields * config.embedding_size
            tower = make_tower(width, config)
            self.tower = nn.Sequential(tower, LogitHead(tower.out_features))
        self.linear = LinearTerm(spec, vectors=vectors) if config.wide else None

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        logits: Tensor = self.head(self.attention(fields).flatten(1))
        if self.tower is not None:
            logits = logits + self.tower(fields.flatten(1))
        if self.linear is not None:
            logits = logits + self.linear(batch)
        return logits
