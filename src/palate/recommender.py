"""The shipped thing: a fitted model with its vocabularies, its calibrator and its card.

A recommender is a folder on disk and one object in memory, with the same few verbs whatever the model inside:
``score`` rows, ``recommend`` items, ``evaluate`` on held-out data, ``calibrate``, ``save``; :func:`load` brings it
back. What it answers offline is what the service answers: both call these methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import numpy as np

from palate.card import Card, Task
from palate.catalogue import Item, Unknown
from palate.config import ModelConfig
from palate.errors import ConfigError, UnknownNameError, suggest
from palate.registry import find
from palate.saving import SavedFolder, load_folder

if TYPE_CHECKING:
    from palate.calibrate.contract import Calibrator
    from palate.data.dataset import Dataset
    from palate.evaluate.report import MetricTable

__all__ = ["Item", "Recommendation", "RecommendedList", "Recommender", "Scores", "Unknown", "load"]

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

KIND = "recommender"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One place of a list.

    Attributes:
        rank: 1 is best.
        item: Item id as in the log.
        title: Title from the catalogue, if there is one.
        score: Higher is better; not a probability.
        probability: Calibrated probability, only from a calibrated recommender.
    """

    rank: int
    item: Item
    title: str | None
    score: float
    probability: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


class RecommendedList(Sequence[Recommendation]):
    """The list, best first, and what of the request was not known.

    Attributes:
        user_known: Whether the user, if one was named, occurs in the log.
        ignored: Items of the given history that are not in the catalogue and were left out.
    """

    def __init__(
        self, items: Sequence[Recommendation], *, user_known: bool = True, ignored: Sequence[Item] = ()
    ) -> None:
        self._items = tuple(items)
        self.user_known = user_known
        self.ignored = tuple(ignored)

    @overload
    def __getitem__(self, place: int) -> Recommendation: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Recommendation]: ...
    def __getitem__(self, place: int | slice) -> Recommendation | Sequence[Recommendation]:
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecommendedList) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        lines = [f"{item.rank:3d}. {item.title or item.item}  ({item.score:.4f})" for item in self._items]
        return "\n".join(lines) or "nothing to recommend"


@dataclass(frozen=True, slots=True)
class Scores:
    """One number per row: ``scores`` order rows; ``probabilities`` is there only after calibration.

    Shapes:
        scores, probabilities: float64 ``[N]``.
    """

    scores: FloatArray
    probabilities: FloatArray | None = None


class Recommender(ABC):
    """A fitted model ready to use; see :func:`palate.fit` and :func:`load`.

    Unknown is normal: a user who was never seen gets the answer for a new user, an item that is not in the
    catalogue is an error in Python and left out (and told) over HTTP, an empty history has a defined answer.
    """

    task: ClassVar[Task]
    card: Card
    calibrator: Calibrator | None = None

    @abstractmethod
    def score(self, rows: Any) -> Scores:
        """Return one score per row; rows name columns as the log did."""

    @abstractmethod
    def recommend(
        self,
        *,
        user: Item | None = None,
        history: Sequence[Item] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        unknown: Unknown = "error",
    ) -> RecommendedList:
        """Return the ``k`` best items.

        Args:
            user: A user id of the log.
            history: What was taken, oldest first, as ids or titles; replaces what the log knows of the user.
            k: How many items.
            exclude_seen: Leave out what the user has already taken.
            unknown: ``error`` refuses items that are not in the catalogue, with the nearest title; ``ignore``
                leaves them out and tells.

        Raises:
            UnknownItemError: If an item is not in the catalogue and ``unknown="error"``.
        """

    @abstractmethod
    def evaluate(self, data: Dataset | None = None, *, part: Literal["validation", "test"] = "test") -> MetricTable:
        """Judge on a held-out part of ``data``: metrics with 95 % intervals and one value per user.

        Args:
            data: The data set it was fitted on; may be left out right after ``fit``. The recorded split is used,
                and data with another fingerprint is refused.
            part: ``test``, or ``validation``.
        """

    @abstractmethod
    def save(self, path: str | Path) -> Path:
        """Write the folder at once, replacing what stood there; see :mod:`palate.saving`."""

    def __repr__(self) -> str:
        shown = ", ".join(str(metric) for metric in self.card.metrics if metric.part == "test")
        return f"<{self.card.model} on {self.card.data.name}: {shown or 'not evaluated'}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.card.to_markdown())}</pre>"


def load(path: str | Path) -> Recommender:
    """Load a saved recommender.

    Raises:
        SavedFolderError: If the folder is missing, incomplete, altered, of another kind or of a newer format.

    Example:
        >>> load("runs/none")
        Traceback (most recent call last):
        palate.errors.SavedFolderError: [P400] runs/none does not exist. Check the path, or save something there first.
    """
    folder = load_folder(path, kind=KIND)
    card = Card.model_validate(folder.document("card"))
    if card.task == "rank":
        from palate.rank_recommender import RankRecommender

        return RankRecommender.from_folder(folder, card)
    from palate.next_item_recommender import NextItemRecommender

    return NextItemRecommender.from_folder(folder, card)


def load_calibrator(folder: SavedFolder) -> Calibrator | None:
    """Return the calibrator of a saved recommender, if it has one."""
    if not folder.has("calibrator.json"):
        return None
    document = folder.document("calibrator")
    factory: Any = find("calibrator", document["name"]).factory
    config: ModelConfig = factory.Config.model_validate(document["config"])
    arrays = folder.arrays("calibrator") if folder.has("calibrator.safetensors") else {}
    calibrator: Calibrator = factory.from_state(config, document["state"], arrays)
    return calibrator


def saved_calibrator(name: str, calibrator: Calibrator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a calibrator as a document and arrays for :func:`palate.saving.save_folder`."""
    state, arrays = calibrator.state()
    return {"name": name, "config": calibrator.config.model_dump(), "state": state}, arrays


def check_who(user: Item | None, history: Sequence[Item] | None, k: int) -> None:
    """Refuse a request that names nobody and nothing, or no places.

    Raises:
        ConfigError: If neither user nor history is given, or ``k`` is below 1.
    """
    if user is None and history is None:
        raise ConfigError("Neither a user nor a history was given.", remedy="Name one; an empty history is history=[].")
    if k < 1:
        raise ConfigError(f"k is {k}.", remedy="Ask for at least one item.")


def check_unknown(unknown: str) -> None:
    """Refuse another word than ``error`` or ``ignore``."""
    if unknown not in ("error", "ignore"):
        raise UnknownNameError(f'unknown="{unknown}" is not a choice.', remedy=suggest(unknown, ("error", "ignore")))
