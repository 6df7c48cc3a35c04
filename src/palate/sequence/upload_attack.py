"""Attack uploads of every kind as an honest but curious cloud would, and count what it recovers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from palate.sequence.inversion import item_posterior
from palate.sequence.summary_attack import fit_probe, recover_step

if TYPE_CHECKING:
    from palate.sequence.cocorrrec import CoCorrRec

__all__ = ["Attacker", "Noise", "Recovered"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
_STEPPED = 100  # users whose clicks are recovered one by one
_ROUNDING = 1e-3  # what float16 leaves uncertain of a state of size one


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an attack got: its name, and for each attacked user the share of items, and whether the last was found."""

    attack: str
    shares: FloatArray
    last: FloatArray
    last_10: FloatArray


class Noise:
    """Clip rows to a norm, where one is given, and add Gaussian noise.

    Equation:
        x * min(1, clip / ||x||) + std * e,  e ~ N(0, 1)
    """

    def __init__(self, std: float, clip: float | None, seed: int) -> None:
        self.std, self.clip = std, clip
        self._generator = torch.Generator().manual_seed(seed)

    def clipped(self, values: Tensor) -> Tensor:
        """Return ``values`` within the norm."""
        if self.clip is None:
            return values
        norm: Tensor = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
        return values * (self.clip / norm.clamp(min=1e-12)).clamp(max=1.0)

    def __call__(self, values: Tensor) -> Tensor:
        """Return what is sent in place of ``values``."""
        if not self.std:
            return values
        return self.clipped(values) + self.std * torch.randn(values.shape, generator=self._generator)


