"""Items as people name them, read without a table library: the catalogue of a saved recommender, for a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np

from palate.errors import Problem, SavedFolderError, UnknownItemError, suggest

__all__ = ["Item", "ItemNames"]

Item = str | int
AnyArray = np.ndarray[Any, np.dtype[Any]]


class ItemNames:
    """Item id or title -> number 1..V, and back; answers like :class:`palate.catalogue.Catalogue`.

    Args:
        ids: The different item ids, in the order of their numbers.
        titles: What people call them, ``None`` where an item has no title.

    Example:
        >>> names = ItemNames(["1", "318"], ["Toy Story (1995)", None])
        >>> names.number("toy story (1995)"), names.number(318), names.item(2), names.title(2)
        (1, 2, 318, None)
        >>> names.number("Toy Storey (1995)")
        Traceback (most recent call last):
        palate.errors.UnknownItemError: [P203] The item "Toy Storey (1995)" is not known.
          - no item has this id or title (value 'Toy Storey (1995)'). Did you mean "Toy Story (1995)"?
    """

    def __init__(self, ids: Sequence[str], titles: Sequence[str | None] | None = None) -> None:
        self.ids = tuple(ids)
        self.titles = (None,) * len(self.ids) if titles is None else tuple(titles)

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, number: int) -> Item:
        """Return the id of an item; a whole number where all ids are whole numbers."""
        token = self.ids[number - 1]
        return int(token) if self._whole else token

    def title(self, number: int) -> str | None:
        """Return the title of an item, ``None`` where it has none."""
        return self.titles[number - 1]

    def name(self, number: int) -> str:
        """Return what people call an item: its title, else its id."""
        return self.title(number) or self.ids[number - 1]

    def number(self, item: Item) -> int:
        """Return the number of an item named by id or title.

        A number is an id. A text is an id if there is such an id, else a title as it stands, else a title whatever
        the case.

        Raises:
            UnknownItemError: If the name is unknown (with the nearest) or fits several items (with their ids).
        """
        found = self._by_id.get(str(item))
        if found is not None:
            return found
        matches = self._by_title.get(str(item)) or self._by_folded.get(str(item).lower(), []) if _text(item) else []
        if len(matches) == 1:
            return matches[0]
        problem = self._problem(str(item), matches)
        raise UnknownItemError(f'The item "{item}" is not known.', problems=[problem])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> Self:
        """Rebuild from what :meth:`palate.catalogue.Catalogue.to_arrays` returned.

        Raises:
            SavedFolderError: If the arrays do not describe names.
        """
        ids = _texts(arrays, "")
        if "title.utf8" not in arrays:
            return cls(ids)
        known, titles = arrays.get("title.known"), _texts(arrays, "title.")
        if known is None or not len(known) == len(titles) == len(ids):
            raise SavedFolderError("The titles of the catalogue do not fit its ids.", remedy="Export again.")
        return cls(ids, [title if flag else None for title, flag in zip(titles, known.tolist(), strict=True)])

    def _problem(self, name: str, matches: Sequence[int]) -> Problem:
        if matches:
            ids = ", ".join(f'"{self.ids[number - 1]}"' for number in matches)
            return Problem(f"{len(matches)} items have this title", f"Name one by its id: {ids}.", value=name)
        titles = [title for title in self.titles if title is not None]
        return Problem("no item has this id or title", suggest(name, _near(name, titles or self.ids)), value=name)

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.ids, start=1)}

    @cached_property
    def _by_title(self) -> dict[str, list[int]]:
        return _grouped(self.titles)

    @cached_property
    def _by_folded(self) -> dict[str, list[int]]:
        return _grouped([None if title is None else title.lower() for title in self.titles])

    @cached_property
    def _whole(self) -> bool:
        return all(token.lstrip("-").isdecimal() and str(int(token)) == token for token in self.ids)


def _text(item: Item) -> bool:
    return isinstance(item, str)


def _grouped(titles: Sequence[str | None]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for number, title in enumerate(titles, start=1):
        if title is not None:
            places.setdefault(title, []).append(number)
    return places


def _near(name: str, pool: Sequence[str], most: int = 2000) -> Sequence[str]:
    """Return names that share words with ``name``, for the slow comparison after."""
    if len(pool) <= most:
        return pool
    words = [word for word in name.lower().split() if len(word) > 2]
    shared = [(sum(word in entry.lower() for word in words), entry) for entry in pool]
    return [entry for count, entry in sorted(shared, key=lambda pair: -pair[0])[:most] if count]


def _texts(arrays: Mapping[str, AnyArray], prefix: str) -> list[str]:
    try:
        utf8, offsets = arrays[f"{prefix}utf8"], arrays[f"{prefix}offsets"]
        if utf8.dtype != np.uint8 or offsets.dtype != np.int64 or offsets[0] != 0 or offsets[-1] != len(utf8):
            raise ValueError("the offsets do not fit the bytes")
        if (np.diff(offsets) < 0).any():
            raise ValueError("the offsets go back")
        joined, places = utf8.tobytes(), offsets.tolist()
        return [joined[start:stop].decode("utf-8") for start, stop in pairwise(places)]
    except (KeyError, ValueError, IndexError) as error:
        raise SavedFolderError(f"The names of the catalogue cannot be read: {error}.", remedy="Export again.") from None
