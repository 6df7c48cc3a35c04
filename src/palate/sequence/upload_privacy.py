"""The price of privacy, measured: what each kind of upload gives away, and what it keeps of the ranking.

The attacker is the honest but curious cloud: it has the model, it has the log the model was trained on, and it knows
which kind of upload the devices use. It has never seen the users it attacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from palate.data.sequences import IntArray, SequenceLog, pad_histories
from palate.errors import ConfigError, DataError
from palate.evaluate.intervals import Interval, bootstrap_interval
from palate.evaluate.next_item import evaluate_next_item
from palate.evaluate.report import MetricResult
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.upload_attack import Attacker, Recovered

__all__ = ["UPLOADS", "Upload", "UploadPrivacy", "measure_upload_privacy"]

UploadKind = Literal["none", "hidden", "summary", "summary-each-click"]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a device sends.

    Attributes:
        kind: ``none``; ``hidden`` states; the ``summary`` of the recurrent parts, run on the device; or a
            ``summary-each-click``, which differs from ``summary`` only in what the cloud can compare.
        noise: Standard deviation of the Gaussian noise on what is sent, in multiples of the standard deviation of
            the signal. Noisy hidden states are first clipped to the median norm of the item vectors.
    """

    kind: UploadKind
    noise: float = 0.0

    @property
    def name(self) -> str:
        """What a table calls it."""
        plain = {"none": "nothing", "hidden": "hidden states", "summary": "summary"}
        shown = plain.get(self.kind, "summary after every click")
        return f"{shown}, noise {self.noise:g}x" if self.noise else shown

    def bytes(self, items: float, size: int, summary: int = 64) -> float:
        """Return the size of an upload in float16 after ``items`` clicks of width ``size``."""
        return {"none": 0.0, "hidden": 2.0 * items * size}.get(self.kind, 2.0 * 2 * summary)


UPLOADS: tuple[Upload, ...] = (
    Upload("none"),
    Upload("hidden"),
    *(Upload("hidden", noise) for noise in (0.5, 1.0, 2.0, 4.0, 8.0)),
    Upload("summary-each-click"),
    Upload("summary"),
    *(Upload("summary", noise) for noise in (0.5, 1.0, 2.0)),
)


@dataclass(frozen=True, slots=True)
class UploadPrivacy:
    """One row: an upload, what an attack recovers from it, and how well the corrected device ranks.

    Attributes:
        upload: What was sent.
        bytes: Mean size of one upload in float16.
        attack: The attack that recovered most of those tried.
        recovered: Mean over the attacked users of the share of their clicked items that is recovered.
        recovered_interval: Interval of that mean over users.
        last_item: Share of users whose last clicked item is recovered at the first guess.
        last_item_10: The same within ten guesses.
        attacked: Users attacked.
        recall: ``recall@10`` with its interval.
        ndcg: ``ndcg@10`` with its interval.
    """

    upload: Upload
    bytes: float
    attack: str
    recovered: float
    recovered_interval: Interval
    last_item: float
    last_item_10: float
    attacked: int
    recall: MetricResult
    ndcg: MetricResult

    def to_row(self) -> dict[str, Any]:
        """Return the row of a table of results: name -> ``{"mean", "interval"}``, and facts beside."""
        measured = {
            "recovered": (self.recovered, self.recovered_interval),
            "recall@10": (self.recall.value, self.recall.interval),
            "ndcg@10": (self.ndcg.value, self.ndcg.interval),
        }
        shown = {
            key: {"mean": mean, "interval": None if ends is None else [ends.low, ends.high]}
            for key, (mean, ends) in measured.items()
        }
        facts = {"last item": self.last_item, "last item, 10 guesses": self.last_item_10, "bytes": self.bytes}
        return {"row": self.upload.name, **shown, **facts, "attack": self.attack, "attacked users": self.attacked}


