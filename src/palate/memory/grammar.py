"""Wording of facts and questions in one language, and its inverse.

``parse(realise(fact)) == fact`` for every template and value: the inverse is for checks of the simulator only. No
memory and no reader may use this module; they have patterns of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

from palate.config import Config
from palate.errors import ConfigError
from palate.memory.network import Network, default_network, read_toml
from palate.memory.programs import (
    NOT_MENTIONED,
    Answer,
    Apply,
    Compare,
    Count,
    Fact,
    First,
    Get,
    Known,
    Pair,
    Program,
    Select,
)
from palate.memory.values import display, read_value

__all__ = ["Grammar", "GrammarConfig", "Language", "Wording", "load_grammar"]

Language = Literal["english", "chinese"]
Draw = Callable[[], float]
Value = str | int


# Text before, whether the mention comes first, text between, whether the value takes an article, text behind.
_Frame = tuple[str, bool, str, bool, str]
_MOST_SHOWN = 50_000  # values whose written form is kept


class AttributeWords(Config):
    """How one attribute is worded: nouns, sentences of its own, and the word for "more" where it is ordered."""

    nouns: tuple[str, ...]
    say: tuple[str, ...] = ()
    more: str = ""


class GrammarConfig(Config):
    """The file form of a grammar."""

    statement: tuple[str, ...]
    prefix: tuple[str, ...]
    suffix: tuple[str, ...]
    stale: str
    hearsay: str
    user_mention: str
    thing_mention: str
    reference: tuple[str, ...]
    ask: tuple[str, ...]
    compare: tuple[str, ...]
    count_above: tuple[str, ...]
    count_among: tuple[str, ...]
    chatter: tuple[str, ...]
    also: tuple[str, ...]
    now: tuple[str, ...]
    first: tuple[str, ...]
    aspect: str
    hop: tuple[str, ...]
    unknown: str
    list_and: tuple[str, str]
    by: str
    compose: dict[str, str]
    kinds: dict[str, str]
    derived: dict[str, str]
    seasons: dict[str, tuple[str, ...]]
    units: dict[str, tuple[str, ...]]
    differences: dict[str, str]
    attributes: dict[str, AttributeWords]


class Wording(NamedTuple):
    """What was chosen for a message, so that another can be worded alike."""

    template: str
    noun: str
    form: int


class Grammar:
    """Templates and words of one language.

    Args:
        config: The templates.
        network: Its word lists give the values' forms.
        language: Which form of a word is used.

    Example:
        >>> grammar = load_grammar("english")
        >>> grammar.parse("Oh, my boss is 172 cm tall.", said="2024-04-01T08:00")
        Fact(entity='person:boss', attribute='height', value=172)
    """

    def __init__(self, config: GrammarConfig, network: Network, language: Language) -> None:
        self.config, self.language = config, language
        place = 0 if language == "english" else 1
        entries = network.config.lexicons
        self.words = {entry[0]: entry[place] for lexicon in entries.values() for entry in lexicon}
        self._kinds = {word: kind for kind, word in self._things(network)}
        self.templates: dict[str, list[str]] = {
            name: [*config.statement, *words.say] for name, words in config.attributes.items()
        }
        self._english = language == "english"
        # Attributes whose values are written in one of several ways; those of the others stand as they are.
        self._written = {"birthday", "time", *config.units}
        self._starts, self._ends = len(config.prefix), len(config.suffix)
        self._frames: dict[tuple[str, str], list[_Frame]] = {}
        self._sentences: dict[str, tuple[int, int, list[list[_Frame]]]] = {}
        self._shown: dict[tuple[str, Value, int], str] = {}
        self._texts: dict[Value, str] = {}
        self._mentions: dict[str, str] = {}
        self._entities: dict[str, str] = {}
        self._patterns: dict[str, list[re.Pattern[str]]] = {}
        self._network = network

    @staticmethod
    def _things(network: Network) -> list[tuple[str, str]]:
        pairs: list[tuple[str, str]] = []
        for (owner, name), lexicon in network.lexicon_of.items():
            if name == "type" and lexicon is not None:
                pairs += [(network.kinds[owner], word) for word in network.lexicons[lexicon]]
        return pairs

    def mention(self, entity: str) -> str:
        """Return how the user mentions an entity."""
        known = self._mentions.get(entity)
        if known is None:
            kind, _, name = entity.partition(":")
            pattern = self.config.user_mention if kind == "person" else self.config.thing_mention
            known = self._mentions[entity] = pattern.format(self.text_of(name))
        return known

    def text_of(self, value: str) -> str:
        """Return the form of an English word, or of a name that is composed of two, in this language."""
        if self.language == "english":
            return value
        known = self._texts.get(value)
        if known is None:
            known = self.words.get(value)
            if known is None:
                first, space, last = value.partition(" ")
                if space and first in self.words and last in self.words:
                    compose = self.config.compose["thing" if last in self._kinds else "name"]
                    known = compose.format(self.words[first], self.words[last])
            self._texts[value] = known = known or value
        return known

    def shown(self, attribute: str, value: Value, form: int = 0, *, code: int | None = None) -> str:
        """Return a value as it is written in a message (``form`` varies) or an option (form 0, times absolute)."""
        if code is not None:
            return display(self, attribute, value, form, code=code)
        known = self._shown.get((attribute, value, form))
        if known is None:
            known = display(self, attribute, value, form)
            if len(self._shown) < _MOST_SHOWN:
                self._shown[attribute, value, form] = known
        return known

    def choose(self, attribute: str, draw: Draw) -> Wording:
        """Choose template, noun and value form."""
        templates, nouns = self.templates[attribute], self.config.attributes[attribute].nouns
        return Wording(
            templates[int(draw() * len(templates))], nouns[int(draw() * len(nouns))], 1 if draw() < 0.5 else 0
        )

    def state(self, fact: Fact, wording: Wording, draw: Draw | None = None, *, code: int | None = None) -> str:
        """Word a fact; with ``draw``, in front and behind stands what people say without saying anything."""
        template, noun, form = wording
        frames = self._frames.get((template, noun)) or self._frames_of(template, noun)
        place = -1 if draw is None else int(draw() * self._starts) * self._ends + int(draw() * self._ends)
        if code is None:
            return self._filled(frames[place], fact, form)
        return self._filled(frames[place], fact, form, self.shown(fact.attribute, fact.value, form, code=code))

    def tell(self, fact: Fact, draw: Draw) -> str:
        """Word a fact in any wording: the same as :meth:`state` of :meth:`choose`, and quicker."""
        count, nouns, sentences = self._sentences.get(fact[1]) or self._sentences_of(fact[1])
        frames = sentences[int(draw() * count) * nouns + int(draw() * nouns)]
        form = 1 if draw() < 0.5 else 0
        return self._filled(frames[int(draw() * self._starts) * self._ends + int(draw() * self._ends)], fact, form)

    def _filled(self, frame: _Frame, fact: Fact, form: int, value: str = "") -> str:
        before, mention_first, between, article, after = frame
        entity, attribute, told = fact
        mention = self._mentions.get(entity) or self.mention(entity)
        if not value:
            if self._english and attribute not in self._written:
                value = str(told)
            else:
                value = self._shown.get((attribute, told, form)) or self.shown(attribute, told, form)
        if article:
            value = _with_article(value)
        if mention_first:
            first, second = mention, value
        else:
            first, second = value, mention
        if before:
            return f"{before}{first}{between}{second}{after}"
        return f"{first[0].upper()}{first[1:]}{between}{second}{after}"

    def _sentences_of(self, attribute: str) -> tuple[int, int, list[list[_Frame]]]:
        templates, nouns = self.templates[attribute], self.config.attributes[attribute].nouns
        frames = [self._frames_of(template, noun) for template in templates for noun in nouns]
        self._sentences[attribute] = len(templates), len(nouns), frames
        return self._sentences[attribute]

    def _frames_of(self, template: str, noun: str) -> list[_Frame]:
        """Return a sentence with its noun, cut where mention and value stand, for every beginning and ending.

        The last frame is the sentence alone.
        """
        pieces = re.split(r"\{(m|v|an)\}", template.replace("{a}", noun))
        if len(pieces) != 5 or (pieces[1] == "m") == (pieces[3] == "m"):
            raise ConfigError(f'The template "{template}" must hold {{m}} once and one of {{v}} and {{an}} once.')
        around = [(start, end) for start in self.config.prefix for end in self.config.suffix]
        frames = [
            (_capital(start + pieces[0]), pieces[1] == "m", pieces[2], "an" in (pieces[1], pieces[3]), pieces[4] + end)
            for start, end in [*around, ("", "")]
        ]
        self._frames[template, noun] = frames
        return frames

    def ask(self, program: Program, draw: Draw) -> str:
        """Word a question program."""
        config = self.config
        if isinstance(program, Pair):
            first, second = self.ask(program.first, draw), self.ask(program.second, draw)
            return _pick(config.also, draw).format(p=first, q=second)
        if isinstance(program, Compare):
            words = config.attributes[program.attribute]
            x, y = self.mention(program.first), self.mention(program.second)
            noun = _pick(words.nouns, draw)
            return _capital(_pick(config.compare, draw).format(x=x, y=y, a=noun, more=words.more))
        if isinstance(program, Count):
            return self._ask_count(program, draw)
        if isinstance(program, First):
            group = self._join([self.aspect(*place) for place in program.places])
            return _capital(_pick(config.first, draw).format(g=group))
        inner = program.of if isinstance(program, Apply | Known) else program
        noun = _pick(config.attributes[inner.attribute].nouns, draw)
        if isinstance(program, Apply):
            noun = config.derived[program.function].format(a=noun, n=program.number)
        return _capital(_pick(config.ask, draw).format(a=noun, r=self._reference(inner.of, draw)))

    def _reference(self, of: str | Select, draw: Draw) -> str:
        if isinstance(of, str):
            return self.mention(of)
        noun = _pick(self.config.attributes[of.attribute].nouns, draw)
        if isinstance(of.value, Get):
            assert isinstance(of.value.of, str)
            templates, value = self.config.hop, self.aspect(of.value.of, of.value.attribute)
        else:
            templates, value = self.config.reference, self.shown(of.attribute, of.value)
        return _pick(templates, draw).format(kind=self.config.kinds[of.kind], a=noun, v=value)

    def aspect(self, entity: str, attribute: str) -> str:
        """Return how an attribute of an entity is spoken of without its value."""
        return self.config.aspect.format(m=self.mention(entity), a=self.config.attributes[attribute].nouns[0])

    def ask_now(self, program: Get, draw: Draw) -> str:
        """Word a question for the value that counts today."""
        noun = _pick(self.config.attributes[program.attribute].nouns, draw)
        return _capital(_pick(self.config.now, draw).format(a=noun, r=self._reference(program.of, draw)))

    def _ask_count(self, program: Count, draw: Draw) -> str:
        noun = _pick(self.config.attributes[program.attribute].nouns, draw)
        group = self._join([self.mention(entity) for entity in program.entities])
        if program.above is not None:
            value = self.shown(program.attribute, program.above)
            return _capital(
                _pick(self.config.count_above, draw).format(g=group, a=noun, an=_with_article(noun), v=value)
            )
        values = self._join([self.shown(program.attribute, value) for value in program.among])
        return _capital(_pick(self.config.count_among, draw).format(g=group, a=noun, an=_with_article(noun), v=values))

    def answer(self, program: Program, answer: Answer) -> str:
        """Word an answer of a program."""
        if isinstance(program, Pair):
            return f"{self.answer(program.first, answer[0])}; {self.answer(program.second, answer[1])}"
        if isinstance(program, Compare):
            gap = self.config.differences[program.attribute].format(answer[1])
            if answer[1] == 1 and gap.endswith("s"):
                gap = gap[:-1]
            return self.config.by.format(x=self.mention(answer[0]), d=gap)
        if isinstance(program, First):
            return self.aspect(*answer)
        if isinstance(program, Known):
            return self.config.unknown if answer == NOT_MENTIONED else self.shown(program.of.attribute, answer)
        if isinstance(program, Get):
            return self.shown(program.attribute, answer)
        if isinstance(program, Apply) and program.function == "season":
            return self.config.seasons["values"][answer]
        if isinstance(program, Apply) and program.function == "weekday":
            return _WEEKDAYS[self.language][answer]
        return str(answer)

    def parse(self, text: str, *, said: str = "") -> Fact | None:
        """Return the fact that a message of this grammar states, or ``None`` for anything else."""
        for attribute in self.templates:
            for pattern in self._compiled(attribute):
                found = pattern.fullmatch(text)
                if found is None:
                    continue
                value = read_value(self, attribute, found["v"], said)
                entity = self._entity(found["m"])
                if value is not None and entity is not None:
                    return Fact(entity, attribute, value)
        return None

    def _compiled(self, attribute: str) -> list[re.Pattern[str]]:
        if attribute not in self._patterns:
            config = self.config
            before = "|".join(re.escape(_capital(p)) for p in sorted(set(config.prefix), key=len, reverse=True))
            after = "|".join(re.escape(s) for s in sorted(set(config.suffix), key=len, reverse=True))
            noun = "|".join(re.escape(word) for word in config.attributes[attribute].nouns)
            slots = {"m": "(?P<m>.+?)", "a": f"(?:{noun})", "v": "(?P<v>.+?)", "an": "an? (?P<v>.+?)"}
            found = []
            for template in self.templates[attribute]:
                pieces = re.split(r"\{(m|a|v|an)\}", template)
                body = "".join(slots[p] if i % 2 else re.escape(p) for i, p in enumerate(pieces))
                found.append(re.compile(f"(?:{before}){body}(?:{after})", re.IGNORECASE))
            self._patterns[attribute] = found
        return self._patterns[attribute]

    def _entity(self, mention: str) -> str | None:
        if not self._entities:
            names = [f"person:{word}" for word in self._people()]
            words = self._network.lexicons["word"]
            names += [f"{kind}:{word} {type}" for word in words for type, kind in self._kinds.items()]
            self._entities = {self.mention(name).lower(): name for name in names}
        return self._entities.get(mention.lower())

    def _people(self) -> list[str]:
        network = self._network
        owners = [(owner, "relation") for owner, kind in network.kinds.items() if kind == "person"]
        return [word for node in owners for word in network.lexicons[network.lexicon_of[node] or ""]]

    def _join(self, parts: list[str]) -> str:
        comma, last = self.config.list_and
        return comma.join(parts[:-1]) + last + parts[-1]


_WEEKDAYS = {
    "english": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "chinese": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
}


def _pick(options: tuple[str, ...], draw: Draw) -> str:
    return options[int(draw() * len(options))]


def _with_article(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@cache
def load_grammar(language: Language = "english", network: Network | None = None) -> Grammar:
    """Return the grammar of a language over the words of ``network`` (the default one when none is given)."""
    with resources.as_file(resources.files("palate.memory") / "shipped" / f"{language}.toml") as path:
        content: dict[str, Any] = read_toml(path)
    return Grammar(GrammarConfig(**content), network or default_network(), language)
