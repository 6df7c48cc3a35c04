"""What each user took, oldest first: travels with a recommender so that users can be named instead of described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from palate.data.sequences import IntArray, SequenceLog
from palate.data.tokens import TokenIndex, pack_tokens, unpack_tokens

__all__ = ["UsersLog"]


@dataclass(frozen=True)
class UsersLog:
    """Users by name and their items by index.

    Attributes:
        users: User tokens; user ``u`` of the log is the token at place ``u``.
        log: Items 1..V per user, oldest first.
    """

    users: TokenIndex
    log: SequenceLog

    def place(self, user: str | int) -> int:
        """Return the place of a user in the log, -1 where the log does not know them."""
        return int(self.users.positions(pl.Series([user]))[0])

    def knows(self, user: str | int) -> bool:
        """Say whether the log knows the user."""
        return self.place(user) >= 0

    def items_of(self, user: str | int) -> list[int]:
        """Return the item indices of a user, oldest first; empty where the log does not know them."""
        place = self.place(user)
        if place < 0:
            return []
        items: list[int] = self.log.items[self.log.offsets[place] : self.log.offsets[place + 1]].tolist()
        return items

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return everything as named arrays."""
        arrays: dict[str, np.ndarray[Any, Any]] = dict(pack_tokens(self.users.tokens))
        arrays |= {"items": self.log.items, "log_offsets": self.log.offsets}
        return {**arrays, "num_items": np.array([self.log.num_items], dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Rebuild from what :meth:`to_arrays` returned."""
        users = TokenIndex(unpack_tokens(arrays["utf8"], arrays["offsets"]))
        items: IntArray = arrays["items"]
        return cls(users, SequenceLog(items, arrays["log_offsets"], int(arrays["num_items"][0])))