class Attacker:
    """One who has the model and the histories of some users, and sees what others upload.

    Histories that are known are few; more are made up, of items drawn half by popularity and half evenly, so that the
    learned attack has met every item.

    Args:
        model: The fitted model, in evaluation mode; its weights are public.
        known: Histories that the attacker knows: items ``[U, N]``, padded with 0 at the right, and lengths ``[U]``.
        secret: Histories that it attacks, in the same form.
        taught: Histories, known and made up, that the learned attack is taught with.
        epochs: Passes of the learned attack over them.
        seed: Of the noise, of what is made up and of the learned attack.
    """

    def __init__(
        self,
        model: CoCorrRec,
        known: tuple[Tensor, Tensor],
        secret: tuple[Tensor, Tensor],
        *,
        taught: int = 4000,
        epochs: int = 60,
        seed: int = 0,
    ) -> None:
        self.model, self.epochs, self.seed = model, epochs, seed
        self.items, self.lengths = secret
        counts = torch.bincount(known[0].flatten(), minlength=model.num_items + 1).double() + 1.0
        counts[0] = 0.0
        self.log_prior = (counts / counts.sum()).log().float()
        items, self._taught_lengths = self._with_made_up(*known, taught)
        with torch.inference_mode():
            self.vectors = model.hidden(torch.arange(model.num_items + 1))
            hidden = model.hidden(items)
            summaries = torch.cat(model.gcn.summaries(hidden), -1)
        self._taught, self._taught_hidden = summaries.clone(), hidden.clone()  # to learn from, outside inference
        real = torch.arange(items.shape[1]) < self._taught_lengths[:, None]
        self._spread = {"hidden": float(self.vectors[1:].std()), "summary": float(summaries[real].std(0).mean())}

    def _with_made_up(self, items: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
        missing = count - len(items)
        if missing <= 0:
            return items[:count], lengths[:count]
        generator = torch.Generator().manual_seed(self.seed)
        prior = self.log_prior.exp()
        shares = prior + (prior > 0) / (len(prior) - 1)
        size = missing * items.shape[1]
        drawn = torch.multinomial(shares, size, replacement=True, generator=generator).view(missing, -1)
        long = lengths[torch.randint(len(lengths), (missing,), generator=generator)]
        drawn = drawn * (torch.arange(drawn.shape[1]) < long[:, None])
        mixed = torch.randperm(count, generator=generator)  # what is held out shall be of both kinds
        return torch.cat([items, drawn])[mixed], torch.cat([lengths, long])[mixed]

    def noise(self, kind: str, multiple: float, seed: int = 0) -> Noise:
        """Return the noise of ``multiple`` times the spread of what an upload of this kind holds."""
        hidden = kind == "hidden"
        clip = float(self.vectors[1:].norm(dim=1).median()) if hidden and multiple else None
        return Noise(multiple * self._spread["hidden" if hidden else "summary"], clip, self.seed + seed)

    def attack(self, kind: str, multiple: float = 0.0) -> Recovered:
        """Return what is recovered from uploads of this kind with noise of ``multiple`` times the spread."""
        attacks: dict[str, Callable[[Noise], Recovered]] = {
            "none": self._guess,
            "hidden": self._invert,
            "summary": self._probe,
            "summary-each-click": self._step,
        }
        return attacks[kind](self.noise(kind, multiple, seed=1))

    def _guess(self, _: Noise) -> Recovered:
        scores = self.log_prior.expand(len(self.items), -1)
        return self._counted("the most popular items", scores, scores)

    @torch.inference_mode()
    def _invert(self, noise: Noise) -> Recovered:
        """Take the items that are likeliest to be behind any of the states."""
        vectors, sent = noise.clipped(self.vectors), _rounded(noise(self.model.hidden(self.items)))
        among, last = [], []
        for states, length in zip(sent, self.lengths.tolist(), strict=True):
            posterior = item_posterior(states[:length], vectors, max(noise.std, _ROUNDING), self.log_prior)
            among.append(_among(posterior[None])[0])
            last.append(posterior[-1])
        return self._counted("likeliest item vectors", torch.stack(among), torch.stack(last))

    def _probe(self, noise: Noise) -> Recovered:
        """Ask a network that was taught with summaries, noise included, of histories known and made up."""
        probe = fit_probe(
            self._taught,
            self._taught_hidden,
            self._taught_lengths,
            sent=lambda summaries: _rounded(noise(summaries)),
            epochs=self.epochs,
            seed=self.seed,
        )
        with torch.inference_mode():
            sent = _rounded(noise(self._summaries(self.items)))[torch.arange(len(self.items)), self.lengths - 1]
            posterior = torch.cat([probe.posterior(one, self.vectors, self.log_prior) for one in torch.split(sent, 64)])
            exists = torch.arange(probe.reach) < self.lengths[:, None]
            among = _among(posterior.masked_fill(~exists[..., None], float("-inf")))
            # of the places before, no more is known than how often each item is clicked
            before = (self.lengths - probe.reach).clamp(min=0)
            among += before[:, None] * _among(self.log_prior[None, None])
        return self._counted("vectors told by a network", among, posterior[:, 0])

    @torch.inference_mode()
    def _step(self, noise: Noise) -> Recovered:
        """Try every item at every click, for as many users as that is quick for."""
        items, lengths = self.items[:_STEPPED], self.lengths[:_STEPPED]
        gcn, summaries = self.model.gcn, _rounded(noise(self._summaries(items)))
        before = torch.cat([torch.zeros_like(summaries[:, :1]), summaries[:, :-1]], 1)
        real = torch.arange(items.shape[1]) < lengths[:, None]
        cells = (gcn.attention.gru, gcn.bias.gru)
        found = recover_step(before[real].chunk(2, -1), summaries[real].chunk(2, -1), self.vectors, cells, k=10)
        guesses = torch.zeros(*items.shape, found.shape[1], dtype=torch.int64)
        guesses[real] = found
        last = guesses[torch.arange(len(guesses)), lengths - 1]
        return self._counted_guesses("every item tried", guesses[..., 0], last)

    def _summaries(self, items: Tensor) -> Tensor:
        return torch.cat(self.model.gcn.summaries(self.model.hidden(items)), -1)

    def _counted(self, attack: str, among: Tensor, last: Tensor) -> Recovered:
        """Give each user as many guesses as there are clicks, best first."""
        most = min(int(self.lengths.max()), among.shape[1] - 1)
        guesses = among.topk(most, 1).indices
        guesses = guesses * (torch.arange(most) < self.lengths[:, None])
        return self._counted_guesses(attack, guesses, last.topk(min(10, last.shape[1] - 1), 1).indices)

    def _counted_guesses(self, attack: str, guesses: Tensor, last: Tensor) -> Recovered:
        secret, lengths = self.items[: len(guesses)], self.lengths[: len(guesses)]
        shares = [
            len(set(found) & (clicked := set(items[:length]))) / len(clicked)
            for found, items, length in zip(guesses.tolist(), secret.tolist(), lengths.tolist(), strict=True)
        ]
        final = secret.gather(1, lengths[:, None] - 1)
        hits = (last == final).double().numpy()
        return Recovered(attack, np.array(shares), hits[:, 0], hits.max(1))


def _among(posterior: Tensor) -> Tensor:
    """Return how likely each item is behind at least one of the places ``[B, n, V + 1]``, as scores ``[B, V + 1]``.

    Equation:
        -log(1 - p),  1 - p = product over places of (1 - p(item at the place))
    """
    scores: Tensor = -torch.log1p(-posterior.exp().clamp(max=1 - 1e-6)).sum(1)
    return scores


def _rounded(values: Tensor) -> Tensor:
    """Return what arrives of ``values`` in float16."""
    return values.half().float()
