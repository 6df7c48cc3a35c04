"""FinalNet (FINAL): quadratic layers in one or two blocks that teach each other."""

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
from palate.rank.layers import LogitHead, activation_called, init_linear
from palate.registry import register

__all__ = ["FactorizedBlock", "FactorizedInteraction", "FieldGate", "FinalNet", "FinalNetConfig"]


class FinalNetConfig(ModelConfig):
    """Settings of :class:`FinalNet`; ``base`` is the one of the BARS benchmark on Criteo.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        num_blocks: 1, or 2 with distillation between them.
        hidden: Widths of the first block.
        dropout: Share of its hidden units zeroed in training.
        second_hidden: Widths of the second block.
        second_dropout: Share of its hidden units zeroed in training.
        residual: ``concat`` (half of a layer linear, half products; even widths) or ``sum`` (both on every unit).
        field_gate: Feed the first block with the fields and with the fields weighted by a gate.
        activation: ``identity``, as in the paper's equations, or ``relu``, as in the tuned benchmark settings.
        batch_norm: Normalise after each quadratic layer.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "hidden": (64, 32), "second_hidden": (32,)},
        "small": {},
        "base": {
            "hidden": (1000,) * 3,
            "dropout": 0.4,
            "second_hidden": (512,),
            "second_dropout": 0.4,
            "activation": "relu",
        },
    }

    embedding_size: int = Field(16, ge=1)
    num_blocks: Literal[1, 2] = 2
    hidden: tuple[PositiveInt, ...] = Field((400, 400), min_length=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    second_hidden: tuple[PositiveInt, ...] = Field((400,), min_length=1)
    second_dropout: float = Field(0.1, ge=0, lt=1)
    residual: Literal["concat", "sum"] = "concat"
    field_gate: bool = True
    activation: Literal["identity", "relu"] = "identity"
    batch_norm: bool = True

    @model_validator(mode="after")
    def _halves_are_whole(self) -> FinalNetConfig:
        odd = [width for width in (*self.hidden, *self.second_hidden) if width % 2]
        if self.residual == "concat" and odd:
            raise ConfigError(
                f'residual is "concat" and a width is {odd[0]}.', remedy='Use even widths, or residual="sum".'
            )
        return self


class FactorizedInteraction(nn.Module):
    r"""A quadratic layer in place of a linear one.

    .. math::
        (h_2, h_1) = W x + b, \qquad
        y = [h_2;\ h_1 \odot h_2] \text{ (concat)}, \qquad y = h_2 + h_1 \odot h_2 \text{ (sum)}

    ``concat`` has as many parameters as ``Linear(in_features, out_features)``, ``sum`` twice as many.

    Args:
        in_features: Width of the input.
        out_features: Width of the output; even for ``concat``.
        residual: ``concat`` or ``sum``.

    Shapes:
        forward: ``[B, in_features]`` -> ``[B, out_features]``.

    Example:
        >>> FactorizedInteraction(6, 4)(torch.zeros(2, 6)).shape
        torch.Size([2, 4])
    """

    def __init__(self, in_features: int, out_features: int, *, residual: str = "concat") -> None:
        super().__init__()
        self.concat = residual == "concat"
        self.linear = nn.Linear(in_features, out_features if self.concat else 2 * out_features)
        init_linear(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the quadratic features ``[B, out_features]``."""
        plain, factor = self.linear(x).chunk(2, dim=1)
        product: Tensor = plain * factor
        return torch.cat([plain, product], dim=1) if self.concat else plain + product


class FactorizedBlock(nn.Module):
    """A stack of quadratic layers and a linear head: input ``[B, in_features]`` -> logits ``[B]``.

    Args:
        in_features: Width of the input.
        hidden: Widths of the layers, at least one.
        residual: See :class:`FactorizedInteraction`.
        activation: Applied after each layer.
        dropout: Share of hidden units zeroed in training.
        batch_norm: Normalise before each activation.

    Example:
        >>> FactorizedBlock(6, (4, 4))(torch.zeros(2, 6)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        in_features: int,
        hidden: tuple[int, ...],
        *,
        residual: str = "concat",
        activation: str = "identity",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers.append(FactorizedInteraction(width, next_width, residual=residual))
            if batch_norm:
                layers.append(nn.BatchNorm1d(next_width))
            layers += [activation_called(activation), Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.head = LogitHead(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's logits ``[B]``."""
        logits: Tensor = self.head(self.layers(x))
        return logits