def measure_upload_privacy(
    model: CoCorrRec,
    histories: SequenceLog,
    targets: IntArray,
    *,
    uploads: Sequence[Upload] = UPLOADS,
    attacked: int = 500,
    known: int = 3000,
    taught: int = 4000,
    epochs: int = 60,
    lag: int = 0,
    exclude_seen: bool = True,
    seed: int = 0,
) -> tuple[UploadPrivacy, ...]:
    """Measure for every kind of upload the share of clicks that an attack recovers, and the ranking that is kept.

    Users are split at random: the attacker knows the histories of ``known`` of them (and from these how often each
    item is clicked) and attacks ``attacked`` others. Ranking is judged on all users, full ranking. What is revealed is
    what is recovered beyond the row ``nothing``, where the most popular items are guessed.

    Args:
        model: A fitted model with corrections (mode ``causal`` or ``paper``).
        histories: What each user clicked, for example ``log.drop_last(1)``.
        targets: The item that came next, 0 for none, for example ``log.last()``.
        uploads: The kinds to compare.
        attacked: Users to attack at most.
        known: Users whose histories the attacker knows at most.
        taught: Histories, known and made up, that the learned attack on summaries is taught with.
        epochs: Passes of the learned attack; time goes with ``taught * epochs`` for each kind of summary.
        lag: How many items late corrections come, see :class:`~palate.sequence.cocorrrec.CoCorrRec`.
        exclude_seen: Take items of the history out of the ranking.
        seed: Of the split, the noise and the attack.

    Shapes:
        targets: int64 ``[U]``.

    Raises:
        ConfigError: If the model has no corrections.
        DataError: If fewer than two users have a history.
    """
    if model.config.mode == "base":
        raise ConfigError('A model of mode="base" uploads nothing.', remedy='Fit one of mode="causal".')
    parts = _split(model, histories, attacked, known, seed)
    rows = []
    with _as_it_was(model):
        attacker = Attacker(model.eval(), *parts, taught=taught, epochs=epochs, seed=seed)
        for upload in uploads:
            found = attacker.attack(upload.kind, upload.noise)
            _send(model, upload, lag, attacker)
            table = evaluate_next_item(
                model, histories, targets, metrics=("recall@10", "ndcg@10"), exclude_seen=exclude_seen
            ).table
            model.upload = None
            rows.append(_row(upload, model, attacker, found, table))
    return tuple(rows)


def _row(upload: Upload, model: CoCorrRec, attacker: Attacker, found: Recovered, table: Any) -> UploadPrivacy:
    mean_items = float(attacker.lengths.double().mean())
    return UploadPrivacy(
        upload=upload,
        bytes=upload.bytes(mean_items, model.config.embedding_size),
        attack=found.attack,
        recovered=float(found.shares.mean()),
        recovered_interval=bootstrap_interval(found.shares),
        last_item=float(found.last.mean()),
        last_item_10=float(found.last_10.mean()),
        attacked=len(found.shares),
        recall=table["recall@10"],
        ndcg=table["ndcg@10"],
    )


def _split(
    model: CoCorrRec, histories: SequenceLog, attacked: int, known: int, seed: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the histories that the attacker knows, and those that it attacks."""
    users = np.random.default_rng(seed).permutation(np.flatnonzero(histories.lengths > 0))
    if len(users) < 2:
        raise DataError(f"{len(users)} users have a history; the attack needs some to learn from and some to attack.")
    victims = min(attacked, len(users) // 2)
    length = model.config.max_length
    parts = users[victims : victims + known], users[:victims]
    told, secret = (pad_histories(histories, part, length) for part in parts)
    return told, secret


@contextmanager
def _as_it_was(model: CoCorrRec) -> Iterator[None]:
    """Give the model back in the state in which it came."""
    upload, lag, training = model.upload, model.lag, model.training
    try:
        model.upload = None
        yield
    finally:
        model.upload, model.lag = upload, lag
        model.train(training)


def _send(model: CoCorrRec, upload: Upload, lag: int, attacker: Attacker) -> None:
    """Let the model's cloud learn only what ``upload`` tells it."""
    noise = attacker.noise(upload.kind, upload.noise)

    def noisy(hidden: Tensor) -> tuple[Tensor, Tensor]:
        if upload.kind == "hidden":
            first, second = model.gcn.summaries(noise(hidden))
        else:
            first, second = noise(torch.cat(model.gcn.summaries(hidden), -1)).chunk(2, -1)
        return first, second

    model.lag = None if upload.kind == "none" else lag
    model.upload = noisy if upload.noise and upload.kind != "none" else None
