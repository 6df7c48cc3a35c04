"""The two questions of a log, prepared once and shared by every model that is compared on them.

* *Will this user take this item?* :class:`RankTask`: a split by rows, features fitted on the training rows.
* *What next?* :class:`NextItemTask`: every user's last item is the test, the one before the validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from palate.catalogue import Catalogue
from palate.data.encoder import FeatureEncoder, FeaturePlan
from palate.data.history import HistoryLog
from palate.data.item_index import ItemIndex, sequence_log
from palate.data.leakage import require_no_leakage
from palate.data.negatives import NegativeSampling, WithNegatives, with_negatives
from palate.data.rank_table import RankTable
from palate.data.schema import Role
from palate.data.sequences import IntArray, SequenceLog
from palate.data.split import Part, Split
from palate.data.splits import leave_one_out, split_by_column, split_by_ratio, split_by_time
from palate.data.tokens import TokenIndex
from palate.users_log import UsersLog

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["NextItemTask", "RankTask", "default_split", "sampled"]

NEGATIVES_PER_POSITIVE = 4


def default_split(dataset: Dataset, *, seed: int = 0) -> Split:
    """Return the split that a data set calls for: its split column, else 8:1:1 by time, else 8:1:1 at random."""
    if dataset.schema.has("interactions", Role.SPLIT):
        return split_by_column(dataset)
    if dataset.schema.has("interactions", Role.TIME):
        return split_by_time(dataset)
    return split_by_ratio(dataset, seed=seed)


def users_log(dataset: Dataset, index: ItemIndex) -> UsersLog:
    """Return every user's items, oldest first."""
    log, users = sequence_log(dataset, index)
    return UsersLog(TokenIndex(users), log)


@dataclass(frozen=True)
class RankTask:
    """A log prepared for rankers.

    Attributes:
        dataset: The data set.
        split: Which rows train, choose and judge.
        encoder: Features, fitted on the training rows.
        tables: The encoded rows of each part.
        catalogue: The items.
        users: Every user's items.
        history: The positives from which histories are taken (each row sees only what is strictly earlier), or
            ``None`` where the plan has no history.
        sampling: What was sampled for training, when the log has positives alone.
        seed: Seed of split and sampling.
    """

    dataset: Dataset
    split: Split
    encoder: FeatureEncoder
    tables: Mapping[Part, RankTable]
    catalogue: Catalogue | None
    users: UsersLog | None
    history: HistoryLog | None
    sampling: NegativeSampling | None = None
    seed: int = 0

    @classmethod
    def prepare(
        cls, dataset: Dataset, *, split: Split | None = None, plan: FeaturePlan | None = None, seed: int = 0
    ) -> Self:
        """Split, fit the features on the training rows, encode all parts, and check for leaks.

        A log of positives alone gets four sampled negatives for each row, counted and corrected for. A log without
        users or items (a plain table of rows) is scored row by row and recommends nothing.

        Raises:
            LeakageError: If training could see what it will be judged on.
        """
        split = default_split(dataset, seed=seed) if split is None else split
        require_no_leakage(dataset, split)
        labelled = sampled(dataset, split, seed=seed)
        rows, parts = labelled.dataset, labelled.split
        assert parts is not None
        encoder = FeatureEncoder.fit(rows, parts.train, plan)
        with_history = any(field.derive == "history" for field in encoder.plan.fields)
        # Parts of a random split overlap in time: what is held out must not be seen as history either.
        allowed = None if split.how in ("time", "column") else parts.train
        history = encoder.history(rows, allowed) if with_history else None
        tables: dict[Part, RankTable] = {
            part: encoder.encode_dataset(rows, parts.part(part), history=history)
            for part in ("train", "validation", "test")
        }
        catalogue = Catalogue(ItemIndex.from_dataset(dataset)) if _names(dataset) else None
        users = None if catalogue is None else users_log(dataset, catalogue.index)
        sampling = labelled.sampling.get("train")
        return cls(dataset, split, encoder, tables, catalogue, users, history, sampling, seed)


def sampled(dataset: Dataset, split: Split, *, seed: int) -> WithNegatives:
    """Return the data set as it is if it has labels, else with sampled negatives, the same for the same seed."""
    if dataset.has_labels:
        return WithNegatives(dataset, split, {})
    return with_negatives(dataset, split, per_positive=NEGATIVES_PER_POSITIVE, seed=seed)


def _names(dataset: Dataset) -> bool:
    return all(dataset.schema.has("interactions", role) for role in (Role.USER, Role.ITEM))


@dataclass(frozen=True)
class NextItemTask:
    """A log prepared for next-item models.

    Attributes:
        dataset: The data set.
        split: Leave-one-out by time.
        catalogue: The items.
        users: Every user's items.
    """

    dataset: Dataset
    split: Split
    catalogue: Catalogue
    users: UsersLog

    @classmethod
    def prepare(cls, dataset: Dataset) -> Self:
        """Order each user's items by time and hold out the last two."""
        catalogue = Catalogue(ItemIndex.from_dataset(dataset))
        return cls(dataset, leave_one_out(dataset), catalogue, users_log(dataset, catalogue.index))

    @property
    def train(self) -> SequenceLog:
        """What models learn from: all but the last two items of each user."""
        return self.users.log.drop_last(2)

    def held_out(self, part: Part) -> tuple[SequenceLog, IntArray]:
        """Return the histories and targets of a part."""
        back = {"test": 0, "validation": 1}[part]
        return self.users.log.drop_last(back + 1), self.users.log.last(back)
