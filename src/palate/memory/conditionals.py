"""The conditional distributions that a relation network is made of, each drawn for many lives at once.

An attribute of an entity type is an integer code per life and entity. A conditional turns the codes of its parents
into codes of its own: ``draw(rng, parents) -> int64 [N, C]`` for ``N`` lives and ``C`` entities of the type.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from palate.config import Config
from palate.errors import ConfigError

__all__ = ["Attribute", "Conditional", "IntArray", "Place"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Place:
    """What the network knows of a node: how many words its lexicon and those of its parents have, and chosen codes.

    Attributes:
        states: Words of its own lexicon; 0 for numbers.
        parent_states: Words of each parent's lexicon; ``None`` for numbers.
        chosen: Codes of the words that ``choose`` or ``only`` names.
    """

    states: int
    parent_states: tuple[int | None, ...]
    chosen: tuple[int, ...] = ()


class Conditional(Config):
    """What every conditional says: whose attribute it is, its name, and its parents (``type.name`` or ``name``)."""

    of: tuple[str, ...] = Field(min_length=1)
    name: str
    parents: tuple[str, ...] = ()

    @property
    def lexicon(self) -> str | None:
        """The word list that codes stand in, or ``None`` for numbers and composed strings."""
        return None

    @property
    def pool(self) -> str | None:
        """The pool in which codes are drawn without replacement within a life, or ``None``."""
        return None

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        """Raise :class:`ConfigError` if tables do not fit the states of this attribute and of its parents."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        """Return codes ``[N, C]``; ``parents`` are broadcast to ``[N, C]``, ``place`` what the network knows."""

    def refuse(self, what: str) -> ConfigError:
        """Return the error for a defect of this attribute."""
        return ConfigError(f'Attribute "{self.name}" of {", ".join(self.of)}: {what}')


class _Worded(Conditional):
    values: str | None = None

    @property
    def lexicon(self) -> str | None:
        return self.values


class Uniform(_Worded):
    """Uniform over a word list, some of its words (``choose``), or the integers ``low .. high``."""

    rule: Literal["uniform"]
    choose: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    distinct: str | None = None

    @property
    def pool(self) -> str | None:
        return self.distinct

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if self.values is None and self.low > self.high:
            raise self.refuse(f"low = {self.low} is above high = {self.high}.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        if place.chosen:
            return np.asarray(place.chosen, dtype=np.int64)[rng.integers(0, len(place.chosen), shape)]
        if self.values is not None:
            return rng.integers(0, place.states, shape)
        return rng.integers(self.low, self.high + 1, shape)


class Switch(Conditional):
    """A word of the list that the parent selects; codes are uniform and, in one pool, distinct within a life."""

    rule: Literal["switch"]
    lexicons: tuple[str, ...]
    distinct: str | None = None

    @property
    def pool(self) -> str | None:
        return self.distinct

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if len(self.parents) != 1 or parent_states[0] != len(self.lexicons):
            raise self.refuse("a switch has one parent and one lexicon per state of it.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        return rng.integers(0, place.states, shape)


class Categorical(_Worded):
    """A table of one row per state of the parents (the last parent runs fastest); every row sums to one."""

    rule: Literal["categorical"]
    values: str
    table: tuple[tuple[float, ...], ...]

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if any(count is None for count in parent_states):
            raise self.refuse("the parents of a table must be worded attributes.")
        rows = int(np.prod([count or 1 for count in parent_states]))
        if len(self.table) != rows:
            raise self.refuse(f"its table has {len(self.table)} rows, its parents have {rows} joint states.")
        for place, row in enumerate(self.table):
            if len(row) != states:
                raise self.refuse(f"row {place} has {len(row)} probabilities for {states} values.")
            if min(row) < 0 or abs(sum(row) - 1) > _TOLERANCE:
                raise self.refuse(f"row {place} sums to {sum(row):.12g}, not to 1.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        row = np.zeros(shape, dtype=np.int64)
        for size, codes in zip(place.parent_states, parents, strict=True):
            row = row * (size or 1) + codes
        ends = np.cumsum(np.asarray(self.table), axis=1)
        ends[:, -1] = 1.0
        return np.asarray((rng.random(shape)[..., None] >= ends[row]).sum(axis=-1))


class Blocks(_Worded):
    """The word list is cut into one block per state of the parent; uniform within the block."""

    rule: Literal["blocks"]
    values: str
    blocks: tuple[int, ...]

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if len(self.parents) != 1 or parent_states[0] != len(self.blocks) or min(self.blocks) < 1:
            raise self.refuse("there must be one block of at least one value per state of its one parent.")
        if sum(self.blocks) != states:
            raise self.refuse(f"its blocks hold {sum(self.blocks)} of {states} values.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        sizes = np.asarray(self.blocks)
        starts = np.cumsum(sizes) - sizes
        return np.asarray(starts[parents[0]] + (rng.random(shape) * sizes[parents[0]]).astype(np.int64))


class Copy(_Worded):
    """The value of the first parent; with ``only``, just where the second parent is one of these, else uniform."""

    rule: Literal["copy"]
    only: tuple[str, ...] = ()

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if len(self.parents) != (2 if self.only else 1):
            raise self.refuse("a copy has one parent, and a second one if and only if it has `only`.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        if not self.only:
            return parents[0].copy()
        return np.where(np.isin(parents[1], place.chosen), parents[0], rng.integers(0, place.states, shape))


class Offset(Conditional):
    """First parent plus an integer that is uniform over ``offsets[state of the second parent]``, ends included."""

    rule: Literal["offset"]
    offsets: tuple[tuple[int, int], ...]

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if len(self.parents) != 2 or parent_states[1] != len(self.offsets):
            raise self.refuse("an offset has two parents and one range per state of the second.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        low, high = np.asarray(self.offsets).T
        span = (high - low + 1)[parents[1]]
        return np.asarray(parents[0] + low[parents[1]] + (rng.random(shape) * span).astype(np.int64))


class Normal(Conditional):
    """A rounded normal number, clipped to ``low .. high``; its mean depends on the state of the parent."""

    rule: Literal["normal"]
    mean: tuple[float, ...]
    deviation: float = Field(gt=0)
    low: int
    high: int

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if len(self.parents) != 1 or parent_states[0] != len(self.mean):
            raise self.refuse("a normal has one parent and one mean per state of it.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        raw = rng.normal(np.asarray(self.mean)[parents[0]], self.deviation)
        return np.clip(np.rint(raw), self.low, self.high).astype(np.int64)


class Birthday(Conditional):
    """A month, uniform, and a day of it, uniform (February has 28); code ``100 month + day``."""

    rule: Literal["birthday"]

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        month = rng.integers(0, 12, shape)
        return np.asarray(100 * (month + 1) + 1 + (rng.random(shape) * DAYS[month]).astype(np.int64))


class Moment(Conditional):
    """A time to come: half relative (two weeks, seven weekdays, three hours), half an absolute date and hour.

    Codes 0 .. 41 are relative; ``42 + 3 d + h`` is ``d + 30`` days after the statement, at the same hours.
    """

    rule: Literal["moment"]

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        relative = rng.integers(0, 42, shape)
        absolute = 42 + rng.integers(0, 270, shape)
        return np.where(rng.random(shape) < 0.5, relative, absolute)


class Product(Conditional):
    """A digit 1 .. 9 times one of ``factors``, both uniform."""

    rule: Literal["product"]
    factors: tuple[int, ...] = Field(min_length=1)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        factor = np.asarray(self.factors)[rng.integers(0, len(self.factors), shape)]
        return np.asarray(rng.integers(1, 10, shape) * factor)


class Mixture(_Worded):
    """The value of parent ``k`` with ``probabilities[k]``; the last probability is that of a uniform value."""

    rule: Literal["mixture"]
    values: str
    probabilities: tuple[float, ...]

    def check(self, states: int | None, parent_states: list[int | None]) -> None:
        if len(self.probabilities) != len(self.parents) + 1:
            raise self.refuse("a mixture has one probability per parent and one for the uniform rest.")
        if min(self.probabilities) < 0 or abs(sum(self.probabilities) - 1) > _TOLERANCE:
            raise self.refuse(f"its probabilities sum to {sum(self.probabilities):.12g}, not to 1.")

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        options = np.stack([*parents, rng.integers(0, place.states, shape)])
        which = np.searchsorted(np.cumsum(self.probabilities)[:-1], rng.random(shape), side="right")
        return np.asarray(np.take_along_axis(options, which[None], axis=0)[0])


class Digits(Conditional):
    """A plainly fictional number: ``prefix`` and ``digits`` uniform digits."""

    rule: Literal["digits"]
    prefix: str
    digits: int = Field(ge=1, le=15)

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        return rng.integers(0, 10**self.digits, shape)


class Template(Conditional):
    """A string composed of the parents; ``slug`` lowers letters and joins words with hyphens."""

    rule: Literal["template"]
    text: str
    slug: bool = False

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], parents: list[IntArray], place: Place) -> IntArray:
        return np.zeros(shape, dtype=np.int64)


Attribute = Annotated[
    Uniform
    | Switch
    | Categorical
    | Blocks
    | Copy
    | Offset
    | Normal
    | Birthday
    | Moment
    | Product
    | Mixture
    | Digits
    | Template,
    Field(discriminator="rule"),
]
