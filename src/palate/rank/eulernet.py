"""EulerNet: products of any learned order as rotations and stretchings of complex numbers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import LogitHead, init_linear
from palate.registry import register

__all__ = ["EulerInteraction", "EulerNet", "EulerNetConfig"]


class EulerNetConfig(ModelConfig):
    """Settings of :class:`EulerNet`; ``base`` is the authors' one for Criteo.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        neurons: Number of complex features after each interaction layer.
        explicit_dropout: Share of moduli and phases zeroed in training.
        implicit_dropout: Share of real and imaginary parts zeroed in training.
        layer_norm: Normalise the real and the imaginary part of every feature after each layer.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "neurons": (8,)},
        "small": {},
        "base": {"neurons": (39, 39)},
    }

    embedding_size: int = Field(16, ge=1)
    neurons: tuple[PositiveInt, ...] = Field((24,), min_length=1)
    explicit_dropout: float = Field(0.1, ge=0, lt=1)
    implicit_dropout: float = Field(0.1, ge=0, lt=1)
    layer_norm: bool = True


class EulerInteraction(nn.Module):
    r"""One layer: explicit products in polar form plus an implicit linear map in Cartesian form.

    .. math::
        \lambda_n e^{i\theta_n} &= \exp\Big(\sum_m \alpha_{mn}\big(\ln|c_m| + i \arg c_m\big)
                                   + \beta_n + i\gamma_n\Big) = e^{\beta_n + i\gamma_n} \prod_m c_m^{\alpha_{mn}} \\
        \mathrm{Re}\, o &= \mathrm{ReLU}(W\, \mathrm{Re}\, c + b) + \lambda \cos\theta, \qquad
        \mathrm{Im}\, o = \mathrm{ReLU}(W\, \mathrm{Im}\, c + b) + \lambda \sin\theta

    ``W`` and ``b`` are shared by the two parts. The orders start as the identity where as many features leave as
    came, else with each new feature copying one random old one, as in the authors' code. Below a modulus of
    ``1e-4`` the phase of a number says nothing and its gradient grows like one over the modulus; there the phase is
    taken as zero, without gradient. Logarithms and angles are computed in float32 also under autocast.

    Args:
        in_features: Number of complex features ``M`` at the input.
        out_features: Number of complex features ``N`` at the output.
        embedding_size: Width ``D`` of a feature.
        explicit_dropout: Share of moduli and phases zeroed in training.
        implicit_dropout: Share of real and imaginary parts zeroed in training.
        layer_norm: Normalise real and imaginary parts at the end.

    Shapes:
        forward: real ``[B, M, D]``, imaginary ``[B, M, D]`` -> real ``[B, N, D]``, imaginary ``[B, N, D]``.

    Example:
        >>> real, imaginary = EulerInteraction(3, 5, 4)(torch.ones(2, 3, 4), torch.zeros(2, 3, 4))
        >>> imaginary.shape
        torch.Size([2, 5, 4])
    """

    floor: ClassVar[float] = 1e-8

    def __init__(
        self,
        in_features: int,
        out_features: int,
        embedding_size: int,
        *,
        explicit_dropout: float = 0.0,
        implicit_dropout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if in_features == out_features:
            orders = torch.eye(in_features)
        else:
            orders = (torch.randn(in_features, out_features) / 0.01).softmax(dim=0)
        self.orders = nn.Parameter(orders)
        self.log_modulus_bias = nn.Parameter(torch.empty(out_features, embedding_size).normal_(std=0.01))
        self.phase_bias = nn.Parameter(torch.empty(out_features, embedding_size).normal_(std=0.01))
        self.implicit = nn.Linear(in_features * embedding_size, out_features * embedding_size)
        init_linear(self.implicit)
        self.explicit_dropout = nn.Dropout(explicit_dropout)
        self.implicit_dropout = nn.Dropout(implicit_dropout)
        self.real_norm = nn.LayerNorm(embedding_size) if layer_norm else nn.Identity()
        self.imaginary_norm = nn.LayerNorm(embedding_size) if layer_norm else nn.Identity()

    def forward(self, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
        """Return the real and the imaginary part of the new features, each ``[B, N, D]``."""
        with torch.autocast(real.device.type, enabled=False):
            modulus, phase = self._explicit(real.float(), imaginary.float())
        new_real = self._implicit(real) + modulus * phase.cos()
        new_imaginary = self._implicit(imaginary) + modulus * phase.sin()
        return self.real_norm(new_real), self.imaginary_norm(new_imaginary)

    def _explicit(self, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
        """Return modulus and phase ``[B, N, D]`` of the products with learned orders."""
        square = real.square() + imaginary.square()
        quiet = square < self.floor
        phase = torch.atan2(imaginary.masked_fill(quiet, 0.0), real.masked_fill(quiet, 1.0))
        log_modulus = 0.5 * (square + self.floor).log()
        log_modulus, phase = self.explicit_dropout(log_modulus), self.explicit_dropout(phase)
        log_modulus = torch.einsum("bmd,mn->bnd", log_modulus, self.orders) + self.log_modulus_bias
        phase = torch.einsum("bmd,mn->bnd", phase, self.orders) + self.phase_bias
        return log_modulus.exp(), phase

    def _implicit(self, part: Tensor) -> Tensor:
        """Return the linear map of all features, rectified: ``[B, N, D]``."""
        mapped: Tensor = self.implicit(self.implicit_dropout(part.flatten(1)))
        return mapped.relu().view(len(part), -1, part.shape[2])


@register("ranker", "eulernet", source='Tian et al., "EulerNet", SIGIR 2023')
class EulerNet(Ranker):
    r"""Complex features on circles, interaction layers, and one linear head for both parts.

    .. math::
        c_f = \mu_f\,(\cos e_f + i \sin e_f), \qquad c \leftarrow \mathrm{Euler}_l(c), \qquad
        z = w^\top \mathrm{Re}\,c + w^\top \mathrm{Im}\,c + 2 b

    with ``Euler`` the :class:`EulerInteraction`: adding phases multiplies numbers, so the learned ``alpha`` are the
    orders of the products, of any size and sign. The head starts from N(0, 0.01^2), as in the authors' second
    release, so that an untrained model is undecided. Small and expressive where ``afn-plus`` is large; sensitive to
    its start, so compare several seeds.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> model = EulerNet(FeatureSpec.from_sizes(user=10, item=20), EulerNetConfig.sized("tiny"))
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Tian, Bai, Zhao, Wen, Cao, "EulerNet: Adaptive Feature Interaction Learning via Euler's Formula for CTR
        Prediction", SIGIR 2023.
    """

    Config: ClassVar[type[ModelConfig]] = EulerNetConfig

    def __init__(
        self, spec: FeatureSpec, config: EulerNetConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        size = config.embedding_size
        self.embedding = FieldEmbedding(spec, size, vectors=vectors)
        self.moduli = nn.Parameter(torch.ones(spec.num_fields, 1))
        counts = [spec.num_fields, *config.neurons]
        self.layers = nn.ModuleList(
            EulerInteraction(
                before,
                after,
                size,
                explicit_dropout=config.explicit_dropout,
                implicit_dropout=config.implicit_dropout,
                layer_norm=config.layer_norm,
            )
            for before, after in pairwise(counts)
        )
        self.head = LogitHead(counts[-1] * size)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        phases = self.embedding(batch)
        real, imaginary = self.moduli * phases.cos(), self.moduli * phases.sin()
        for layer in self.layers:
            real, imaginary = layer(real, imaginary)
        logits: Tensor = self.head(real.flatten(1)) + self.head(imaginary.flatten(1))
        return logits
