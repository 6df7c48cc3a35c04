"""The self-ensemble loss: two passes under different dropout masks teach each other through their mean."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

__all__ = ["self_ensemble_loss"]


def self_ensemble_loss(logits_1: Tensor, logits_2: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Return the loss of two passes over the same rows.

    .. math::
        \mathcal L = \mathrm{BCE}(\bar p, y) + \mathrm{BCE}(p_1, t) + \mathrm{BCE}(p_2, t), \qquad
        \bar p = \tfrac12(p_1 + p_2), \quad t = \mathrm{stopgrad}(\bar p), \quad p_i = \sigma(z_i)

    Each term is a mean over the rows. Without noise the passes agree, the last two terms have no gradient, and the
    gradient is that of plain cross-entropy: the loss needs dropout. Its value is about three times the log loss and
    is not to be compared with it.

    The logarithms of ``p-bar`` and ``1 - p-bar`` are taken without leaving log space, so that nothing saturates:
    ``log p-bar = logaddexp(log σ(z_1), log σ(z_2)) - log 2``.

    Args:
        logits_1: Logits of the first pass.
        logits_2: Logits of the second pass.
        labels: 0 or 1, or soft labels between.
        weights: Weight of each row, or ``None`` for 1.

    Shapes:
        All arguments ``[B]`` -> scalar.

    Example:
        >>> z = torch.logit(torch.tensor([0.6])), torch.logit(torch.tensor([0.8]))
        >>> self_ensemble_loss(*z, torch.ones(1))
        tensor(1.6282)

    Source:
        Li et al., "Revisiting Feature Interactions from the Perspective of Quadratic Neural Networks for
        Click-through Rate Prediction", KDD 2025.
    """
    log_p1, log_q1 = functional.logsigmoid(logits_1), functional.logsigmoid(-logits_1)
    log_p2, log_q2 = functional.logsigmoid(logits_2), functional.logsigmoid(-logits_2)
    log_mean_p = torch.logaddexp(log_p1, log_p2) - math.log(2.0)
    log_mean_q = torch.logaddexp(log_q1, log_q2) - math.log(2.0)
    target = log_mean_p.detach().exp()
    loss = _cross_entropy(log_mean_p, log_mean_q, labels)
    loss = loss + _cross_entropy(log_p1 + log_p2, log_q1 + log_q2, target)
    return (loss if weights is None else loss * weights).mean()


def _cross_entropy(log_p: Tensor, log_q: Tensor, target: Tensor) -> Tensor:
    return -(target * log_p + (1.0 - target) * log_q)