class FieldGate(nn.Module):
    r"""The fields, and again the fields under a gate that mixes over fields.

    .. math:: E' = [E;\ (G E + g) \odot E], \qquad G = 0,\ g = 1 \text{ at the start}

    Args:
        num_fields: Number of fields ``F``.

    Shapes:
        forward: ``[B, F, D]`` -> ``[B, 2 F, D]``.

    Example:
        >>> FieldGate(3)(torch.ones(2, 3, 4)).shape
        torch.Size([2, 6, 4])
    """

    def __init__(self, num_fields: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_fields, num_fields)
        nn.init.zeros_(self.linear.weight)
        nn.init.ones_(self.linear.bias)

    def forward(self, fields: Tensor) -> Tensor:
        """Return plain and gated fields ``[B, 2 F, D]``."""
        gates = self.linear(fields.transpose(1, 2)).transpose(1, 2)
        return torch.cat([fields, fields * gates], dim=1)


@register("ranker", "finalnet", source='Zhu et al., "FINAL: Factorized Interaction Layer", SIGIR 2023')
class FinalNet(Ranker):
    r"""One or two blocks of quadratic layers.

    .. math::
        z = z_1 \text{ (one block)}, \qquad z = \tfrac12 (z_1 + z_2) \text{ (two blocks)}, \qquad
        z_1 = \mathrm{block}_1(\mathrm{gate}(E)),\ z_2 = \mathrm{block}_2(E)

    With two blocks each learns from the label through the mean and from the mean itself (cross-block
    distillation), with ``t`` the stopped probability of the mean:

    .. math:: L = \mathrm{BCE}(\sigma(z), y) + \mathrm{BCE}(\sigma(z_1), t) + \mathrm{BCE}(\sigma(z_2), t), \qquad
              t = \mathrm{stopgrad}\,\sigma(z)

    The printed loss is therefore about three times a log loss. ``L`` layers reach degree ``2^L`` without any
    activation; ``qnn-alpha`` refines the same idea.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Raises:
        ConfigError: If ``residual`` is ``concat`` and a width is odd.

    Example:
        >>> model = FinalNet(FeatureSpec.from_sizes(user=10, item=20), FinalNetConfig.sized("tiny")).eval()
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Zhu, Jia, Cai, Dai, Li, Dong, Tang, Zhang, "FINAL: Factorized Interaction Layer for CTR Prediction",
        SIGIR 2023.
    """

    Config: ClassVar[type[ModelConfig]] = FinalNetConfig

    def __init__(
        self, spec: FeatureSpec, config: FinalNetConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        width = spec.num_fields * config.embedding_size
        self.embedding = FieldEmbedding(spec, config.embedding_size, vectors=vectors)
        self.gate = FieldGate(spec.num_fields) if config.field_gate else nn.Identity()

        def block(in_features: int, hidden: tuple[int, ...], dropout: float) -> FactorizedBlock:
            return FactorizedBlock(
                in_features,
                hidden,
                residual=config.residual,
                activation=config.activation,
                dropout=dropout,
                batch_norm=config.batch_norm,
            )

        self.first = block(2 * width if config.field_gate else width, config.hidden, config.dropout)
        self.second: FactorizedBlock | None = None
        if config.num_blocks == 2:
            self.second = block(width, config.second_hidden, config.second_dropout)

    def block_logits(self, batch: RankBatch) -> tuple[Tensor, ...]:
        """Return the logits ``[B]`` of each block."""
        fields = self.embedding(batch)
        first: Tensor = self.first(self.gate(fields).flatten(1))
        return (first,) if self.second is None else (first, self.second(fields.flatten(1)))

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        return _mean(self.block_logits(batch))

    def loss(self, batch: RankBatch) -> Tensor:
        """Return the cross-entropy of the mean plus, with two blocks, that of each block against the mean."""
        assert batch.labels is not None, "a batch for training carries labels"
        blocks = tuple(logits.float() for logits in self.block_logits(batch))
        mean = _mean(blocks)
        total = functional.binary_cross_entropy_with_logits(mean, batch.labels, weight=batch.weights)
        if len(blocks) == 2:
            target = mean.detach().sigmoid()
            for logits in blocks:
                total = total + functional.binary_cross_entropy_with_logits(logits, target, weight=batch.weights)
        return total


def _mean(blocks: tuple[Tensor, ...]) -> Tensor:
    return blocks[0] if len(blocks) == 1 else 0.5 * (blocks[0] + blocks[1])
