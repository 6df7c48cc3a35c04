"""The three logs on which next-item models are compared: films, cosmetics (where given), and planted drift."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from palate.data.opening import open_dataset
from palate.data.sequences import IntArray, SequenceLog
from palate.errors import DataError
from palate.reproduce.planted_drift import DriftConfig, DriftWorld
from palate.tasks import NextItemTask

__all__ = [
    "BEAUTY",
    "LogName",
    "PreparedLog",
    "beauty_digest",
    "beauty_file",
    "keep_common_items",
    "keep_latest",
    "prepared_log",
]

LogName = Literal["movielens", "beauty", "drift"]
BEAUTY = "PALATE_AMAZON_BEAUTY"
_LEAST = 5  # ratings that a film needs to be in the catalogue, as in the usual cut of MovieLens and Amazon
_LATEST = 200  # ratings of a person that are kept; a few people with thousands would be most of the training


@dataclass(frozen=True, eq=False)
class PreparedLog:
    """A log, and how it is judged: each user's last item is the test, the one before the validation.

    Attributes:
        log: Every user's items.
        exclude_seen: Whether items of the history are out of the race.
        groups: Users to judge apart: name -> bool ``[U]``.
    """

    log: SequenceLog
    exclude_seen: bool
    groups: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]]

    @property
    def train(self) -> SequenceLog:
        """What models learn from."""
        return self.log.drop_last(2)

    def held_out(self, back: int) -> tuple[SequenceLog, IntArray]:
        """Return histories and targets, ``back`` items before the end."""
        return self.log.drop_last(back + 1), self.log.last(back)


@lru_cache(maxsize=2)
def prepared_log(name: LogName, *, seed: int = 0, users: int = 0) -> PreparedLog:
    """Return a log, cut to its first ``users`` for a quick look (0: all); the seed draws the planted one."""
    if name == "drift":
        return _drift(DriftConfig(seed=seed, **({"num_users": users} if users else {})))
    dataset = open_dataset("movielens-small") if name == "movielens" else open_dataset(beauty_file(required=True))
    log = first_users(NextItemTask.prepare(dataset).users.log, users)
    if name == "movielens":
        log = keep_common_items(keep_latest(log, _LATEST), _LEAST if not users else 1)
    return PreparedLog(log, exclude_seen=True, groups={})


def first_users(log: SequenceLog, users: int) -> SequenceLog:
    """Return the log of the first ``users`` (0: of all)."""
    if not users or users >= log.num_users:
        return log
    offsets = log.offsets[: users + 1]
    return SequenceLog(log.items[: offsets[-1]], offsets, log.num_items)


def keep_latest(log: SequenceLog, count: int) -> SequenceLog:
    """Return the last ``count`` items of each user.

    Example:
        >>> log = keep_latest(SequenceLog(np.array([7, 2, 7, 9, 9]), np.array([0, 3, 5]), 9), 2)
        >>> log.items.tolist(), log.offsets.tolist()
        ([2, 7, 9, 9], [0, 2, 4])
    """
    back = np.repeat(log.offsets[1:], log.lengths) - np.arange(len(log.items))
    offsets = np.concatenate([[0], np.cumsum(np.minimum(log.lengths, count))]).astype(np.int64)
    return SequenceLog(log.items[back <= count], offsets, log.num_items)


def keep_common_items(log: SequenceLog, least: int) -> SequenceLog:
    """Return the log without the items that occur less than ``least`` times; the others are numbered anew.

    Example:
        >>> log = keep_common_items(SequenceLog(np.array([7, 2, 7, 9, 9]), np.array([0, 3, 5]), 9), 2)
        >>> log.items.tolist(), log.offsets.tolist(), log.num_items
        ([1, 1, 2, 2], [0, 2, 4], 2)
    """
    common = np.bincount(log.items, minlength=log.num_items + 1) >= least
    common[0] = False
    kept = common[log.items]
    owners = np.repeat(np.arange(log.num_users), log.lengths)[kept]
    counts = np.bincount(owners, minlength=log.num_users)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SequenceLog(common.cumsum()[log.items[kept]], offsets, int(common.sum()))


def _drift(config: DriftConfig) -> PreparedLog:
    drawn = DriftWorld(config).drawn
    since = drawn.since
    groups = {
        "no switch": since < 0,
        "1st after the switch": since == 0,
        "2nd to 4th": (since >= 1) & (since <= 3),
        "5th to 12th": since >= 4,
    }
    return PreparedLog(drawn.log, exclude_seen=False, groups=groups)


def beauty_file(*, required: bool = False) -> Path | None:
    """Return the sequences that ``PALATE_AMAZON_BEAUTY`` names (a file, or the folder with ``sequences.txt.gz``).

    Raises:
        DataError: If the variable names something that is not there, or is ``required`` and not set.
    """
    named = os.environ.get(BEAUTY)
    if not named:
        if required:
            raise DataError(f"{BEAUTY} is not set.", remedy='Set it to a file of lines "user item item ...".')
        return None
    path = Path(named)
    path = path / "sequences.txt.gz" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{BEAUTY} is {named}; there is no file {path}.", remedy="Correct or unset the variable.")
    return path


def beauty_digest() -> str:
    """Return the SHA-256 of the given file, or an empty text without one."""
    path = beauty_file()
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
