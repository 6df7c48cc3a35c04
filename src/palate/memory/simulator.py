"""The simulator: lives -> facts -> messages, question, options and evidence, with every key right by construction.

Messages and question are worded from the same facts and never from one another. Trajectory ``i`` depends on the seed
and ``i`` alone, so any shard can be made by any worker, and the first trajectories do not depend on how many follow.

Source:
    MemSim, Zhang et al., arXiv 2409.20163.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import repeat, starmap
from random import Random
from typing import NamedTuple

from pydantic import Field

from palate.config import Config
from palate.errors import ConfigError
from palate.memory.clock import iso, isos, message_times, resolve
from palate.memory.contract import Message
from palate.memory.grammar import Grammar, Language, Wording, load_grammar
from palate.memory.network import Network, default_network
from palate.memory.noise import NOISE_KINDS, NoiseKind, NoiseMaker, NoiseMix
from palate.memory.programs import Answer, Apply, Fact, Facts, Get, Pair
from palate.memory.scenes import Draw, Life, Scene, draw_scene
from palate.memory.soundness import is_sound, table
from palate.memory.trajectory import QUESTION_TYPES, SCENARIOS, Question, QuestionType, Scenario, Trajectory

__all__ = ["BLOCK", "Simulator", "SimulatorConfig"]

BLOCK = 256  # lives are drawn so many at a time
_ATTEMPTS = 400
_PAIRS = (("person", "event"), ("person", "item"), ("person", "place"), ("event", "item"), ("event", "place"))


class SimulatorConfig(Config):
    """Settings of the simulator.

    Attributes:
        seed: Seed of everything.
        types: Question types, in turn.
        scenarios: Kinds of entities, in turn; ``hybrid`` asks about two kinds at once.
        noise: Noise messages per real message, ``r``: a trajectory of ``n`` messages becomes ``(1 + r) n`` long.
        mix: Which noise.
        language: ``english`` or ``chinese``.
    """

    seed: int = Field(0, ge=0)
    types: tuple[QuestionType, ...] = Field(QUESTION_TYPES, min_length=1)
    scenarios: tuple[Scenario, ...] = Field(SCENARIOS, min_length=1)
    noise: int = Field(0, ge=0)
    mix: NoiseMix = NoiseMix()
    language: Language = "english"


class _Told(NamedTuple):
    """A real message in the making."""

    text: str
    fact: Fact
    wording: Wording


class _Log(NamedTuple):
    """All messages in the making, side by side: texts, what they state, and which noise they are."""

    texts: list[str]
    facts: list[Fact | None]
    noise: list[str | None]


class Simulator:
    """Makes trajectories.

    Args:
        config: Settings.
        network: Whose lives are told; the shipped one by default.

    Example:
        >>> first = Simulator(SimulatorConfig(seed=3)).trajectory(0)
        >>> first.question.options[first.question.key] == first.question.answer
        True
    """

    def __init__(self, config: SimulatorConfig | None = None, network: Network | None = None) -> None:
        self.config = SimulatorConfig() if config is None else config
        self.network = default_network() if network is None else network
        self.grammar: Grammar = load_grammar(self.config.language, network)
        shares = self.config.mix.shares
        # Ends of the kinds on [0, 1); the last is left out, so that rounding never points behind it.
        self._ends = [sum(shares[: place + 1]) for place in range(len(shares) - 1)]
        self._block = -1
        self._known: dict[int, Life] = {}

    def trajectory(self, number: int) -> Trajectory:
        """Return trajectory ``number``."""
        draw = Random((self.config.seed << 40) + number).random
        combinations = [(t, s) for t in self.config.types for s in self.config.scenarios]
        type, scenario = combinations[number % len(combinations)]
        life, stranger = self._lives(number, 0)
        for attempt in range(_ATTEMPTS):
            if attempt and attempt % 20 == 0:
                # A life in which two places are equally far allows no question about distances: go on to another.
                life, stranger = self._lives(number, attempt // 20)
            made = self._attempt(str(number), life, stranger, type, scenario, draw)
            if made is not None:
                return made
        raise ConfigError(
            f'No sound question of type "{type}" about "{scenario}" was found in {_ATTEMPTS} draws of life {number}.',
            remedy="Give the network more entities of that kind, or more values per attribute.",
        )

    def trajectories(self, count: int, start: int = 0) -> Iterator[Trajectory]:
        """Yield trajectories ``start .. start + count - 1``, one at a time."""
        for number in range(start, start + count):
            yield self.trajectory(number)

    def _lives(self, number: int, further: int) -> tuple[Life, Life]:
        block, index = divmod(number, BLOCK)
        index = (index + 2 * further) % BLOCK
        if block != self._block:
            self._profiles = self.network.sample(BLOCK, [self.config.seed, block])
            self._block, self._known = block, {}
            self._readers: dict[tuple[str, str], Callable[[int, int], str | int]] = {}
        return self._life(index), self._life((index + 1) % BLOCK)

    def _life(self, index: int) -> Life:
        """Return a life of the block; a stranger of one trajectory is the life of another."""
        life = self._known.get(index)
        if life is None:
            life = self._known[index] = Life(self._profiles, index, self._readers)
        return life

    def _attempt(
        self, name: str, life: Life, stranger: Life, type: QuestionType, scenario: Scenario, draw: Draw
    ) -> Trajectory | None:
        kinds = (scenario,) if scenario != "hybrid" else _PAIRS[_hybrid(draw())]
        scenes = [draw_scene(life, kind, type, draw) for kind in kinds]
        if any(scene is None for scene in scenes):
            return None
        whole = [scene for scene in scenes if scene is not None]
        real, times, worded = self._lay_out(life, whole, draw)
        # Most draws fail on the facts alone: find out before any noise is made.
        options = _options(whole, life, table(entry.fact for entry in worded.values()))
        if options is None:
            return None
        if not self.config.noise:
            told = _in_order(worded)
        else:
            told = self._mix(life, stranger, whole, real, worded, draw)
            pairs = zip(told.facts, told.noise, strict=True)
            outdated = table(fact for fact, kind in pairs if fact is not None and kind == "stale")
            options = _options(whole, life, table(fact for fact in told.facts if fact is not None), outdated)
            if options is None:
                return None
        order = sorted((draw(), place) for place in range(4))
        key = next(at for at, (_, place) in enumerate(order) if options[place][1])
        program = whole[0].program if len(whole) == 1 else Pair(whole[0].program, whole[1].program)  # type: ignore[arg-type]
        words = tuple(self.grammar.answer(program, options[place][0]) for _, place in order)
        if len({_folded(word) for word in words}) < 4:
            return None
        text = self.grammar.ask(program, draw)
        if type == "noisy":
            chatter = self.grammar.config.chatter
            text = chatter[int(draw() * len(chatter))].format(q=text)
        evidence = tuple(str(at) for scene in whole for at in sorted(real[p] for p in scene.told[: scene.evidence]))
        place, count = life.workplace(), len(told.texts)
        rows = zip(_ids(count), told.texts, isos(times[:count]), repeat(place), repeat(name))
        messages = tuple(starmap(Message, rows))
        question = Question(type, text, words, key, evidence, iso(times[-1] + 60 + int(draw() * 240)), program)
        return Trajectory(name, scenario, messages, question, tuple(told.noise), tuple(told.facts))

    def _lay_out(
        self, life: Life, scenes: list[Scene], draw: Draw
    ) -> tuple[dict[tuple[str, str], int], list[int], dict[int, _Told]]:
        """Word the facts in random order; return where each stands, all times, and the messages by place."""
        places = [place for scene in scenes for place in scene.told]
        order = sorted((draw(), place) for place in range(len(places)))
        total = len(places) * (1 + self.config.noise)
        spots = _spots(len(places), total, draw)
        times = message_times(total + 1, draw)
        real = {places[place]: spot for (_, place), spot in zip(order, spots, strict=True)}
        worded = {spot: self._state(life, place, iso(times[spot]), draw) for place, spot in real.items()}
        return real, times, worded

    def _mix(
        self,
        life: Life,
        stranger: Life,
        scenes: list[Scene],
        real: dict[tuple[str, str], int],
        worded: dict[int, _Told],
        draw: Draw,
    ) -> _Log:
        """Fill the places between the real messages with noise."""
        upcoming = sorted(real[place] for scene in scenes for place in scene.told[: scene.evidence])
        evidence = [(spot, worded[spot]) for spot in upcoming]
        maker = NoiseMaker(self.grammar, life, stranger, scenes, draw)
        log, ends, chat = _Log([], [], []), self._ends, maker.chat
        add_text, add_fact, add_noise = log.texts.append, log.facts.append, log.noise.append
        for spot in range(len(worded) * (1 + self.config.noise)):
            noise: NoiseKind | None = None
            fact: Fact | None = None
            if spot in worded:
                text, fact, _ = worded[spot]
            elif (kind := NOISE_KINDS[bisect(ends, draw())]) == "chat":
                text, noise = chat(), kind
            else:
                text, fact, noise = self._noise(kind, maker, evidence, spot, draw)
            add_text(text)
            add_fact(fact)
            add_noise(noise)
        return log

    def _state(self, life: Life, place: tuple[str, str], said: str, draw: Draw) -> _Told:
        entity, attribute = place
        value, code = life.value(entity, attribute), None
        if attribute == "time":
            code = int(value)
            value = resolve(code, said)
        fact, wording = Fact(entity, attribute, value), self.grammar.choose(attribute, draw)
        return _Told(self.grammar.state(fact, wording, draw, code=code), fact, wording)

    def _noise(
        self, kind: NoiseKind, maker: NoiseMaker, evidence: list[tuple[int, _Told]], spot: int, draw: Draw
    ) -> tuple[str, Fact | None, NoiseKind]:
        """Return text, fact and kind of the noise at ``spot``; where a kind finds nothing to say, chatter stands."""
        if kind == "other_people":
            text, fact = maker.other_people()
        elif kind == "same_entity":
            text, fact = maker.same_entity()
        elif kind == "near_duplicate":
            _, model = evidence[int(draw() * len(evidence))]
            text, fact = maker.other_people(model.fact.attribute, model.wording)
        else:
            # What corrects a statement comes after it.
            told = [entry for at, entry in evidence if at > spot and entry.fact.attribute != "time"]
            if not told:
                return maker.chat(), None, "chat"
            model, config = told[int(draw() * len(told))], self.grammar.config
            template = config.stale if kind == "stale" else config.hearsay
            text, fact, made = maker.earlier(model.fact, template)
            return text, fact if kind == "stale" else None, kind if made else "chat"
        return text, fact, "chat" if fact is None else kind


def _options(
    scenes: list[Scene], life: Life, stated: Facts, outdated: Facts | None = None
) -> list[tuple[Answer, bool]] | None:
    """Return four answers and which is right, or ``None`` if a question is unsound or answers coincide."""
    columns: list[list[tuple[Answer, bool]]] = []
    for scene in scenes:
        profile: dict[tuple[str, str], str | int] = {}
        for name in scene.used:
            profile.update(life.column(scene.kind, name))
        if "time" in scene.used:
            # A life holds the code of a time; what it means depends on when it was said.
            profile.update({key: stated.get(key, "") for key in life.column(scene.kind, "time")})
        answer = is_sound(scene.program, stated, scene.told[: scene.evidence], profile, outdated)
        if answer is None:
            return None
        answers = [o.solve(stated) if isinstance(o, Get | Apply) else o for o in scene.options]
        if scene.cycle:
            answers = [answer, *((answer + shift) % scene.cycle for shift in answers)]
        if len(set(answers)) < 4 or answer not in answers:
            return None
        right = answers.index(answer)
        columns.append([(a, at == right) for at, a in enumerate(answers)])
    if len(columns) == 1:
        return columns[0]
    # Right with right; the wrong ones pairwise.
    first, second = (sorted(column, key=lambda entry: not entry[1]) for column in columns)
    return [((a, b), yes) for (a, yes), (b, _) in zip(first, second, strict=True)]


def _in_order(worded: dict[int, _Told]) -> _Log:
    told = [worded[spot] for spot in range(len(worded))]
    return _Log([entry.text for entry in told], [entry.fact for entry in told], [None] * len(told))


_numbers: list[str] = []


def _ids(count: int) -> list[str]:
    """Return the ids of ``count`` messages; each is made once."""
    _numbers.extend(map(str, range(len(_numbers), count)))
    return _numbers[:count]


def _spots(count: int, total: int, draw: Draw) -> list[int]:
    """Return ``count`` of ``total`` positions, uniform and sorted."""
    if count == total:
        return list(range(total))
    chosen: set[int] = set()
    while len(chosen) < count:
        chosen.add(int(draw() * total))
    return sorted(chosen)


def _hybrid(dial: float) -> int:
    # People with events, items and places, and events with items and places; never items with places.
    return 0 if dial < 0.3 else 1 if dial < 0.5 else 2 if dial < 0.7 else 3 if dial < 0.85 else 4


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
