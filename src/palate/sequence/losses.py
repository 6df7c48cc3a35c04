"""The losses of next-item models, computed at real positions only.

All take the states ``[N, D]`` of the ``N`` positions that have a target, and the table of item vectors
``[V + 1, D]`` whose row 0 is padding. A batch of ``[B, L]`` positions is first reduced to those ``N`` by a gather,
so that padding costs nothing in the product with the table.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

__all__ = ["Loss", "bce_loss", "bpr_loss", "bpr_max_loss", "sampled_softmax_loss", "softmax_loss"]

Loss = Literal["softmax", "sampled-softmax", "bce", "bpr", "bpr-max"]

# Logits that the softmax holds at once. Small enough for the cache of one core, which is what makes it fast.
_CELLS = 1_500_000
# exp(60) times any catalogue stays in the range of float32, and so does exp(-60).
_SMALL = 60.0


def softmax_loss(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy over the whole catalogue, holding few logits at a time.

    Equation:
        loss = mean over n of [ log sum_{j=1..V} exp(<s_n, e_j>) - <s_n, e_{t_n}> ]

    Gradients are computed in the forward pass, chunk by chunk, so the ``[N, V]`` logits are never stored. It
    cannot be differentiated twice.

    Shapes:
        states ``[N, D]``, table ``[V + 1, D]``, targets int64 ``[N]`` in 1..V -> scalar.

    Example:
        >>> float(softmax_loss(torch.zeros(2, 4), torch.zeros(9, 4), torch.tensor([1, 8])).exp())
        8.0
    """
    if len(targets) == 0:
        return states.sum() * 0.0
    loss: Tensor = _ChunkedSoftmax.apply(states.float(), table.float(), targets)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        wanted = states.requires_grad or table.requires_grad
        items, places = table[1:], targets - 1
        state_gradient = torch.empty_like(states) if wanted else None
        table_gradient = torch.zeros_like(table) if wanted else None
        total = states.new_zeros(())
        step = max(_CELLS // len(items), 16)
        # No logit exceeds the product of the norms; where that is small, exp needs no shift by the maximum.
        small = bool(states.norm(dim=1).max() * items.norm(dim=1).max() < _SMALL)
        with torch.autocast(states.device.type, enabled=False):
            for first in range(0, len(states), step):
                rows = slice(first, first + step)
                logits = states[rows] @ items.T
                own = logits.gather(1, places[rows, None])
                highest = own.new_zeros(()) if small else logits.amax(1, keepdim=True)
                weights = (logits if small else logits.sub_(highest)).exp_()
                mass = weights.sum(1, keepdim=True)
                total += (highest + mass.log() - own).sum()
                if state_gradient is not None and table_gradient is not None:
                    torch.mm(weights, items, out=state_gradient[rows])
                    state_gradient[rows] /= mass
                    table_gradient[1:].addmm_(weights.T, states[rows] / mass)
        if state_gradient is not None and table_gradient is not None:
            state_gradient -= items[places]
            table_gradient.index_add_(0, targets, states, alpha=-1)
            ctx.save_for_backward(state_gradient.div_(len(states)), table_gradient.div_(len(states)))
        return total / len(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        states, table = ctx.saved_tensors
        return states * gradient, table * gradient, None


def sampled_softmax_loss(
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_q: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy with the rest of the catalogue estimated from sampled negatives.

    Equation:
        loss = mean over n of [ log( exp(z_t) + sum_{j in S, j != t} exp(z_j - log(N q_j)) ) - z_t ]

    The correction by ``log(N q_j)`` makes the sum an unbiased estimate of the sum over all items but the target;
    without it the model would learn to undo the popularity that the sampler adds. The target itself is in the sum
    with certainty and is not corrected.

    Args:
        states: ``[N, D]``.
        table: ``[V + 1, D]``.
        targets: int64 ``[N]``.
        negatives: int64 ``[N, S]``, or ``[S]`` shared by all positions.
        log_q: log probability with which each negative was drawn, shape of ``negatives``; ``None`` = uniform.
    """
    if len(targets) == 0:
        return states.sum() * 0.0
    target = (states * table[targets]).sum(1, keepdim=True).float()
    others = _scores(states, table, negatives).float()
    count = negatives.shape[-1]
    expected = math.log(count) + (-math.log(table.shape[0] - 1) if log_q is None else log_q)
    others = (others - expected).masked_fill(negatives == targets[:, None], -torch.inf)
    return (torch.cat([target, others], 1).logsumexp(1) - target[:, 0]).mean()


def bce_loss(states: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Return the binary cross-entropy of targets against sampled negatives, as in the SASRec paper.

    Equation:
        loss = mean over n of [ -log sigma(z_t) - mean_{j in S} log(1 - sigma(z_j)) ]

    Shapes:
        states ``[N, D]``, table ``[V + 1, D]``, targets ``[N]``, negatives ``[N, S]`` or ``[S]`` -> scalar.
    """
    if len(targets) == 0:
        return states.sum() * 0.0
    target = (states * table[targets]).sum(1).float()
    others = _scores(states, table, negatives).float()
    return functional.softplus(-target).mean() + _mean_of_true(functional.softplus(others), targets, negatives)


def bpr_loss(states: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Return the pairwise loss: each target should score above each sampled negative.

    Equation:
        loss = mean over n and j in S of [ -log sigma(z_t - z_j) ]

    Shapes:
        states ``[N, D]``, table ``[V + 1, D]``, targets ``[N]``, negatives ``[N, S]`` or ``[S]`` -> scalar.
    """
    if len(targets) == 0:
        return states.sum() * 0.0
    target = (states * table[targets]).sum(1, keepdim=True).float()
    others = _scores(states, table, negatives).float()
    return _mean_of_true(functional.softplus(others - target), targets, negatives)


def bpr_max_loss(
    states: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, regularisation: float = 1.0
) -> Tensor:
    """Return the loss of GRU4Rec's second paper: the target against the strongest of the negatives.

    Equation:
        w_j = softmax_j(z_j) over the negatives
        loss = mean over n of [ -log sum_j w_j sigma(z_t - z_j) + regularisation * sum_j w_j z_j^2 ]

    Shapes:
        states ``[N, D]``, table ``[V + 1, D]``, targets ``[N]``, negatives ``[N, S]`` or ``[S]`` -> scalar.
    """
    if len(targets) == 0:
        return states.sum() * 0.0
    target = (states * table[targets]).sum(1, keepdim=True).float()
    others = _scores(states, table, negatives).float()
    same = (negatives == targets[:, None]).expand_as(others)
    weights = others.masked_fill(same, -torch.inf).softmax(1).nan_to_num()  # a row may have drawn only its target
    won = (weights * torch.sigmoid(target - others)).sum(1).clamp(min=1e-24)
    kept = (~same).any(1)
    losses = -won.log() + regularisation * (weights * others.square()).sum(1)
    return (losses * kept).sum() / kept.sum().clamp(min=1)


def _scores(states: Tensor, table: Tensor, negatives: Tensor) -> Tensor:
    if negatives.dim() == 1:
        return states @ table[negatives].T
    return torch.einsum("nd,nsd->ns", states, table[negatives])


def _mean_of_true(losses: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Average over the drawn items that are not the target after all."""
    true = (negatives != targets[:, None]).float()
    return (losses * true).sum() / true.sum().clamp(min=1.0)
