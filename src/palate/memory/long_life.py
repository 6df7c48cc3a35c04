"""One long life: a user who talks for years, whose facts change, and who asks in between.

Unlike a trajectory it has many questions. A fact that is told again with another value replaces the old one from then
on, so every key is the answer as of the message before its question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, get_args

from pydantic import Field

from palate.config import Config
from palate.errors import ConfigError
from palate.memory.clock import iso
from palate.memory.contract import Message
from palate.memory.grammar import Language, load_grammar
from palate.memory.network import Network, default_network
from palate.memory.noise import chatter, chatter_size
from palate.memory.programs import NOT_MENTIONED, Answer, Fact, First, Get, Known, Program, Select
from palate.memory.scenes import ATTRIBUTES, Life
from palate.memory.soundness import is_sound
from palate.memory.trajectory import Question

__all__ = ["LONG_KINDS", "LongKind", "LongLife", "LongLifeConfig"]

LongKind = Literal["simple", "conditional", "knowledge_update", "temporal_order", "abstention", "multi_hop"]
LONG_KINDS: tuple[LongKind, ...] = get_args(LongKind)
Place = tuple[str, str]
Value = str | int
_ATTEMPTS = 60
_LIVES = 64  # lives whose values are borrowed when a fact changes and for people outside
# As many as the word lists allow.
_CROWD = {
    "relative": 8,
    "colleague": 3,
    "friend": 8,
    "work_event": 4,
    "leisure_event": 4,
    "item": 6,
    "place": 6,
}
# What changes in a life; a birthday or a height stays.
_CHANGES = "workplace education occupation position employer hobby phone email topic venue scale duration price comment"
_CHANGEABLE = frozenset(_CHANGES.split())
_CITIES = (("person", "hometown"), ("person", "workplace"))


class LongLifeConfig(Config):
    """Settings of a long life.

    Attributes:
        seed: Seed of everything.
        messages: How many messages.
        questions: How many questions, evenly between the messages; the last comes after all of them.
        facts: Share of messages that state a fact about the user's people and things.
        outside: Share of messages that state a fact about somebody or something outside; the rest is chatter.
        changes: Share of the facts that are told again with another value, once there is something to change.
        pace: Minutes from one message to the next, on average.
        kinds: Kinds of questions, in turn.
        language: ``english`` or ``chinese``.
        user: Whose messages they are.
    """

    seed: int = Field(0, ge=0)
    messages: int = Field(100_000, ge=1)
    questions: int = Field(300, ge=1)
    facts: float = Field(0.1, gt=0, le=1)
    outside: float = Field(0.3, ge=0, le=1)
    changes: float = Field(0.3, ge=0, le=1)
    pace: int = Field(30, ge=1)
    kinds: tuple[LongKind, ...] = Field(LONG_KINDS, min_length=1)
    language: Language = "english"
    user: str = "ann"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question in the making: program, evidence, and three or more wrong answers."""

    program: Program
    evidence: tuple[Place, ...]
    wrong: list[Answer]
    now: bool = False


class LongLife:
    """Messages and questions of one user, in order.

    Memory does not grow with the number of messages: what is kept is the latest value of every fact.

    Args:
        config: Settings.
        network: Whose life; by default the shipped one with as many people and things as its word lists allow.

    Example:
        >>> life = LongLife(LongLifeConfig(messages=400, questions=3, facts=0.5))
        >>> sum(isinstance(entry, Message) for entry in life)
        400
    """

    def __init__(self, config: LongLifeConfig | None = None, network: Network | None = None) -> None:
        self.config = LongLifeConfig() if config is None else config
        if self.config.facts + self.config.outside > 1:
            raise ConfigError(f"facts = {self.config.facts} and outside = {self.config.outside} are more than 1.")
        self.network = default_network().with_counts(**_CROWD) if network is None else network
        self.grammar = load_grammar(self.config.language, network)
        self.skipped = 0
        """Questions that the last run left out because nothing sound could be asked at their time."""

    def __iter__(self) -> Iterator[Message | Question]:
        """Yield messages and questions in the order of their times."""
        return iter(_Telling(self))


