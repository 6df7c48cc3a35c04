"""Adam on groups of dense parameters, in one fused pass where the device has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as torch_adam

__all__ = ["BETAS", "EPSILON", "DenseAdam", "adam"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def adam(
    weights: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    learning_rate: float,
    l2: float = 0.0,
) -> None:
    """Apply one Adam update in place and count it in ``steps``.

    ``g <- g + l2 w;  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
    w <- w - rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)``

    Source: Kingma and Ba, ICLR 2015.
    """
    fused = weights[0].device.type in ("cpu", "cuda") and weights[0].is_floating_point()
    torch_adam(
        weights,
        gradients,
        first,
        second,
        [],
        steps,
        foreach=not fused,
        fused=fused,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=learning_rate,
        weight_decay=l2,
        eps=EPSILON,
        maximize=False,
    )


class DenseAdam:
    """Adam on a group of parameters with dense gradients: the net, and tables small enough for them.

    A parameter without a gradient rests, as in torch, unless L2 pulls at it: then its gradient is the L2 term alone.

    Args:
        parameters: The group, by name.
        l2: ``lambda`` of the term ``lambda / 2 * sum(w^2)``.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], l2: float) -> None:
        self.names = list(parameters)
        self.weights = list(parameters.values())
        self.l2 = l2
        self.first = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
        self.second = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
        self.steps = [torch.zeros((), device=weight.device) for weight in self.weights]
        self._active: Sequence[int] = ()
        self._gradients: list[Tensor] = []

    def measure(self) -> float:
        """Return the squared norm of the gradients, L2 term included."""
        if self.l2:
            for weight in self.weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
        self._active = [place for place, weight in enumerate(self.weights) if weight.grad is not None]
        gradients = [self.weights[place].grad for place in self._active]
        self._gradients = [
            gradient.to_dense() if gradient.is_sparse else gradient for gradient in gradients if gradient is not None
        ]
        if not self._gradients:
            return 0.0
        if self.l2:
            torch._foreach_add_(
                self._gradients, [self.weights[place].detach() for place in self._active], alpha=self.l2
            )
        return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._gradients)))) ** 2

    def apply(self, learning_rate: float, scale: float) -> None:
        """Move the parameters along ``scale`` times the gradients that were measured."""
        if not self._gradients:
            return
        if scale != 1.0:
            torch._foreach_mul_(self._gradients, scale)
        adam(
            [self.weights[place] for place in self._active],
            self._gradients,
            [self.first[place] for place in self._active],
            [self.second[place] for place in self._active],
            [self.steps[place] for place in self._active],
            learning_rate=learning_rate,
        )
        self._gradients = []

    def moments(self) -> dict[str, Tensor]:
        """Return the tensors of the state, by name, themselves and not copies."""
        named: dict[str, Tensor] = {}
        for name, first, second, steps in zip(self.names, self.first, self.second, self.steps, strict=True):
            named |= {f"first.{name}": first, f"second.{name}": second, f"updates.{name}": steps}
        return named
