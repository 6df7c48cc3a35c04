"""What an upload of summaries gives away: two attacks, by someone who has the model and the log it was trained on.

A *probe* learns, from summaries of histories that the attacker knows or makes up, the vectors of the last items that
went into a summary. A *step* attack needs two summaries with one click between them: it tries every item of the
catalogue and keeps the one that leads from the first to the second. Other attacks may recover more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from palate.sequence.inversion import item_posterior

__all__ = ["SummaryProbe", "fit_probe", "recover_step"]

_FEW, _SHORT = 8, 64
_HELD_OUT = 10  # one history in so many tells how far off the probe is


class SummaryProbe(nn.Module):
    """A network that tells the vectors of the last ``reach`` items of a history from its summaries.

    Equation:
        v_1 .. v_reach = W3 gelu(W2 gelu(W1 s)),  v_1 the vector of the last item
        log p(item r places before the end = j | s) = log p(j) - || v_r - vectors_j ||^2 / (2 error_r^2) + constant

    Shapes:
        forward: summaries ``[B, S]`` -> ``[B, reach, D]``.
        posterior: summaries ``[B, S]`` -> log-probabilities ``[B, reach, V + 1]``.
    """

    mean: Tensor
    spread: Tensor
    errors: Tensor

    def __init__(self, size: int, width: int, *, reach: int = 10, hidden: int = 512) -> None:
        super().__init__()
        self.reach = reach
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("errors", torch.ones(reach))
        self.first = nn.Linear(size, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.third = nn.Linear(hidden, reach * width)

    def forward(self, summaries: Tensor) -> Tensor:
        """Return the vectors of the last items, the last one first."""
        inner = functional.gelu(self.first((summaries - self.mean) / self.spread))
        vectors: Tensor = self.third(functional.gelu(self.second(inner)))
        return vectors.view(len(summaries), self.reach, -1)

    @torch.inference_mode()
    def posterior(self, summaries: Tensor, vectors: Tensor, log_prior: Tensor) -> Tensor:
        """Return how likely each item is at each place."""
        errors = self.errors.tolist()
        told = self(summaries).unbind(1)
        each = [item_posterior(one, vectors, error, log_prior) for one, error in zip(told, errors, strict=True)]
        return torch.stack(each, 1)


def fit_probe(
    summaries: Tensor,
    hidden: Tensor,
    lengths: Tensor,
    *,
    sent: Callable[[Tensor], Tensor] = lambda summaries: summaries,
    epochs: int = 60,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    reach: int = 10,
    seed: int = 0,
) -> SummaryProbe:
    """Train the probe on histories that the attacker knows; every epoch takes another prefix of each of them.

    Args:
        summaries: The summaries after every item, ``[U, N, S]``.
        hidden: The vectors of the items, ``[U, N, D]``.
        lengths: Lengths of the histories, ``[U]``, each at least 1.
        sent: What becomes of summaries on the way: noise and rounding.
        epochs: Passes over the histories.
        batch_size: Histories per step.
        learning_rate: Of Adam, falling to 0 along half a cosine.
        reach: How many of the last items it tells.
        seed: Of the weights, the order and the prefixes.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        probe = SummaryProbe(summaries.shape[-1], hidden.shape[-1], reach=reach)
    arrived = sent(summaries[torch.arange(summaries.shape[1]) < lengths[:, None]])
    probe.mean.copy_(arrived.mean(0))
    probe.spread.copy_(arrived.std(0).clamp(min=1e-6))
    held = -(-len(lengths) // _HELD_OUT)
    test, rest = torch.arange(held), torch.arange(held % len(lengths), len(lengths))
    optimiser = torch.optim.Adam(probe.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(rest) // batch_size))
    for _ in range(epochs):
        cut = ((torch.rand(len(lengths), generator=generator) * lengths).long() + 1).minimum(lengths)
        for rows in torch.split(rest[torch.randperm(len(rest), generator=generator)], batch_size):
            off, real = _off(probe, sent(summaries[rows, cut[rows] - 1]), hidden[rows], cut[rows])
            optimiser.zero_grad()
            torch.autograd.backward((off * real).sum() / real.sum())
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        off, real = _off(probe, sent(summaries[test, lengths[test] - 1]), hidden[test], lengths[test])
        probe.errors.copy_(((off * real).sum(0) / real.sum(0).clamp(min=1)).sqrt().clamp(min=1e-3))
    return probe.eval()


def _off(probe: SummaryProbe, summaries: Tensor, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared error at each place ``[B, reach]``, and which places exist."""
    place = lengths[:, None] - 1 - torch.arange(probe.reach)
    target = hidden[torch.arange(len(hidden))[:, None], place.clamp(min=0)]
    return (probe(summaries) - target).square().mean(-1), (place >= 0).to(target.dtype)


@torch.inference_mode()
def recover_step(
    before: Sequence[Tensor], after: Sequence[Tensor], vectors: Tensor, cells: Sequence[nn.GRU], *, k: int | None = None
) -> Tensor:
    """Return the item that leads from one summary to the next, by trying all of them.

    Equation:
        item = argmin over j in 1..V of sum over recurrences of || GRU(before, vectors_j) - after ||^2

    All items are tried on the first eight numbers of the first recurrence, the best 64 of them on all numbers.

    Args:
        before: Summaries before the click, one ``[n, H]`` for each recurrence; zeros before the first click.
        after: Summaries after it.
        vectors: The public vectors of all items, ``[V + 1, D]``; row 0 is padding.
        cells: The recurrences (one layer each), which are public too.
        k: Return the ``k`` likeliest items, at most 64, best first, instead of the likeliest.

    Shapes:
        int64 ``[n]`` in 1..V, or ``[n, k]``.
    """
    entered = [_entered(cell, vectors[1:]) for cell in cells]
    found = []
    for rows in torch.split(torch.arange(len(before[0])), 64):
        carried = [_carried(cell, state[rows]) for cell, state in zip(cells, before, strict=True)]
        few = slice(0, _FEW)
        rough = _distance(entered[0][None, :, :, few], carried[0][..., few], before[0][rows, few], after[0][rows, few])
        short = rough.topk(min(_SHORT, rough.shape[1]), largest=False).indices
        exact = torch.zeros(short.shape)
        for part, state, start, end in zip(entered, carried, before, after, strict=True):
            exact += _distance(part[short], state, start[rows], end[rows])
        best = short.gather(1, exact.argsort(1)) + 1
        found.append(best[:, 0] if k is None else best[:, :k])
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def _entered(cell: nn.GRU, vectors: Tensor) -> Tensor:
    """Return what each item brings to the three gates, ``[V, 3, H]``."""
    weights: dict[str, Tensor] = dict(cell.named_parameters())
    gates = vectors @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
    return gates.view(len(vectors), 3, gates.shape[-1] // 3)


def _carried(cell: nn.GRU, states: Tensor) -> Tensor:
    """Return what each state brings to the three gates, ``[n, 1, 3, H]``."""
    weights: dict[str, Tensor] = dict(cell.named_parameters())
    gates = states @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
    return gates.view(len(states), 1, 3, gates.shape[-1] // 3)


def _distance(entered: Tensor, carried: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return how far from ``end [n, u]`` each item leads from ``start [n, u]``, squared: ``[n, V]``."""
    reset, keep = (torch.sigmoid(entered[..., gate, :] + carried[..., gate, :]) for gate in (0, 1))
    fresh = torch.tanh(entered[..., 2, :] + reset * carried[..., 2, :])
    return (fresh + keep * (start[:, None] - fresh) - end[:, None]).square().sum(-1)
