"""The plain layers that several rankers share: the tower, its activations, and how linear maps start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from palate.errors import ConfigError, UnknownNameError
from palate.rank.dropout import Dropout
from palate.rank.rectified import rectified

__all__ = ["ACTIVATIONS", "MLP", "LogitHead", "activation_called", "init_linear"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def activation_called(name: str) -> nn.Module:
    """Return a fresh activation module.

    Raises:
        UnknownNameError: If there is no activation of that name; the message suggests the nearest.

    Example:
        >>> activation_called("relu")
        ReLU()
    """
    try:
        return ACTIVATIONS[name]()
    except KeyError:
        raise UnknownNameError.among("activation", name, ACTIVATIONS) from None


def init_linear(module: nn.Module) -> None:
    """Start every ``nn.Linear`` inside ``module`` with Xavier normal weights and a zero bias.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> init_linear(layer)
        >>> layer.bias.abs().sum().item()
        0.0
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class MLP(nn.Module):
    r"""A tower of dense layers.

    .. math:: h_{l+1} = \mathrm{Dropout}(\sigma(\mathrm{BN}(W_l h_l + b_l)))

    and, when ``out_features`` is given, a last linear map without activation.

    Args:
        in_features: Width of the input.
        hidden: Widths of the hidden layers; may be empty.
        out_features: Width of the final linear map, or ``None`` to end with the last hidden layer.
        activation: One of :data:`ACTIVATIONS`.
        dropout: Share of hidden units zeroed in training, in [0, 1).
        batch_norm: Normalise before each activation.

    Shapes:
        forward: ``[B, in_features]`` -> ``[B, out_features]`` (or ``[B, hidden[-1]]``); see ``self.out_features``.

    Raises:
        ConfigError: If a width or the dropout rate is out of range.

    Example:
        >>> MLP(8, [16, 16], out_features=1)(torch.zeros(3, 8)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        *,
        out_features: int | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if in_features < 1 or any(width < 1 for width in hidden):
            raise ConfigError(
                f"An MLP of widths {[in_features, *hidden]} cannot be.", remedy="Use widths of 1 or more."
            )
        layers: list[nn.Module] = []
        width = in_features
        for next_width in hidden:
            layers.append(nn.Linear(width, next_width))
            if batch_norm:
                layers.append(nn.BatchNorm1d(next_width))
            layers.append(activation_called(activation))
            if dropout > 0:
                layers.append(Dropout(dropout))
            width = next_width
        if out_features is not None:
            layers.append(nn.Linear(width, out_features))
            width = out_features
        self.out_features = width
        self.layers = nn.Sequential(*layers)
        init_linear(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tower's output ``[B, out_features]``."""
        if not (self.training and torch.is_grad_enabled()):
            out: Tensor = self.layers(x)
            return out
        layers = iter([*self.layers, None])
        layer = next(layers)
        while layer is not None:
            following = next(layers)
            if isinstance(layer, nn.ReLU) and isinstance(following, Dropout):
                x, following = rectified(x, following), next(layers)
            else:
                x = rectified(x) if isinstance(layer, nn.ReLU) else layer(x)
            layer = following
        return x


class LogitHead(nn.Linear):
    r"""One logit per row, ``w^T [x_1; x_2; ...] + b``, in float32 whatever precision the layers before it ran in.

    Args:
        in_features: Width of the inputs together.

    Shapes:
        forward: one or more ``[B, n_i]`` with ``sum n_i = in_features`` -> float32 ``[B]``.

    Example:
        >>> LogitHead(4)(torch.zeros(3, 4)).shape
        torch.Size([3])
        >>> LogitHead(4)(torch.zeros(3, 1), torch.zeros(3, 3)).shape
        torch.Size([3])
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)
        init_linear(self)

    def forward(self, *parts: Tensor) -> Tensor:
        """Return logits ``[B]``."""
        device = parts[0].device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._logits([part.float() for part in parts])
        return self._logits(parts)

    def _logits(self, parts: Sequence[Tensor]) -> Tensor:
        if len(parts) == 1:
            return functional.linear(parts[0], self.weight, self.bias).squeeze(-1)
        # Part by part: neither the inputs nor their gradients are ever written out side by side.
        weights = torch.split(self.weight, [part.shape[1] for part in parts], dim=1)
        products = [functional.linear(part, weight) for part, weight in zip(parts, weights, strict=True)]
        return (self.bias + sum(products)).squeeze(-1)