class _Telling:
    """The state of one run."""

    def __init__(self, life: LongLife) -> None:
        self.owner, self.config, self.grammar = life, life.config, life.grammar
        self.draw = Random(self.config.seed).random
        profiles = life.network.sample(_LIVES, [self.config.seed, 0])
        readers: dict[tuple[str, str], Callable[[int, int], Value]] = {}
        self.lives = [Life(profiles, index, readers) for index in range(_LIVES)]
        self.places = _places(self.lives[0])
        self.truth: dict[Place, Value] = {place: self.lives[0].value(*place) for place in self.places}
        self.stated: dict[Place, Value] = {}
        self.before: dict[Place, Value] = {}  # the value that counted before the last change
        self.message: dict[Place, int] = {}  # which message states the value that counts
        self.first: dict[Place, Value] = {}  # which message was the first on it
        self.mine: list[Place] = []  # stated facts of the life itself
        self.changing: list[Place] = []  # those of them that may change

    def __iter__(self) -> Iterator[Message | Question]:
        config, minutes, asked = self.config, 480, 0
        size = chatter_size(config.language)
        step = _coprime(int(self.draw() * size), size)
        for number in range(config.messages):
            minutes += 1 + int(self.draw() * 2 * config.pace)
            yield Message(str(number), self._say(number, number * step % size), iso(minutes), "", config.user)
            while (number + 1) * config.questions >= (asked + 1) * config.messages:
                minutes += 1
                question = self._ask(asked, iso(minutes))
                asked += 1
                if question is not None:
                    yield question

    def _say(self, number: int, chat: int) -> str:
        dial = self.draw()
        if dial < self.config.facts:
            fact = self._own()
            if fact[:2] not in self.stated:
                self.mine.append(fact[:2])
                self.changing += [fact[:2]] if fact.attribute in _CHANGEABLE else []
        elif dial < self.config.facts + self.config.outside:
            fact = self._outside()
        else:
            return chatter(chat, self.config.language)
        place = fact[:2]
        if self.stated.get(place, fact.value) != fact.value:
            self.before[place] = self.stated[place]
        if place not in self.stated or place in self.before:
            self.message[place] = number
        self.first.setdefault(place, number)
        self.stated[place] = fact.value
        return self.grammar.tell(fact, self.draw)

    def _own(self) -> Fact:
        """Return a new fact, or a change of one that was told."""
        if self.changing and (self.draw() < self.config.changes or len(self.mine) == len(self.places)):
            place = _pick(self.changing, self.draw)
            kind, value = place[0].partition(":")[0], self.truth[place]
            for _ in range(_ATTEMPTS):
                donor = self.lives[1 + int(self.draw() * (_LIVES - 1))]
                others = donor.entities(kind)
                value = donor.value(others[int(self.draw() * len(others))], place[1])
                if value != self.truth[place]:
                    break
            self.truth[place] = value
            return Fact(place[0], place[1], value)
        # Places are told in a random order that needs no memory of what is left: draw until one is new.
        while True:
            place = self.places[int(self.draw() * len(self.places))]
            if place not in self.stated:
                return Fact(place[0], place[1], self.truth[place])

    def _outside(self) -> Fact:
        lexicons = self.owner.network.lexicons
        donor = self.lives[1 + int(self.draw() * (_LIVES - 1))]
        kind = ("person", "person", "event", "item", "place")[int(self.draw() * 5)]
        others = donor.entities(kind)
        model = others[int(self.draw() * len(others))]
        if kind == "person":
            entity = "person:" + _pick(lexicons["outsider"], self.draw)
        else:
            entity = f"{kind}:{_pick(lexicons['outside_word'], self.draw)} {model.rpartition(' ')[2]}"
        name = _pick([name for name in ATTRIBUTES[kind] if name != "time"], self.draw)
        return Fact(entity, name, donor.value(model, name))

    def _ask(self, number: int, time: str) -> Question | None:
        kinds = self.config.kinds
        for shift in range(len(kinds)):
            kind = kinds[(number + shift) % len(kinds)]
            for _ in range(_ATTEMPTS):
                asked = self._draw_question(kind)
                made = None if asked is None else self._worded(kind, asked, time)
                if made is not None:
                    return made
        self.owner.skipped += 1
        return None

    def _worded(self, kind: LongKind, asked: _Asked, time: str) -> Question | None:
        facts: dict[Place, Any] = self.first if isinstance(asked.program, First) else self.stated
        if asked.evidence:
            truth = facts if isinstance(asked.program, First | Known) else {**self.stated, **self.truth}
            answer = is_sound(asked.program, facts, asked.evidence, truth, self._earlier(asked))
        else:
            answer = asked.program.solve(facts)
        wrong = list(dict.fromkeys(value for value in asked.wrong if value != answer))
        if answer is None or len(wrong) < 3:
            return None
        options = [answer, *wrong[:3]]
        order = [place for _, place in sorted((self.draw(), place) for place in range(4))]
        words = tuple(self.grammar.answer(asked.program, options[place]) for place in order)
        if len({word.lower() for word in words}) < 4:
            return None
        told = self.first if isinstance(asked.program, First) else self.message
        evidence = tuple(str(number) for number in sorted({int(told[place]) for place in asked.evidence}))
        if asked.now:
            assert isinstance(asked.program, Get)
            text = self.grammar.ask_now(asked.program, self.draw)
        else:
            text = self.grammar.ask(asked.program, self.draw)
        return Question(kind, text, words, order.index(0), evidence, time, asked.program)

    def _earlier(self, asked: _Asked) -> dict[Place, Value]:
        """Return what would count again if a piece of evidence were missing; nothing for the order of messages."""
        return {} if isinstance(asked.program, First) else self.before

    def _draw_question(self, kind: LongKind) -> _Asked | None:
        if len(self.mine) < 8:
            return None
        place = _pick(self.mine, self.draw)
        program = Get(*place)
        if kind == "simple":
            return _Asked(program, (place,), self._others(place), now=place in self.before)
        if kind == "knowledge_update":
            changed = [known for known in self.changing if known in self.before]
            if not changed:
                return None
            place = _pick(changed, self.draw)
            wrong = [self.before[place], *self._others(place)]
            return _Asked(Get(*place), (place,), wrong, now=True)
        if kind == "temporal_order":
            once = [known for known in self.mine if known not in self.before]
            four = tuple(_shuffled(once, self.draw)[:4])
            return _Asked(First(four), four, list(four))
        if kind == "abstention":
            return self._abstention()
        if kind == "multi_hop":
            return self._multi_hop()
        condition = _pick(self.mine, self.draw)
        if condition[0] != place[0] or condition == place:
            same = [known for known in self.mine if known[0] == place[0] and known != place]
            if not same:
                return None
            condition = _pick(same, self.draw)
        select = Select(place[0].partition(":")[0], condition[1], self.stated[condition])
        return _Asked(Get(select, place[1]), (condition, place), self._others(place))

    def _abstention(self) -> _Asked | None:
        """Ask for what may never have been told; the reply "not mentioned" is right in one of four such questions."""
        if self.draw() < 0.25:
            unsaid = [place for place in self.places if place not in self.stated]
            if not unsaid:
                return None
            place = _pick(unsaid, self.draw)
            return _Asked(Known(Get(*place)), (), self._others(place))
        place = _pick(self.mine, self.draw)
        return _Asked(Known(Get(*place)), (place,), [NOT_MENTIONED, *self._others(place)])

    def _multi_hop(self) -> _Asked | None:
        """Ask about the person whose city is the venue of an event."""
        venues = [place for place in self.mine if place[1] == "venue"]
        if not venues:
            return None
        venue = _pick(venues, self.draw)
        kind, city = _pick(_CITIES, self.draw)
        there = [p for p in self.mine if p[1] == city and self.stated[p] == self.stated[venue]]
        if len(there) != 1:
            return None
        asked = [p for p in self.mine if p[0] == there[0][0] and p[1] not in (city, "name")]
        if not asked:
            return None
        place = _pick(asked, self.draw)
        select = Select(kind, city, Get(*venue))
        return _Asked(Get(select, place[1]), (venue, there[0], place), self._others(place))

    def _others(self, place: Place) -> list[Value]:
        """Return values that other entities of the kind have been said to have, in random order, then unsaid ones."""
        entity, attribute = place
        kind = entity.partition(":")[0] + ":"
        said = [v for (e, a), v in self.stated.items() if a == attribute and e != entity and e.startswith(kind)]
        truth = [v for (e, a), v in self.truth.items() if a == attribute and e != entity and e.startswith(kind)]
        return [*_shuffled(said, self.draw), *_shuffled(truth, self.draw)]


def _places(life: Life) -> list[Place]:
    return [
        (entity, name)
        for kind, names in ATTRIBUTES.items()
        for entity in life.entities(kind)
        for name in names
        if name != "time"
    ]


def _coprime(start: int, size: int) -> int:
    """Return a number near ``start`` that shares no factor with ``size``: its multiples meet every number once."""
    return next(number for number in range(start + 1, start + size) if math.gcd(number, size) == 1)


def _pick(options: Sequence[Any], draw: Callable[[], float]) -> Any:
    return options[int(draw() * len(options))]


def _shuffled(values: Sequence[Any], draw: Callable[[], float]) -> list[Any]:
    keyed = sorted((draw(), place) for place in range(len(values)))
    return [values[place] for _, place in keyed]
