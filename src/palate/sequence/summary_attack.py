"""What an upload of summaries gives away: two attacks, by someone who has the model and the log it was trained on.

A *probe* learns, from summaries of histories that the attacker knows, which items went into a summary. A *step*
attack needs two summaries with one click between them: it tries every item of the catalogue and keeps the one that
leads from the first to the second. Other attacks may recover more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SummaryProbe", "fit_probe", "recover_step"]


class SummaryProbe(nn.Module):
    """A network with one hidden layer that tells the items of a history, and its last one, from the summaries.

    Equation:
        t = relu(W s + b);  log p(item in history) = log softmax(A t + a);  log p(last item) = log softmax(C t + c)

    Shapes:
        summaries ``[B, S]`` -> two ``[B, V + 1]``; column 0 (padding) is ``-inf``.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, size: int, num_items: int, *, width: int = 256) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.trunk = nn.Linear(size, width)
        self.among = nn.Linear(width, num_items + 1)
        self.last = nn.Linear(width, num_items + 1)

    def forward(self, summaries: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of both questions."""
        inner = functional.relu(self.trunk((summaries - self.mean) / self.spread))
        padding = torch.zeros(1, dtype=torch.int64, device=inner.device)
        among, last = (head(inner).index_fill(1, padding, float("-inf")) for head in (self.among, self.last))
        return among.log_softmax(1), last.log_softmax(1)


def fit_probe(
    summaries: Tensor,
    items: Tensor,
    lengths: Tensor,
    num_items: int,
    *,
    epochs: int = 60,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> SummaryProbe:
    """Train the probe on histories that the attacker knows; every epoch takes another prefix of each of them.

    Args:
        summaries: What the device would have sent after every item, ``[U, N, S]``.
        items: The histories, ``[U, N]``, padded with 0 at the right.
        lengths: Their lengths, ``[U]``, each at least 1.
        num_items: Items ``V`` of the catalogue.
        epochs: Passes over the histories.
        batch_size: Histories per step.
        learning_rate: Of Adam, falling to 0 along half a cosine.
        seed: Of the weights, the order and the prefixes.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        probe = SummaryProbe(summaries.shape[-1], num_items)
    real = torch.arange(items.shape[1]) < lengths[:, None]
    probe.mean.copy_(summaries[real].mean(0))
    probe.spread.copy_(summaries[real].std(0).clamp(min=1e-6))
    optimiser = torch.optim.Adam(probe.parameters(), lr=learning_rate)
    steps = epochs * -(-len(items) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(epochs):
        # A third of the passes look at whole histories, which is what will be attacked.
        whole = epoch % 3 == 0
        drawn = (torch.rand(len(items), generator=generator) * lengths).long() + 1
        cut = lengths if whole else drawn.minimum(lengths)
        for rows in torch.split(torch.randperm(len(items), generator=generator), batch_size):
            loss = _probe_loss(probe, summaries[rows, cut[rows] - 1], items[rows], cut[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return probe.eval()


def _probe_loss(probe: SummaryProbe, summaries: Tensor, items: Tensor, lengths: Tensor) -> Tensor:
    among, last = probe(summaries)
    inside = torch.arange(items.shape[1]) < lengths[:, None]
    each = among.gather(1, items).masked_fill(~inside, 0.0).sum(1) / lengths
    final = last.gather(1, items.gather(1, lengths[:, None] - 1))[:, 0]
    loss: Tensor = -(each + final).mean()
    return loss


@torch.inference_mode()
def recover_step(
    before: Sequence[Tensor], after: Sequence[Tensor], vectors: Tensor, cells: Sequence[nn.GRU], *, k: int | None = None
) -> Tensor:
    """Return the item that leads from one summary to the next, by trying all of them.

    Equation:
        item = argmin over j in 1..V of sum over recurrences of || GRU(before, vectors_j) - after ||^2

    Args:
        before: Summaries before the click, one ``[n, H]`` for each recurrence; zeros before the first click.
        after: Summaries after it.
        vectors: The public vectors of all items, ``[V + 1, D]``; row 0 is padding.
        cells: The recurrences (one layer each), which are public too.
        k: Return the ``k`` likeliest items, best first, instead of the likeliest.

    Shapes:
        int64 ``[n]`` in 1..V, or ``[n, k]``.
    """
    found = []
    for rows in torch.split(torch.arange(len(before[0])), 64):
        distance = sum(
            (_next_states(cell, start[rows], vectors[1:]) - end[rows, None]).square().sum(-1)
            for cell, start, end in zip(cells, before, after, strict=True)
        )
        assert isinstance(distance, Tensor)
        best = distance.topk(min(k or 1, distance.shape[1]), largest=False).indices + 1
        found.append(best if k is not None else best[:, 0])
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def _next_states(cell: nn.GRU, start: Tensor, vectors: Tensor) -> Tensor:
    """Return the state after each of ``vectors [V, D]`` from each of ``start [n, H]``, ``[n, V, H]``.

    Both products are shared by all pairs, so that a pair costs a few elementwise operations.
    """
    weights: dict[str, Tensor] = dict(cell.named_parameters())
    entered = (vectors @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]).chunk(3, -1)
    through = start @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
    carried = [part[:, None] for part in through.chunk(3, -1)]
    reset, keep = (torch.sigmoid(entered[gate] + carried[gate]) for gate in (0, 1))
    fresh = torch.tanh(entered[2] + reset * carried[2])
    return fresh + keep * (start[:, None] - fresh)
