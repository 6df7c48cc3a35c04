"""Question programs: what a question means, as an expression over facts.

A fact is ``(entity, attribute, value)`` with the entity as ``kind:name``. Solving closes the world to the facts given:
what is not among them is unknown, and a description that fits two entities is ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

__all__ = [
    "NOT_MENTIONED",
    "ORDINALS",
    "Answer",
    "Apply",
    "Compare",
    "Count",
    "Fact",
    "Facts",
    "First",
    "Get",
    "Known",
    "Pair",
    "Program",
    "Select",
    "Unsolved",
    "from_document",
    "magnitude",
    "to_document",
]

EDUCATION = ("high school diploma", "college certificate", "bachelor's degree", "master's degree", "doctorate")
ORDINALS = ("age", "height", "birthday", "education", "scale", "duration", "price", "distance")
_MONTH_STARTS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)

NOT_MENTIONED = ""  # no value is empty

Value = str | int
Facts = Mapping[tuple[str, str], Value]


class Unsolved(Enum):
    """Why a program has no answer."""

    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"


Answer = Any  # a value, a (winner, difference), a pair of answers, or Unsolved


class Fact(NamedTuple):
    """That an attribute of an entity has a value."""

    entity: str
    attribute: str
    value: Value


def magnitude(attribute: str, value: Value) -> int:
    """Return the place of a value of an ordered attribute on its scale (a birthday counts days of a plain year)."""
    if attribute == "education":
        return EDUCATION.index(str(value))
    if attribute == "birthday":
        month, day = divmod(int(value), 100)
        return _MONTH_STARTS[month - 1] + day
    return int(value)


@dataclass(frozen=True, slots=True)
class Select:
    """The one entity of ``kind`` whose ``attribute`` is ``value``, or is an attribute of another entity."""

    kind: str
    attribute: str
    value: Value | Get

    def solve(self, facts: Facts) -> str | Unsolved:
        """Return the entity."""
        prefix, attribute = self.kind + ":", self.attribute
        value = self.value.solve(facts) if isinstance(self.value, Get) else self.value
        if isinstance(value, Unsolved):
            return value
        found = [e for (e, a), v in facts.items() if a == attribute and v == value and e.startswith(prefix)]
        if not found:
            return Unsolved.UNKNOWN
        return found[0] if len(found) == 1 else Unsolved.AMBIGUOUS


@dataclass(frozen=True, slots=True)
class Get:
    """An attribute of an entity."""

    of: str | Select
    attribute: str

    def solve(self, facts: Facts) -> Answer:
        """Return the value."""
        entity = self.of if isinstance(self.of, str) else self.of.solve(facts)
        if isinstance(entity, Unsolved):
            return entity
        return facts.get((entity, self.attribute), Unsolved.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of a value: ``digit_sum``, ``domain``, ``letters``, ``season``, ``weekday`` or ``times``."""

    function: str
    number: int
    of: Get

    def solve(self, facts: Facts) -> Answer:
        """Return the function of the value."""
        value = self.of.solve(facts)
        return value if isinstance(value, Unsolved) else _FUNCTIONS[self.function](value, self.number)


@dataclass(frozen=True, slots=True)
class Compare:
    """Which of two entities has the greater attribute, and by how much; ``("", 0)`` when they are equal."""

    attribute: str
    first: str
    second: str

    def solve(self, facts: Facts) -> Answer:
        """Return ``(winner, difference)``."""
        values = [facts.get((entity, self.attribute)) for entity in (self.first, self.second)]
        if values[0] is None or values[1] is None:
            return Unsolved.UNKNOWN
        gap = magnitude(self.attribute, values[0]) - magnitude(self.attribute, values[1])
        return (self.first if gap > 0 else self.second, abs(gap)) if gap else ("", 0)


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a named group have an attribute ``above`` a number, or ``among`` some values."""

    entities: tuple[str, ...]
    attribute: str
    above: int | None = None
    among: tuple[Value, ...] = ()

    def solve(self, facts: Facts) -> Answer:
        """Return the count; unknown as soon as one of the group is."""
        count = 0
        for entity in self.entities:
            value = facts.get((entity, self.attribute))
            if value is None:
                return Unsolved.UNKNOWN
            if self.above is not None:
                count += magnitude(self.attribute, value) > self.above
            else:
                count += value in self.among
        return count


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions in one."""

    first: Get | Apply | Compare | Count
    second: Get | Apply | Compare | Count

    def solve(self, facts: Facts) -> Answer:
        """Return both answers, or the first reason why there are not two."""
        answers = (self.first.solve(facts), self.second.solve(facts))
        return next((answer for answer in answers if isinstance(answer, Unsolved)), answers)


@dataclass(frozen=True, slots=True)
class Known:
    """An attribute of an entity, or :data:`NOT_MENTIONED`: what was never said is an answer, too."""

    of: Get

    def solve(self, facts: Facts) -> Answer:
        """Return the value."""
        value = self.of.solve(facts)
        return NOT_MENTIONED if value is Unsolved.UNKNOWN else value


@dataclass(frozen=True, slots=True)
class First:
    """Which of some (entity, attribute) was spoken of first; solved over the numbers of the first messages on them."""

    places: tuple[tuple[str, str], ...]

    def solve(self, facts: Facts) -> Answer:
        """Return the place."""
        known = [(int(facts[place]), place) for place in self.places if place in facts]
        return min(known)[1] if len(known) == len(self.places) else Unsolved.UNKNOWN


Program = Get | Apply | Compare | Count | Pair | Known | First


def _season(value: Value, _: int) -> int:
    return (int(value) // 100 - 3) % 12 // 3


_FUNCTIONS: dict[str, Callable[[Value, int], Value]] = {
    "digit_sum": lambda value, n: sum(int(c) for c in [c for c in str(value) if c.isdigit()][-n:]),
    "domain": lambda value, _: str(value).partition("@")[2],
    "letters": lambda value, _: sum(c.isalpha() for c in str(value)),
    "season": _season,
    "weekday": lambda value, _: datetime.fromisoformat(str(value)).weekday(),
    "times": lambda value, n: n * int(value),
}


def to_document(program: Program | Select | str) -> Any:
    """Return a program as plain JSON types."""
    if isinstance(program, str):
        return program
    fields = [getattr(program, name) for name in type(program).__slots__]
    parts = [to_document(f) if isinstance(f, Program | Select) else f for f in fields]
    return [type(program).__name__.lower(), *[_plain(part) for part in parts]]


def _plain(part: Any) -> Any:
    return [_plain(entry) for entry in part] if isinstance(part, tuple) else part


def from_document(document: Any) -> Any:
    """Return the program that :func:`to_document` wrote.

    Example:
        >>> from_document(to_document(Get(Select("person", "hobby", "chess"), "age")))
        Get(of=Select(kind='person', attribute='hobby', value='chess'), attribute='age')
    """
    if not isinstance(document, list):
        return document
    kinds = {kind.__name__.lower(): kind for kind in (Select, Get, Apply, Compare, Count, Pair, Known, First)}
    if not document or not isinstance(document[0], str) or document[0] not in kinds:
        return tuple(from_document(part) for part in document)
    return kinds[document[0]](*(from_document(part) for part in document[1:]))
