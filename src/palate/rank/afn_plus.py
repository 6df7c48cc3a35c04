"""AFN+: products whose orders are learned, by adding logarithms, beside a tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch
from palate.rank.contract import Ranker
from palate.rank.embedding import FieldEmbedding
from palate.rank.layers import MLP, LogitHead, init_linear
from palate.registry import register

__all__ = ["AFNPlus", "AFNPlusConfig", "LogarithmicLayer"]


class AFNPlusConfig(ModelConfig):
    """Settings of :class:`AFNPlus`; ``base`` is the one of the BARS benchmark on Criteo.

    Attributes:
        embedding_size: Width ``D`` of every field's vector, in both embeddings.
        num_neurons: Logarithmic neurons, that is, products with learned orders.
        hidden: Widths of the tower over the products.
        dropout: Share of hidden units of that tower zeroed in training.
        deep: Add the second embedding with a tower of its own (the plus).
        deep_hidden: Widths of the second tower.
        deep_dropout: Share of hidden units of the second tower zeroed in training.
        batch_norm: Normalise before each activation of the towers; the logarithmic layer always normalises.
    """

    sizes: ClassVar = {
        "tiny": {"embedding_size": 8, "num_neurons": 16, "hidden": (32,), "deep_hidden": (64, 32)},
        "small": {},
        "base": {
            "num_neurons": 1200,
            "hidden": (1000,) * 4,
            "dropout": 0.2,
            "deep_hidden": (1000,) * 5,
            "deep_dropout": 0.0,
        },
    }

    embedding_size: int = Field(16, ge=1)
    num_neurons: int = Field(100, ge=1)
    hidden: tuple[PositiveInt, ...] = (400, 400)
    dropout: float = Field(0.1, ge=0, lt=1)
    deep: bool = True
    deep_hidden: tuple[PositiveInt, ...] = (400, 400, 400)
    deep_dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm: bool = True


class LogarithmicLayer(nn.Module):
    r"""Products of all fields with learned real orders, coordinate by coordinate.

    .. math:: y_{nj} = \mathrm{BN}\Big(\exp \sum_f W_{nf}\, \mathrm{BN}\big(\ln \max(|e_{fj}|, 10^{-5})\big)\Big)

    Only the magnitude of an embedding enters: the sign is lost, and so is everything below the floor, which has no
    gradient. Logarithm and exponential are computed in float32 also under autocast. The statistics of the first
    normalisation start at those of fresh embeddings, so that an untrained layer is of order one.

    Args:
        num_fields: Number of fields ``F``.
        num_neurons: Number of products ``N``.

    Shapes:
        forward: ``[B, F, D]`` -> ``[B, N * D]``, neuron-major.

    Example:
        >>> LogarithmicLayer(3, 4)(torch.zeros(2, 3, 8)).shape
        torch.Size([2, 32])
    """

    floor: ClassVar[float] = 1e-5

    def __init__(self, num_fields: int, num_neurons: int) -> None:
        super().__init__()
        self.log_norm = nn.BatchNorm1d(num_fields)
        self.orders = nn.Linear(num_fields, num_neurons, bias=False)
        self.exp_norm = nn.BatchNorm1d(num_neurons)
        init_linear(self)
        # Mean and variance of ln max(|x|, 1e-5) for x ~ N(0, 1e-4^2).
        assert self.log_norm.running_mean is not None
        assert self.log_norm.running_var is not None
        self.log_norm.running_mean.fill_(-9.7657776)
        self.log_norm.running_var.fill_(0.8018626)

    def forward(self, fields: Tensor) -> Tensor:
        """Return the products ``[B, N * D]``."""
        with torch.autocast(fields.device.type, enabled=False):
            logs = self.log_norm(fields.float().abs().clamp_min(self.floor).log())
            exponents = self.orders(logs.transpose(1, 2)).transpose(1, 2)  # [B, N, D]
            products: Tensor = self.exp_norm(exponents.exp())
        return products.flatten(1)


@register("ranker", "afn-plus", source='Cheng et al., "Adaptive Factorization Network", AAAI 2020')
class AFNPlus(Ranker):
    r"""Adaptive factorisation network, and a tower over a second embedding.

    .. math::
        z_1 &= \mathrm{MLP}_1(\mathrm{Log}(e_1, \dots, e_F)), \qquad z_2 = \mathrm{MLP}_2([e'_1; \dots; e'_F]) \\
        z &= v_1 z_1 + v_2 z_2 + b

    with ``Log`` the :class:`LogarithmicLayer`. It searches the orders of the products instead of fixing them, at
    the price of two embedding tables and of the signs. The products are normalised, so the head of their tower starts
    from N(0, 0.01^2) and an untrained model is undecided. Good for tables of positive, multiplicative effects; where
    training is unsteady take ``eulernet``, which learns orders with signs.

    Args:
        spec: The fields.
        config: Settings.
        vectors: Pretrained matrices of the ``vector`` fields, by name.

    Shapes:
        forward: :class:`RankBatch` of ``B`` rows -> logits float32 ``[B]``.

    Example:
        >>> model = AFNPlus(FeatureSpec.from_sizes(user=10, item=20), AFNPlusConfig.sized("tiny")).eval()
        >>> model(RankBatch(ids=torch.tensor([[1, 11], [2, 12]]))).shape
        torch.Size([2])

    Source:
        Cheng, Shen, Huang, "Adaptive Factorization Network: Learning Adaptive-Order Feature Interactions", AAAI 2020.
    """

    Config: ClassVar[type[ModelConfig]] = AFNPlusConfig

    def __init__(
        self, spec: FeatureSpec, config: AFNPlusConfig, *, vectors: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(spec, config)
        size = config.embedding_size
        self.embedding = FieldEmbedding(spec, size, vectors=vectors)
        self.products = LogarithmicLayer(spec.num_fields, config.num_neurons)

        def tower(width: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
            layers = MLP(width, hidden, dropout=dropout, batch_norm=config.batch_norm)
            return nn.Sequential(layers, LogitHead(layers.out_features))

        self.tower = tower(config.num_neurons * size, config.hidden, config.dropout)
        nn.init.normal_(cast(LogitHead, self.tower[1]).weight, std=0.01)
        self.deep = config.deep
        if config.deep:
            self.deep_embedding = FieldEmbedding(spec, size, vectors=vectors)
            self.deep_tower = tower(spec.num_fields * size, config.deep_hidden, config.deep_dropout)
            self.head = LogitHead(2)

    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""
        logits: Tensor = self.tower(self.products(self.embedding(batch)))
        if self.deep:
            deep = self.deep_tower(self.deep_embedding(batch).flatten(1))
            logits = self.head(torch.stack([logits, deep], dim=1))
        return logits
