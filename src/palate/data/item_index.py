"""Items as numbers 1..V, and as people name them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl

from palate.data.schema import Role
from palate.data.sequences import SequenceLog
from palate.data.tokens import TokenIndex, as_text, pack_tokens, unpack_tokens
from palate.errors import ConfigError, Problem, UnknownItemError, UnknownNameError, suggest

if TYPE_CHECKING:
    from palate.data.dataset import Dataset

__all__ = ["ItemIndex", "sequence_log"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
AnyArray = np.ndarray[Any, np.dtype[Any]]
Source = Literal["catalogue", "log", "both"]


class ItemIndex:
    """Item id <-> index 1..V; 0 is padding and stands for no item.

    Args:
        tokens: The different item ids, in the order of their indices.
        titles: What people call them, in the same order; null where an item has no title.

    Example:
        >>> index = ItemIndex(TokenIndex([1, 318]), pl.Series(["Toy Story (1995)", None]))
        >>> index.resolve(["Toy Story (1995)", 318]).tolist()
        [1, 2]
        >>> index.resolve(["Toy Storey (1995)"])
        Traceback (most recent call last):
        palate.errors.UnknownItemError: [P203] 1 of 1 items are not known.
          - no item has this id or title (value 'Toy Storey (1995)'). Did you mean "Toy Story (1995)"?
    """

    def __init__(self, tokens: TokenIndex, titles: pl.Series | None = None) -> None:
        if titles is not None and len(titles) != len(tokens):
            raise ConfigError(f"{len(tokens):,} items came with {len(titles):,} titles.")
        self.tokens = tokens
        self.titles = None if titles is None else as_text(titles).cast(pl.String).alias("title")

    @classmethod
    def from_dataset(cls, dataset: Dataset, source: Source = "both") -> Self:
        """Number the items of the catalogue in its order, then those that only the log has, by first appearance.

        Args:
            dataset: The data set.
            source: ``catalogue``, ``log`` or ``both``. With ``log``, items that nobody met are left out.

        Raises:
            SchemaError: If the table has no item column.
            DataError: If the catalogue lists an item twice.
        """
        if source not in ("catalogue", "log", "both"):
            raise UnknownNameError.among("source of items", source, ("catalogue", "log", "both"))
        tokens, titles = TokenIndex([]), None
        catalogue = _catalogue(dataset)
        if catalogue is not None and source != "log":
            tokens = catalogue
        if source != "catalogue":
            name = dataset.schema.name_of("interactions", Role.ITEM)
            met = TokenIndex.of(dataset.scan().select(name).collect().to_series())
            tokens = TokenIndex(pl.concat([tokens.tokens, met.tokens]).unique(maintain_order=True))
        if catalogue is not None and dataset.items is not None and dataset.schema.has("items", Role.TITLE):
            named = dataset.items.get_column(dataset.schema.name_of("items", Role.TITLE))
            titles = named.gather(_nullable(catalogue.positions(tokens.tokens)))
        return cls(tokens, titles)

    @property
    def num_items(self) -> int:
        """``V``."""
        return len(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"ItemIndex({len(self):,} items{'' if self.titles is None else ', with titles'})"

    def encode(self, items: pl.Series) -> IntArray:
        """Return the index of each item id, 0 where it is not known: int64 ``[N]``."""
        return self.tokens.positions(items).astype(np.int64) + 1

    def decode(self, indices: Sequence[int] | AnyArray) -> pl.Series:
        """Return the item id of each index, null for 0."""
        return self.tokens.take(np.asarray(indices, dtype=np.int64) - 1)

    def title(self, indices: Sequence[int] | AnyArray) -> pl.Series:
        """Return what people call each item: its title, else its id; null for 0."""
        ids = self.decode(indices).alias("title")
        if self.titles is None:
            return ids
        places = np.asarray(indices, dtype=np.int64) - 1
        return self.titles.gather(_nullable(places)).fill_null(ids)

    def resolve(self, items: Sequence[str | int]) -> IntArray:
        """Return the index of each item, named by id or by title: int64 ``[N]``.

        A number is an id. A text is an id if there is such an id, else a title as it stands, else a title whatever
        the case.

        Raises:
            UnknownItemError: If names are unknown (with the nearest title) or fit several items (with their ids);
                all of them are listed.
        """
        names = pl.Series([str(item) for item in items], dtype=pl.String)
        found = self.encode(names)
        problems = []
        for place in np.flatnonzero(found == 0):
            item = items[int(place)]
            matches = self._by_title(str(item)) if isinstance(item, str) else []
            if len(matches) == 1:
                found[place] = matches[0]
            else:
                problems.append(self._problem(str(item), matches))
        if problems:
            raise UnknownItemError(f"{len(problems):,} of {len(names):,} items are not known.", problems=problems)
        return found

    def to_arrays(self) -> dict[str, AnyArray]:
        """Return ids and titles as arrays, for safetensors."""
        arrays = pack_tokens(self.tokens.tokens)
        if self.titles is not None:
            arrays |= {f"title.{key}": value for key, value in pack_tokens(self.titles.fill_null("")).items()}
            arrays["title.known"] = self.titles.is_not_null().to_numpy().astype(np.uint8)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, AnyArray]) -> Self:
        """Rebuild the index from what :meth:`to_arrays` returned."""
        tokens = TokenIndex(unpack_tokens(arrays["utf8"], arrays["offsets"]))
        if "title.utf8" not in arrays:
            return cls(tokens)
        titles = unpack_tokens(arrays["title.utf8"], arrays["title.offsets"])
        return cls(tokens, titles.set(pl.Series(arrays["title.known"] == 0), None))

    def _by_title(self, name: str) -> list[int]:
        exact = self._titled.filter(pl.col("title") == name)
        found = exact if len(exact) else self._titled.filter(pl.col("folded") == name.lower())
        return found.get_column("index").to_list()

    def _problem(self, name: str, matches: list[int]) -> Problem:
        if matches:
            ids = ", ".join(f'"{token}"' for token in self.decode(matches).to_list())
            return Problem(f"{len(matches)} items have this title", f"Name one by its id: {ids}.", value=name)
        near = self._near(name)
        remedy = suggest(name, near) if near else "Names are item ids" + ("." if self.titles is None else " or titles.")
        return Problem("no item has this id or title", remedy, value=name)

    def _near(self, name: str, most: int = 2000) -> list[str]:
        """Return titles (ids where there are none) that share words with ``name``, for the slow comparison after."""
        pool = self.tokens.tokens if self.titles is None else self.titles.drop_nulls()
        if len(pool) <= most:
            return pool.to_list()
        words = re.findall(r"\w{3,}", name.casefold())
        if not words:
            return []
        folded = pool.str.to_lowercase()
        shared = np.zeros(len(pool), dtype=np.int64)
        for word in words:
            shared += folded.str.contains(word, literal=True).to_numpy()
        best = np.argsort(-shared, kind="stable")[:most]
        return pool.gather(best[shared[best] > 0]).to_list()

    @cached_property
    def _titled(self) -> pl.DataFrame:
        titles = pl.Series("title", [], dtype=pl.String) if self.titles is None else self.titles
        frame = pl.DataFrame({"title": titles}).with_row_index("index", offset=1).drop_nulls()
        return frame.with_columns(pl.col("title").str.to_lowercase().alias("folded"))


def sequence_log(
    dataset: Dataset, index: ItemIndex, *, positives_only: bool = False, rows: IntArray | None = None
) -> tuple[SequenceLog, pl.Series]:
    """Return every user's items by time, and the users' ids.

    Interactions of the same second (or all, in a log without times) keep the order of the log. Users come in the
    order in which they first appear; interactions without a user, or with an item that the index does not have,
    are left out.

    Args:
        dataset: The data set.
        index: The numbers of the items.
        positives_only: Keep only interactions with label 1; otherwise every interaction counts as a choice.
        rows: Row ids that may be used; all when left out.

    Shapes:
        The ids of the users are ``[U]``, in the order of the log's users.
    """
    schema = dataset.schema
    user, item = (schema.name_of("interactions", role) for role in (Role.USER, Role.ITEM))
    log = dataset.scan().select(user, item).collect()
    kept = np.ones(len(log), dtype=np.bool_)
    if rows is not None:
        kept[:] = False
        kept[rows] = True
    if positives_only:
        kept &= dataset.labels() > 0.5
    items = index.encode(log.get_column(item))
    kept &= (items > 0) & log.get_column(user).is_not_null().to_numpy()
    chosen = log.get_column(user).filter(pl.Series(kept))
    users = TokenIndex.of(chosen)
    codes = users.positions(chosen).astype(np.int64)
    times = dataset.times()[kept] if schema.has("interactions", Role.TIME) else None
    order = np.argsort(codes, kind="stable") if times is None else np.lexsort((times, codes))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(users)))]).astype(np.int64)
    sequences = SequenceLog(items[kept][order], offsets, len(index), None if times is None else times[order])
    return sequences, users.tokens.alias(user)


def _catalogue(dataset: Dataset) -> TokenIndex | None:
    if dataset.items is None:
        return None
    return TokenIndex(dataset.items.get_column(dataset.schema.name_of("items", Role.ITEM)), what="ids of items")


def _nullable(places: AnyArray) -> pl.Series:
    series = pl.Series(np.asarray(places, dtype=np.int64))
    return series.set(series < 0, None)
