"""A user's session, click by click: what moved in their list, and what the cloud had to do with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from palate.device.contract import CorrectionSource
from palate.device.device_model import RankedItem
from palate.device.item_names import Item
from palate.device.runtime import DeviceRuntime, User

__all__ = ["Place", "Session", "Turn", "moved"]


@dataclass(frozen=True, slots=True)
class Place:
    """An item of a list, and where it came from.

    Attributes:
        item: The item with its rank.
        before: Its rank in the list before, ``None`` if it was not in it.
    """

    item: RankedItem
    before: int | None

    @property
    def move(self) -> int | None:
        """Places upwards (negative: downwards); ``None`` for an item that is new in the list."""
        return None if self.before is None else self.before - self.item.rank


@dataclass(frozen=True, slots=True)
class Turn:
    """One click and the list after it.

    Attributes:
        clicked: What was clicked; ``None`` for the list before the first click.
        seen: Clicks of this user so far, those of earlier sessions included.
        places: The list.
        gone: What was in the list before and is no more.
        corrected: Whether the click was corrected by the cloud.
        cloud: What came of asking the cloud after the click; empty if it was not asked.
        milliseconds: Time of the click, saving included, and of the list.
    """

    clicked: str | None
    seen: int
    places: tuple[Place, ...]
    gone: tuple[RankedItem, ...]
    corrected: bool
    cloud: str
    milliseconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        places = [{**asdict(place.item), "before": place.before} for place in self.places]
        plain = {name: getattr(self, name) for name in ("clicked", "seen", "corrected", "cloud", "milliseconds")}
        return {**plain, "list": places, "gone": [item.item for item in self.gone]}


class Session:
    """A user at a device.

    Args:
        device: The device.
        user: The user.
        k: Length of the list.
        cloud: Who is asked for corrections when they are due; nobody if ``None``.
    """

    def __init__(self, device: DeviceRuntime, user: User, *, k: int = 5, cloud: CorrectionSource | None = None) -> None:
        self.device, self.user, self.k, self.cloud = device, user, k, cloud
        self.ranked: list[RankedItem] = []

    def begin(self) -> Turn:
        """Return the list as it is."""
        return self._turn(None, time.perf_counter(), corrected=False)

    def click(self, item: Item) -> Turn:
        """Click an item, and ask the cloud if it is time to; the list is made before that.

        Raises:
            UnknownItemError: If the catalogue does not have the item.
        """
        corrected = self.device.correction(self.user).active
        start = time.perf_counter()
        self.device.click(self.user, item)
        names = self.device.model.names
        return self._turn(names.name(names.number(item)), start, corrected=corrected)

    def _turn(self, clicked: str | None, start: float, *, corrected: bool) -> Turn:
        before, self.ranked = self.ranked, self.device.recommend(self.user, self.k)
        milliseconds = 1e3 * (time.perf_counter() - start)
        places, gone = moved(before, self.ranked)
        return Turn(
            clicked=clicked,
            seen=self.device.state(self.user).seen,
            places=places,
            gone=gone,
            corrected=corrected,
            cloud=self._ask(),
            milliseconds=milliseconds,
        )

    def _ask(self) -> str:
        """Return what came of asking, in words; empty if it is not time."""
        if self.cloud is None or not self.device.due(self.user):
            return ""
        earlier = _outcomes(self.cloud)
        outcome = self.device.sync(self.user, self.cloud)
        reasons = _outcomes(self.cloud) - earlier
        return f"no answer: {next(iter(reasons))}" if outcome == "unanswered" and reasons else outcome


def _outcomes(cloud: CorrectionSource) -> Counter[str]:
    """Return how often each kind of answer came, of a source that counts them."""
    return Counter(getattr(cloud, "outcomes", {}))


def moved(
    before: Sequence[RankedItem], after: Sequence[RankedItem]
) -> tuple[tuple[Place, ...], tuple[RankedItem, ...]]:
    """Return the places of the new list with the ranks of before, and what is gone.

    Example:
        >>> old = [RankedItem(1, "a", None, 2.0), RankedItem(2, "b", None, 1.0)]
        >>> new = [RankedItem(1, "b", None, 3.0), RankedItem(2, "c", None, 1.0)]
        >>> places, gone = moved(old, new)
        >>> [(place.item.item, place.move) for place in places], [item.item for item in gone]
        ([('b', 1), ('c', None)], ['a'])
    """
    ranks = {item.item: item.rank for item in before}
    kept = {item.item for item in after}
    places = tuple(Place(item, ranks.get(item.item)) for item in after)
    return places, tuple(item for item in before if item.item not in kept)
