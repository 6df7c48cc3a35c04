"""A next-item model ready to use: a history in, the best next items out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
import torch

from palate.card import Card
from palate.catalogue import Catalogue
from palate.data.sequences import SequenceLog, pad_histories
from palate.errors import ConfigError, SchemaError
from palate.recommender import (
    Item,
    Recommendation,
    RecommendedList,
    Recommender,
    Scores,
    Unknown,
    check_unknown,
    check_who,
)
from palate.registry import find
from palate.saving import SavedFolder, save_folder
from palate.users_log import UsersLog

if TYPE_CHECKING:
    from palate.data.dataset import Dataset
    from palate.evaluate.report import MetricTable
    from palate.sequence.contract import NextItemModel

__all__ = ["NextItemRecommender"]

_MAX_HISTORY = 1000
_METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20", "mrr", "coverage@10")


class NextItemRecommender(Recommender):
    """A fitted next-item model with its catalogue, users' log and card; made by :func:`palate.fit`.

    Its scores order items and are not probabilities: what would be taken next out of thousands is not a chance that
    a row of a log can confirm.
    """

    task = "next-item"

    def __init__(
        self, model: NextItemModel, catalogue: Catalogue, users: UsersLog, card: Card, *, dataset: Dataset | None = None
    ) -> None:
        self.model = model.eval()
        self.catalogue = catalogue
        self.users = users
        self.card = card
        self._dataset = dataset

    def score(self, rows: Any) -> Scores:
        """Return the score of each row's ``item`` after its ``history`` (a list), or after its ``user``'s log.

        Args:
            rows: A frame or a list of dicts with ``item`` and ``history`` or ``user``.

        Raises:
            SchemaError: If a row has no item, or neither a history nor a user.
            UnknownItemError: If an item is not in the catalogue.
        """
        table = rows if isinstance(rows, list | tuple) else pl.DataFrame(rows).to_dicts()
        for place, row in enumerate(table):
            if "item" not in row or ("history" not in row and "user" not in row):
                raise SchemaError(
                    f"Row {place} has the columns {', '.join(row) or 'none'}.",
                    remedy='Give {"history": [...], "item": ...} or {"user": ..., "item": ...}.',
                )
        if not table:
            return Scores(np.zeros(0))
        items, _ = self.catalogue.resolve([row["item"] for row in table], unknown="error")
        histories = [
            self.catalogue.resolve(row["history"], unknown="error")[0]
            if row.get("history") is not None
            else self.users.items_of(row["user"])
            for row in table
        ]
        with torch.inference_mode():
            scores = self.model.score(*_padded(histories, self.catalogue.num_items))
        return Scores(scores[torch.arange(len(items)), torch.tensor(items)].double().numpy())

    def recommend(
        self,
        *,
        user: Item | None = None,
        history: Sequence[Item] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        unknown: Unknown = "error",
    ) -> RecommendedList:
        """Return the ``k`` best next items; see the base class."""
        return self.recommend_many([(user, history)], k=k, exclude_seen=exclude_seen, unknown=unknown)[0]

    def recommend_many(
        self,
        requests: Sequence[tuple[Item | None, Sequence[Item] | None]],
        *,
        k: int = 10,
        exclude_seen: bool = True,
        unknown: Unknown = "error",
    ) -> list[RecommendedList]:
        """Answer many requests ``(user, history)`` in one pass of the model; each as if it came alone."""
        check_unknown(unknown)
        histories, left_out, known = [], [], []
        for user, history in requests:
            check_who(user, history, k)
            found, ignored = self.catalogue.resolve(history or [], unknown=unknown)
            histories.append(found if history is not None or user is None else self.users.items_of(user))
            left_out.append(ignored)
            known.append(user is not None and self.users.knows(user))
        if not requests:
            return []
        items, lengths = _padded(histories, self.catalogue.num_items)
        ranking = self.model.rank(items, lengths, k, exclude=items if exclude_seen else None)
        answers = []
        for row in range(len(requests)):
            best = [(item, score) for item, score in zip(*(t[row].tolist() for t in ranking), strict=True) if item > 0]
            places = [
                Recommendation(rank, self.catalogue.item(item), self.catalogue.title(item), score)
                for rank, (item, score) in enumerate(best, start=1)
            ]
            answers.append(RecommendedList(places, user_known=known[row], ignored=left_out[row]))
        return answers

    def evaluate(self, data: Dataset | None = None, *, part: Literal["validation", "test"] = "test") -> MetricTable:
        """Rank each user's held-out item among the whole catalogue: Recall, NDCG, MRR with intervals over users."""
        if data is not None and data.fingerprint != self.card.data.fingerprint:
            raise ConfigError(
                f'"{data.name}" is not the data set that this was fitted on ("{self.card.data.name}").',
                remedy="Open the same data set.",
            )
        return self.judge(part)

    def judge(self, part: Literal["validation", "test"]) -> MetricTable:
        """Return the metrics on the last (``test``) or last but one (``validation``) item of each user."""
        from palate.evaluate.next_item import evaluate_next_item

        back = 0 if part == "test" else 1
        histories, targets = self.users.log.drop_last(back + 1), self.users.log.last(back)
        return evaluate_next_item(self.model, histories, targets, metrics=_METRICS, split=part).table

    def save(self, path: str | Path) -> Path:
        """Write the recommender as a folder; see :mod:`palate.saving`."""
        return save_folder(
            path,
            kind="recommender",
            name=self.card.model,
            documents={"card": self.card.model_dump()},
            arrays={"users": self.users.to_arrays(), "catalogue": self.catalogue.to_arrays()},
            tensors={"model": self.model.state_dict()},
            texts={"CARD.md": self.card.to_markdown()},
        )

    @classmethod
    def from_folder(cls, folder: SavedFolder, card: Card) -> Self:
        """Rebuild from an opened folder."""
        catalogue = Catalogue.from_arrays(folder.arrays("catalogue"))
        factory: Any = find("next-item", card.model).factory
        model: NextItemModel = factory(catalogue.num_items, factory.Config.model_validate(card.settings))
        model.load_state_dict(folder.tensors("model"))
        return cls(model, catalogue, UsersLog.from_arrays(folder.arrays("users")), card)


def _padded(histories: Sequence[Sequence[int]], num_items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return histories as ``items [B, L]`` and ``lengths [B]``."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    flat = np.array([item for history in histories for item in history], dtype=np.int64)
    log = SequenceLog(flat, np.concatenate([[0], np.cumsum(lengths)]), num_items)
    return pad_histories(log, np.arange(len(histories)), _MAX_HISTORY)
