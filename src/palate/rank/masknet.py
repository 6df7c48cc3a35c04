"""MaskNet: every layer is multiplied by a mask that the row itself has drawn."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as functional
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.errors import ConfigError
from palate.rank.contract import Ranker
from palate.rank.dropout import Dropout
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import MLP, LogitHead, init_linear
from palate.registry import register

__all__ = ["MaskBlock", "MaskNet", "MaskNetConfig"]


class MaskNetConfig(ModelConfig):
    """Settings of :class:`MaskNet`; ``base`` is the one of the BARS benchmark on Criteo.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        structure: ``serial`` (blocks one on the other) or ``parallel`` (blocks side by side under a tower).
        hidden: Widths of the blocks (``serial``, at least one) or of the tower (``parallel``).
        num_blocks: Blocks side by side (``parallel``).
        block_size: Width of each of them (``parallel``).
        reduction: Width of a mask's hidden layer, as a multiple of the width it masks.
        embedding_norm: Normalise each field's vector before the first block.
        layer_norm: Normalise inside a block, before its activation.
        dropout: Share of units zeroed in training, after each block and in the tower.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32)},
        "small": {},
        "base": {
            "structure": "parallel",
            "hidden": (1000,) * 5,
            "num_blocks": 2,
            "block_size": 500,
            "reduction": 0.1,
            "embedding_norm": False,
            "layer_norm": False,
            "dropout": 0.3,
        },
    }

    embedding_size: int = Field(16, ge=1)
    structure: Literal["serial", "parallel"] = "serial"
    hidden: tuple[PositiveInt, ...] = (400, 400, 400)
    num_blocks: int = Field(2, ge=1)
    block_size: int = Field(64, ge=1)
    reduction: float = Field(1.0, gt=0)
    embedding_norm: bool = True
    layer_norm: bool = True
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _serial_has_blocks(self) -> MaskNetConfig:
        if self.structure == "serial" and not self.hidden:
            raise ConfigError("A serial MaskNet needs at least one block.", remedy="Give hidden, one width per block.")
        return self


class MaskBlock(nn.Module):
    r"""A layer whose input is masked under the guidance of the row's embedding.

    .. math::
        m = U\,\mathrm{ReLU}(V x_0 + a) + c, \qquad
        y = \mathrm{Dropout}\big(\mathrm{ReLU}(\mathrm{LN}(W (m \odot h)))\big)

    Args:
        guide_size: Width of the embedding ``x_0`` that guides the mask.
        in_features: Width of ``h``.
        out_features: Width of ``y``.
        reduction: Width of the mask's hidden layer, as a multiple of ``in_features``; rounded down, at least 1.
        layer_norm: Normalise before the activation.
        dropout: Share of units zeroed in training.

    Shapes:
        forward: ``x_0 [B, guide_size]``, ``h [B, in_features]`` -> ``[B, out_features]``.

    Example:
        >>> MaskBlock(6, 4, 3)(torch.zeros(2, 6), torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        guide_size: int,
        in_features: int,
        out_features: int,
        *,
        reduction: float = 1.0,
        layer_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        aggregation = max(1, int(in_features * reduction))
        self.mask = MLP(guide_size, [aggregation], out_features=in_features)
        self.linear = nn.Linear(in_features, out_features, bias=False)
        self.norm = nn.LayerNorm(out_features) if layer_norm else nn.Identity()
        self.dropout = Dropout(dropout)
        init_linear(self)

    def forward(self, guide: Tensor, hidden: Tensor) -> Tensor:
        """Return the block's output ``[B, out_features]``."""
        out: Tensor = self.dropout(self.norm(self.linear(self.mask(guide) * hidden)).relu())
        return out


@register("ranker", "masknet", source='Wang et al., "MaskNet", DLP-KDD 2021')
class MaskNet(Ranker):
    r"""Mask blocks, one on the other or side by side.

    .. math::
        h_0 &= [\mathrm{LN}_1(e_1); \dots; \mathrm{LN}_F(e_F)] \\
        z &= w^\top h_L + b, \quad h_{l+1} = \mathrm{Mask}_l(x_0, h_l) \text{ (serial)} \\
        z &= \mathrm{MLP}\big([\mathrm{Mask}_1(x_0, h_0); \dots; \mathrm{Mask}_K(x_0, h_0)]\big) \text{ (parallel)}

    with ``Mask`` the :class:`MaskBlock`; the mask always reads the embedding before normalisation. A tower with a
    product in every layer. The masks cost as much as the layers: lower ``reduction`` when there are many fields.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If a serial network has no block.

    Example:
        >>> model = MaskNet(FeatureSpec.from_sizes(user=10, item=20), MaskNetConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Wang, She, Zhang, "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by Instance-Guided
        Mask", DLP-KDD 2021.
    """

    Config: ClassVar[type[ModelConfig]] = MaskNetConfig

    def __init__(
        self, spec: FeatureSpec, config: MaskNetConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        size = config.embedding_size
        width = spec.num_fields * size
        self.embedding = FieldEmbedding(spec, size, vectors=vectors)
        self.embedding_norm = config.embedding_norm
        if config.embedding_norm:
            self.norm_weight = nn.Parameter(torch.ones(spec.num_fields, size))
            self.norm_bias = nn.Parameter(torch.zeros(spec.num_fields, size))

        def block(in_features: int, out_features: int) -> MaskBlock:
            return MaskBlock(
                width,
                in_features,
                out_features,
                reduction=config.reduction,
                layer_norm=config.layer_norm,
                dropout=config.dropout,
            )

        self.serial = config.structure == "serial"
        if self.serial:
            widths = [width, *config.hidden]
            self.blocks = nn.ModuleList(block(a, b) for a, b in pairwise(widths))
            self.tower = MLP(widths[-1], [])
        else:
            self.blocks = nn.ModuleList(block(width, config.block_size) for _ in range(config.num_blocks))
            self.tower = MLP(config.num_blocks * config.block_size, config.hidden, dropout=config.dropout)
        self.head = LogitHead(self.tower.out_features)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        fields = self.embedding(batch)
        guide = fields.flatten(1)
        hidden = self._normalised(fields).flatten(1)
        if self.serial:
            for block in self.blocks:
                hidden = block(guide, hidden)
        else:
            hidden = torch.cat([block(guide, hidden) for block in self.blocks], dim=1)
        logits: Tensor = self.head(self.tower(hidden))
        return logits

    def _normalised(self, fields: Tensor) -> Tensor:
        """Normalise each field's vector with a scale and a shift of its own."""
        if not self.embedding_norm:
            return fields
        return functional.layer_norm(fields, fields.shape[-1:]) * self.norm_weight + self.norm_bias
