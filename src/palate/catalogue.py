"""The catalogue as a recommender speaks of it: ids in the form of the log, titles, and names that may be unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from palate.data.item_index import ItemIndex
from palate.errors import UnknownItemError

__all__ = ["Catalogue", "Item", "Unknown"]

Item = str | int
Unknown = Literal["error", "ignore"]


class Catalogue:
    """Items by number, by id and by title.

    Args:
        index: The numbering 1..V.

    Example:
        >>> from palate.data.tokens import TokenIndex
        >>> catalogue = Catalogue(ItemIndex(TokenIndex([1, 318]), pl.Series(["Toy Story (1995)", None])))
        >>> catalogue.item(2), catalogue.title(1)
        (318, 'Toy Story (1995)')
        >>> catalogue.resolve([318, "Nothing (1900)"], unknown="ignore")
        ([2], ['Nothing (1900)'])
    """

    def __init__(self, index: ItemIndex) -> None:
        self.index = index

    @property
    def num_items(self) -> int:
        """``V``."""
        return len(self.index)

    @property
    def ids(self) -> pl.Series:
        """All item ids as tokens, in the order of their numbers."""
        return self.index.tokens.tokens

    def item(self, number: int) -> Item:
        """Return the id of an item; a whole number where all ids are whole numbers."""
        token: str = self.ids[number - 1]
        return int(token) if self._whole else token

    def title(self, number: int) -> str | None:
        """Return the title of an item, ``None`` where it has none."""
        titles = self.index.titles
        return None if titles is None else titles[number - 1]

    def resolve(self, items: Sequence[Item], *, unknown: Unknown = "error") -> tuple[list[int], list[Item]]:
        """Return the numbers of items named by id or title, and the names that were left out.

        Raises:
            UnknownItemError: With ``unknown="error"``, if a name is not known; all of them are listed.
        """
        if unknown == "error":
            return self.index.resolve(items).tolist(), []
        found: list[int] = []
        left_out: list[Item] = []
        for item in items:
            try:
                found.append(int(self.index.resolve([item])[0]))
            except UnknownItemError:
                left_out.append(item)
        return found, left_out

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return ids and titles as named arrays."""
        return self.index.to_arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from what :meth:`to_arrays` returned."""
        return cls(ItemIndex.from_arrays(arrays))

    @cached_property
    def _whole(self) -> bool:
        numbers = self.ids.cast(pl.Int64, strict=False)
        return bool((numbers.cast(pl.String) == self.ids).fill_null(False).all())
