"""Scenes: which facts of a life are told, and what is asked about them.

A scene is drawn from one life; nothing is worded yet. Whether its question is sound is checked on what the messages
state (:mod:`palate.memory.soundness`), and an unsound one is thrown away.

Every scheme of options is blind-proof: values of the asked attribute of four entities, each told once; four counts that
are equally often right; two winners times two differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from palate.memory.network import Network, Profiles
from palate.memory.programs import ORDINALS, Answer, Apply, Compare, Count, Get, Program, Select, magnitude
from palate.memory.trajectory import QuestionType

__all__ = ["ATTRIBUTES", "Life", "Scene", "draw_scene"]

T = TypeVar("T")
Draw = Callable[[], float]
Value = str | int
Place = tuple[str, str]  # entity, attribute

PEOPLE = (
    "name age height birthday hometown workplace education occupation position employer hobby personality phone email"
)
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "person": tuple(PEOPLE.split()),
    "event": ("topic", "venue", "time", "scale", "duration"),
    "item": ("colour", "price", "comment"),
    "place": ("district", "distance", "comment"),
}
FUNCTIONS = {
    "person": (("digit_sum", "phone"), ("domain", "email"), ("letters", "name"), ("season", "birthday")),
    "event": (("weekday", "time"),),
    "item": (("times", "price"),),
    "place": (("times", "distance"),),
}
CYCLES = {"season": 4, "weekday": 7}
COUNTED = ("age", "height", "scale", "duration", "price", "distance")
ENTITIES_ASKED = 4


class Life:
    """One sampled life: its entities by kind, and their values.

    Args:
        profiles: The block of lives.
        index: Which of them.
        readers: Quick readers by (type, attribute), shared within the block.
    """

    def __init__(
        self, profiles: Profiles, index: int, readers: dict[tuple[str, str], Callable[[int, int], Value]]
    ) -> None:
        self.profiles, self.index, self._readers = profiles, index, readers
        self.owners: dict[str, tuple[str, int]] = {}
        self._entities: dict[str, list[str]] = {}
        self._columns: dict[tuple[str, str], dict[Place, Value]] = {}

    def entities(self, kind: str) -> list[str]:
        """Return the entities of a kind, as ``kind:name``."""
        if kind in self._entities:
            return self._entities[kind]
        network, label = self.profiles.network, "relation" if kind == "person" else "name"
        found = []
        for owner, count in network.counts.items():
            if network.kinds[owner] == kind:
                for place in range(count):
                    entity = f"{kind}:{self._read(owner, place, label)}"
                    self.owners[entity] = (owner, place)
                    found.append(entity)
        self._entities[kind] = found
        return found

    def value(self, entity: str, attribute: str) -> Value:
        """Return the value of an attribute (for a time: its code)."""
        owner, place = self.owners[entity]
        reader = self._readers.get((owner, attribute))
        return self._read(owner, place, attribute) if reader is None else reader(self.index, place)

    def column(self, kind: str, attribute: str) -> dict[Place, Value]:
        """Return an attribute of all entities of a kind, as facts of the life; not to be changed."""
        found = self._columns.get((kind, attribute))
        if found is None:
            found = {(entity, attribute): self.value(entity, attribute) for entity in self.entities(kind)}
            self._columns[kind, attribute] = found
        return found

    def workplace(self) -> str:
        """Return the city in which the user works."""
        return str(self._read("user", 0, "workplace"))

    def _read(self, owner: str, place: int, attribute: str) -> Value:
        reader = self._readers.get((owner, attribute))
        if reader is None:
            reader = self._readers[owner, attribute] = self.profiles.reader(owner, attribute)
        return reader(self.index, place)


@dataclass
class Scene:
    """Facts to tell and the question to ask.

    Attributes:
        kind: Kind of the entities.
        program: The question.
        told: What is stated, one message each; the evidence first.
        evidence: How many of ``told`` are evidence.
        options: Programs whose answers are the four options, or the answers themselves; exactly one is right.
        entities: Who the scene is about.
        used: Attributes that the program depends on.
        cycle: For answers that go round (seasons, weekdays): how many there are; the options are distances from the
            right one.
    """

    kind: str
    program: Program
    told: list[Place]
    evidence: int
    options: list[Program] | list[Answer]
    entities: list[str] = field(default_factory=list)
    used: tuple[str, ...] = ()
    cycle: int = 0


def draw_scene(life: Life, kind: str, type: QuestionType, draw: Draw) -> Scene | None:
    """Draw a scene of one kind of entity; ``None`` when this draw allows no question of the type."""
    entities = _shuffled(life.entities(kind), draw)
    if type == "comparative":
        return _comparative(life, kind, entities, draw)
    if type == "aggregative":
        return _aggregative(life, kind, entities[:ENTITIES_ASKED], draw)
    return _lookup(life, kind, entities[:ENTITIES_ASKED], type, draw)


def _lookup(life: Life, kind: str, entities: list[str], type: QuestionType, draw: Draw) -> Scene | None:
    target, function, number = entities[0], "", 0
    if type == "post_processing":
        function, asked = _pick(FUNCTIONS[kind], draw)
        number = 2 + int(draw() * 5)
    else:
        asked = _pick(ATTRIBUTES[kind], draw)
        column = life.column(kind, asked)
        if len({column[entity, asked] for entity in entities}) < len(entities):
            return None
    others = [name for name in _shuffled(list(ATTRIBUTES[kind]), draw) if name != asked]
    of: str | Select = target
    if type != "simple":
        condition = next((name for name in others if name != "time" and _unique(life, kind, target, name)), None)
        if condition is None:
            return None
        others.remove(condition)
        others.insert(0, condition)
        of = Select(kind, condition, life.value(target, condition))
    extra = {"person": 4, "event": 3, "item": 1, "place": 1}[kind]
    told = [(target, asked), *((target, name) for name in others[:extra])]
    told += [(entity, asked) for entity in entities[1:]]

    def program(of: str | Select) -> Program:
        return Apply(function, number, Get(of, asked)) if function else Get(of, asked)

    used = (asked,) if type == "simple" else (asked, others[0])
    cycle = CYCLES.get(function, 0)
    if cycle:
        shifts = _shuffled(range(1, cycle), draw)[:3]
        return Scene(kind, program(of), told, len(used), shifts, entities, used, cycle=cycle)
    options = [program(of), *(program(entity) for entity in entities[1:])]
    return Scene(kind, options[0], told, len(used), options, entities, used)


def _unique(life: Life, kind: str, target: str, attribute: str) -> bool:
    column = life.column(kind, attribute)
    return list(column.values()).count(column[target, attribute]) == 1


def _comparative(life: Life, kind: str, entities: list[str], draw: Draw) -> Scene | None:
    asked = _pick([name for name in ATTRIBUTES[kind] if name in ORDINALS], draw)
    scale = [magnitude(asked, life.value(entity, asked)) for entity in entities[:4]]
    gap, other = abs(scale[0] - scale[1]), abs(scale[2] - scale[3])
    if not gap or not other or gap == other:
        return None
    first, second = entities[:2]
    winners = (first, second) if scale[0] > scale[1] else (second, first)
    extra = _pick([name for name in ATTRIBUTES[kind] if name != asked], draw)
    told = [(first, asked), (second, asked), (first, extra), (second, extra)]
    options = [(winner, size) for size in (gap, other) for winner in winners]
    return Scene(kind, Compare(asked, first, second), told, 2, options, [first, second], (asked,))


def _aggregative(life: Life, kind: str, entities: list[str], draw: Draw) -> Scene | None:
    asked = _pick([name for name in ATTRIBUTES[kind] if name not in ("time", "education", "birthday")], draw)
    values = [life.value(entity, asked) for entity in entities]
    if len(set(values)) < len(values):
        return None
    wanted = 1 + int(draw() * 4)
    if asked in COUNTED:
        scale = sorted((magnitude(asked, value) for value in values), reverse=True)
        low = scale[wanted] if wanted < 4 else scale[3] - 1 - int(draw() * 3)
        above = low + int(draw() * (scale[wanted - 1] - low))
        if above < 1:
            return None
        program = Count(tuple(entities), asked, above)
    else:
        chosen = _shuffled(values, draw)[:wanted]
        rest = _others(life.profiles.network, life, entities[0], asked, values)
        if len(rest) < 4 - wanted:
            return None
        chosen += _shuffled(rest, draw)[: 4 - wanted]
        program = Count(tuple(entities), asked, None, tuple(_shuffled(chosen, draw)))
    extra = _pick([name for name in ATTRIBUTES[kind] if name != asked], draw)
    told = [*((entity, asked) for entity in entities), *((entity, extra) for entity in entities)]
    return Scene(kind, program, told, 4, [1, 2, 3, 4], entities, (asked,))


def _others(network: Network, life: Life, entity: str, attribute: str, values: list[Value]) -> list[Value]:
    """Return words that none of the four has: of the lexicon, or of another life for composed strings."""
    lexicon = network.lexicon_of[life.owners[entity][0], attribute]
    if lexicon is not None:
        return [word for word in network.lexicons[lexicon] if word not in values]
    other = Life(life.profiles, (life.index + 1) % len(life.profiles), life._readers)
    return [v for e in other.entities(entity.partition(":")[0]) if (v := other.value(e, attribute)) not in values]


def _pick(options: Sequence[T], draw: Draw) -> T:
    return options[int(draw() * len(options))]


def _shuffled(values: Sequence[T], draw: Draw) -> list[T]:
    keyed = sorted((draw(), place) for place in range(len(values)))
    return [values[place] for _, place in keyed]
