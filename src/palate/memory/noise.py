"""Messages that do not answer: chatter, other people, other facts, near copies, outdated facts, hearsay.

``chat`` states nothing. ``other_people`` states facts about entities outside the trajectory, ``near_duplicate`` does so
in the very words of a piece of evidence, ``same_entity`` states other facts about the trajectory's own entities.
``stale`` states, before a piece of evidence, what was so before; ``hearsay`` says something and that it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from itertools import product
from typing import Literal, get_args

from palate.config import Config
from palate.errors import ConfigError
from palate.memory.grammar import Grammar, Wording
from palate.memory.network import read_toml
from palate.memory.programs import Apply, Fact, Get, Select
from palate.memory.scenes import ATTRIBUTES, Life, Scene

__all__ = ["NOISE_KINDS", "NoiseKind", "NoiseMaker", "NoiseMix", "chatter", "chatter_size"]

Draw = Callable[[], float]
NoiseKind = Literal["chat", "other_people", "same_entity", "near_duplicate", "stale", "hearsay"]
NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)
_TIMELESS = {kind: tuple(name for name in names if name != "time") for kind, names in ATTRIBUTES.items()}


@cache
def _chatter(language: str) -> tuple[list[str], list[str]]:
    """Return all beginnings and all endings; every pair of them is one text."""
    with resources.as_file(resources.files("palate.memory") / "shipped" / "chatter.toml") as path:
        content = read_toml(path)[language]
    text, parts = content["text"], content["parts"]
    cut = text.index(f"{{{len(parts) - 2}}}")
    beginnings = [text[:cut].format(*words) for words in product(*parts[:-2])]
    endings = [text[cut:].format(*[""] * (len(parts) - 2), *words) for words in product(*parts[-2:])]
    return beginnings, endings


def chatter_size(language: str = "english") -> int:
    """Return how many different chatter texts there are."""
    beginnings, endings = _chatter(language)
    return len(beginnings) * len(endings)


def chatter(number: int, language: str = "english") -> str:
    """Return chatter text ``number`` of :func:`chatter_size`; different numbers give different texts.

    Example:
        >>> chatter(0)
        'Honestly, the bus made me smile, and nobody noticed.'
    """
    beginnings, endings = _chatter(language)
    first, last = divmod(number, len(endings))
    return beginnings[first] + endings[last]


class NoiseMix(Config):
    """Shares of the kinds of noise; they sum to one. The default is chatter, other people and other facts."""

    chat: float = 0.5
    other_people: float = 0.3
    same_entity: float = 0.2
    near_duplicate: float = 0.0
    stale: float = 0.0
    hearsay: float = 0.0

    @classmethod
    def only(cls, kind: NoiseKind) -> NoiseMix:
        """Return noise of one kind."""
        return cls(**{name: float(name == kind) for name in NOISE_KINDS})

    @property
    def shares(self) -> list[float]:
        """The shares in the order of the kinds.

        Raises:
            ConfigError: If one is negative or they do not sum to one.
        """
        shares = [float(getattr(self, kind)) for kind in NOISE_KINDS]
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise ConfigError(f"Shares of noise are {shares}; they must not be negative and must sum to 1.")
        return shares


class NoiseMaker:
    """Makes the noise of one trajectory; no text is made twice.

    Args:
        grammar: How facts are worded.
        life: Whose trajectory it is.
        strangers: Another life, whose values the people outside have.
        scenes: What is told.
        draw: Uniform numbers in [0, 1).
    """

    def __init__(self, grammar: Grammar, life: Life, strangers: Life, scenes: list[Scene], draw: Draw) -> None:
        self.grammar, self.life, self.strangers, self.draw = grammar, life, strangers, draw
        self._kinds = [scene.kind for scene in scenes]
        self._seen: set[str] = set()
        self._beginnings, self._endings = _chatter(grammar.language)
        self._size = len(self._beginnings) * len(self._endings)
        self._donors = {scene.kind: strangers.entities(scene.kind) for scene in scenes}
        told = {place for scene in scenes for place in scene.told}
        self._free = [
            (entity, name)
            for scene in scenes
            for entity in scene.entities
            for name in ATTRIBUTES[scene.kind]
            if name not in scene.used and name != "time" and (entity, name) not in told
        ]
        self._forbidden = {
            (select.attribute, select.value) for scene in scenes if (select := _select(scene)) is not None
        }

    def chat(self) -> str:
        """Return chatter."""
        seen, endings = self._seen, self._endings
        while True:
            first, last = divmod(int(self.draw() * self._size), len(endings))
            text = self._beginnings[first] + endings[last]
            if text not in seen:
                seen.add(text)
                return text

    def other_people(self, attribute: str | None = None, wording: Wording | None = None) -> tuple[str, Fact | None]:
        """Return a fact about an entity outside; of a given attribute and in given words where they are given."""
        draw = self.draw
        for _ in range(4):
            kind = self._kinds[int(draw() * len(self._kinds))]
            names = _TIMELESS[kind]
            name = attribute if attribute in names else names[int(draw() * len(names))]
            donors = self._donors[kind]
            value = self.strangers.value(donors[int(draw() * len(donors))], name)
            fact = Fact(self._outside(kind), name, value)
            text = self._worded(fact, wording if name == attribute else None)
            if text and (name, value) not in self._forbidden:
                return text, fact
        return self.chat(), None

    def same_entity(self) -> tuple[str, Fact | None]:
        """Return another fact about an entity of the trajectory, one that no answer depends on."""
        for _ in range(4):
            if not self._free:
                break
            entity, name = self._free[int(self.draw() * len(self._free))]
            fact = Fact(entity, name, self.life.value(entity, name))
            text = self._worded(fact, None)
            if text and (name, fact.value) not in self._forbidden:
                return text, fact
        return self.chat(), None

    def earlier(self, fact: Fact, template: str) -> tuple[str, Fact | None, bool]:
        """Return a statement about the place of ``fact`` with another value, or chatter, and whether it is the first.

        The template says that the value is outdated, or disowns it.
        """
        donors = self._donors[fact.entity.partition(":")[0]]
        value = self.strangers.value(donors[int(self.draw() * len(donors))], fact.attribute)
        noun = self.grammar.config.attributes[fact.attribute].nouns[0]
        told = Fact(fact.entity, fact.attribute, value)
        text = self.grammar.state(told, Wording(template, noun, 0)) if value != fact.value else ""
        if not text or text in self._seen or (fact.attribute, value) in self._forbidden:
            return self.chat(), None, False
        self._seen.add(text)
        return text, told, True

    def _worded(self, fact: Fact, wording: Wording | None) -> str:
        grammar, draw = self.grammar, self.draw
        text = grammar.tell(fact, draw) if wording is None else grammar.state(fact, wording, draw)
        if text in self._seen:
            return ""
        self._seen.add(text)
        return text

    def _outside(self, kind: str) -> str:
        lexicons = self.life.profiles.network.lexicons
        if kind == "person":
            people = lexicons["outsider"]
            return "person:" + people[int(self.draw() * len(people))]
        words = lexicons["outside_word"]
        word = words[int(self.draw() * len(words))]
        donors = self._donors[kind]
        type_word = donors[int(self.draw() * len(donors))].rpartition(" ")[2]
        return f"{kind}:{word} {type_word}"


def _select(scene: Scene) -> Select | None:
    program = scene.program.of if isinstance(scene.program, Apply) else scene.program
    return program.of if isinstance(program, Get) and isinstance(program.of, Select) else None
