"""Feature interactions that several rankers share: factorisation, cross and compressed interaction networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from palate.errors import ConfigError
from palate.rank.cross_training import cross_training
from palate.rank.dropout import Dropout
from palate.rank.layers import activation_called, init_linear

__all__ = ["CIN", "CrossNet", "CrossNetV2", "fm_second_order"]


def fm_second_order(fields: Tensor) -> Tensor:
    r"""Return the sum of the inner products of all pairs of fields.

    .. math:: \sum_{f<g} \langle e_f, e_g\rangle = \tfrac12\big(\|\sum_f e_f\|^2 - \sum_f \|e_f\|^2\big)

    Shapes:
        fields: ``[B, F, D]`` -> ``[B]``.

    Example:
        >>> fm_second_order(torch.tensor([[[1.0], [2.0], [3.0]]]))  # 1*2 + 1*3 + 2*3
        tensor([11.])

    Source:
        Rendle, "Factorization Machines", ICDM 2010.
    """
    if torch.is_grad_enabled() and fields.requires_grad:
        pairs: Tensor = _SecondOrder.apply(fields)  # type: ignore[no-untyped-call]
        return pairs
    return _second_order(fields, fields.sum(dim=1))


def _second_order(fields: Tensor, total: Tensor) -> Tensor:
    # A norm squares as it reads; ``fields.square()`` would fill a tensor of that size first.
    squares: Tensor = torch.linalg.vector_norm(fields, dim=(1, 2)).square()
    return 0.5 * (total.square().sum(dim=1) - squares)


class _SecondOrder(torch.autograd.Function):
    """The gradient ``dz (sum_g e_g - e_f)`` in one sweep over the fields, where autograd would take four."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor) -> Tensor:
        total = fields.sum(dim=1)
        ctx.save_for_backward(fields, total)
        return _second_order(fields, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        fields, total = ctx.saved_tensors
        return torch.sub(total.unsqueeze(1), fields).mul_(gradient.view(-1, 1, 1))


class CrossNet(nn.Module):
    r"""The cross network of DCN, with one weight vector per layer.

    .. math:: x_{l+1} = x_0 \,(w_l^\top x_l) + b_l + x_l

    Args:
        in_features: Width ``d``.
        num_layers: Number of cross layers, at least 1.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.

    Example:
        >>> CrossNet(4, 2)(torch.zeros(3, 4)).shape
        torch.Size([3, 4])

    Source:
        Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.
    """

    def __init__(self, in_features: int, num_layers: int) -> None:
        super().__init__()
        _at_least_one(num_layers)
        self.weights = nn.ModuleList(nn.Linear(in_features, 1, bias=False) for _ in range(num_layers))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(in_features)) for _ in range(num_layers))
        init_linear(self)

    def forward(self, x_0: Tensor) -> Tensor:
        """Return the crossed features ``[B, d]``."""
        x = x_0
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = x_0 * weight(x) + bias + x
        return x


class CrossNetV2(nn.Module):
    r"""The cross network of DCN-V2, with a full or low-rank matrix per layer.

    .. math:: x_{l+1} = x_0 \odot a(W_l x_l + b_l) + x_l, \qquad W_l = U_l V_l \text{ when a rank is given}

    ``a`` is the identity in the paper. With ``activation`` (and ``batch_norm`` before it) it is the form that
    QNN-alpha is combined with.

    Args:
        in_features: Width ``d``.
        num_layers: Number of cross layers, at least 1.
        rank: Rank of every ``W_l``, or ``None`` for full matrices.
        activation: Name of ``a``, see :data:`palate.rank.layers.ACTIVATIONS`.
        batch_norm: Normalise ``W_l x_l + b_l`` before ``a``.
        dropout: Share of every layer's output that is zeroed in training.

    Shapes:
        forward: ``[B, d]`` -> ``[B, d]``.

    Example:
        >>> CrossNetV2(4, 2)(torch.zeros(3, 4)).shape
        torch.Size([3, 4])

    Source:
        Wang et al., "DCN V2: Improved Deep & Cross Network", WWW 2021.
    """

    def __init__(
        self,
        in_features: int,
        num_layers: int,
        *,
        rank: int | None = None,
        activation: str = "identity",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _at_least_one(num_layers)
        if rank is not None and not 1 <= rank <= in_features:
            raise ConfigError(f"rank is {rank}.", remedy=f"It must lie between 1 and the width {in_features}.")

        def factor() -> nn.Module:
            parts: list[nn.Module] = []
            if rank is None:
                parts.append(nn.Linear(in_features, in_features))
            else:
                parts += [nn.Linear(in_features, rank, bias=False), nn.Linear(rank, in_features)]
            if batch_norm:
                parts.append(nn.BatchNorm1d(in_features))
            if activation != "identity":
                parts.append(activation_called(activation))
            return nn.Sequential(*parts)

        self.factors = nn.ModuleList(factor() for _ in range(num_layers))
        self.dropout = Dropout(dropout)
        init_linear(self)

    def forward(self, x_0: Tensor) -> Tensor:
        """Return the crossed features ``[B, d]``."""
        if self.training and torch.is_grad_enabled() and not self.dropout.active:
            maps = [part for factor in self.factors for part in factor.children()]
            plain = [part for part in maps if isinstance(part, nn.Linear)]
            if len(plain) == len(maps) == len(self.factors):
                return cross_training(x_0, plain)
        x = x_0
        for factor in self.factors:
            x = self.dropout(torch.addcmul(x, x_0, factor(x)))
        return x


class CIN(nn.Module):
    r"""The compressed interaction network of xDeepFM: vector-wise products, compressed field by field.

    .. math:: X^{k+1}_h = b^k_h + \sum_{i,j} W^{k,h}_{ij}\, (X^k_i \odot X^0_j), \qquad
              \text{out} = [\textstyle\sum_D X^1; \dots; \sum_D X^K]

    Args:
        num_fields: Number of fields ``F``.
        hidden: Number of maps of every layer.

    Shapes:
        forward: ``[B, F, D]`` -> ``[B, sum(hidden)]``; see ``self.out_features``.

    Example:
        >>> CIN(3, [4, 5])(torch.zeros(2, 3, 8)).shape
        torch.Size([2, 9])

    Source:
        Lian et al., "xDeepFM", KDD 2018.
    """

    def __init__(self, num_fields: int, hidden: Sequence[int]) -> None:
        super().__init__()
        _at_least_one(len(hidden))
        maps = [num_fields, *hidden]
        self.compress = nn.ModuleList(nn.Linear(maps[k] * num_fields, maps[k + 1]) for k in range(len(hidden)))
        self.out_features = sum(hidden)
        init_linear(self)

    def forward(self, fields: Tensor) -> Tensor:
        """Return the pooled maps ``[B, sum(hidden)]``."""
        # Coordinates before maps, so that compressing is one matrix product over the last axis.
        x_0 = fields.transpose(1, 2)  # [B, D, F]
        x, pooled = x_0, []
        for compress in self.compress:
            products = (x.unsqueeze(-1) * x_0.unsqueeze(-2)).flatten(2)  # [B, D, H_k * F]
            x = compress(products)  # [B, D, H_{k+1}]
            pooled.append(x.sum(dim=1))
        return torch.cat(pooled, dim=1)


def _at_least_one(num_layers: int) -> None:
    if num_layers < 1:
        raise ConfigError(f"num_layers is {num_layers}.", remedy="It must be at least 1.")
