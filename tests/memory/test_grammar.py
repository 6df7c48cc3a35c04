from __future__ import annotations

import itertools
import random
import re
from typing import get_args

import pytest

from palate.errors import ConfigError
from palate.memory.clock import HOURS, iso, message_times, resolve, weeks_between
from palate.memory.grammar import Language, Wording, load_grammar
from palate.memory.network import default_network
from palate.memory.noise import chatter, chatter_size
from palate.memory.programs import Fact
from palate.memory.scenes import ATTRIBUTES, Life
from palate.memory.simulator import Simulator, SimulatorConfig

SAID = "2024-04-03T07:53"


@pytest.mark.parametrize(
    ("said", "code", "meant"),
    [
        ("2024-04-05T18:37", 0 * 21 + 0 * 3 + 2, "2024-04-08T19:00"),
        ("2024-04-03T07:53", 0 * 21 + 5 * 3 + 1, "2024-04-13T14:00"),
        ("2024-04-07T23:00", 1 * 21 + 6 * 3 + 0, "2024-04-21T09:00"),
        ("2024-12-30T09:00", 0 * 21 + 2 * 3 + 0, "2025-01-08T09:00"),
    ],
)
def test_relative_times_count_from_the_message(said: str, code: int, meant: str) -> None:
    assert resolve(code, said) == meant
    assert weeks_between(said, meant) == code // 21 + 1


def test_absolute_codes_and_this_week() -> None:
    assert resolve(42 + 3 * 5 + 1, "2024-04-01T08:00") == "2024-05-06T14:00"
    assert weeks_between("2024-04-01T08:00", "2024-04-07T23:00") == 0


def test_message_times_increase_and_keep_the_night() -> None:
    times = message_times(5000, random.Random(1).random)
    assert iso(times[0]) == "2024-04-01T08:00"
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps) >= 60
    assert all(420 <= time % 1440 < 1320 for time in times)


@pytest.mark.parametrize("language", get_args(Language))
def test_every_template_and_value_is_read_back(language: Language) -> None:
    grammar = load_grammar(language)
    profiles = default_network().sample(12, seed=0)
    for kind, attributes in ATTRIBUTES.items():
        for attribute in attributes:
            templates = grammar.templates[attribute]
            seen = 0
            for index in range(12):
                life = Life(profiles, index, {})
                for entity in life.entities(kind)[:2]:
                    template = templates[seen % len(templates)]
                    nouns = grammar.config.attributes[attribute].nouns
                    wording = Wording(template, nouns[seen % len(nouns)], seen % 2)
                    value, code = life.value(entity, attribute), None
                    if attribute == "time":
                        code = int(value)
                        value = resolve(code, SAID)
                    fact = Fact(entity, attribute, value)
                    text = grammar.state(fact, wording, random.Random(seen).random, code=code)
                    assert grammar.parse(text, said=SAID) == fact, text
                    seen += 1
            assert seen >= len(templates)


@pytest.mark.parametrize("language", get_args(Language))
def test_every_word_of_every_lexicon_is_read_back(language: Language) -> None:
    grammar, network = load_grammar(language), default_network()
    checked: set[tuple[str, str, str]] = set()
    for (owner, name), lexicon in network.lexicon_of.items():
        if lexicon is None or name not in ATTRIBUTES.get(network.kinds[owner], ()):
            continue
        entity = {"person": "person:boss", "event": "event:Amber Fair", "item": "item:Amber Lamp"}.get(
            network.kinds[owner], "place:Amber Park"
        )
        nouns = grammar.config.attributes[name].nouns
        for template, word in itertools.product(grammar.templates[name], network.lexicons[lexicon]):
            fact = Fact(entity, name, word)
            assert grammar.parse(grammar.state(fact, Wording(template, nouns[0], 0))) == fact
            checked.add((name, template, word))
    assert len(checked) > 1500


def test_telling_equals_choosing_and_stating() -> None:
    for language in get_args(Language):
        grammar = load_grammar(language)
        for fact in (Fact("person:boss", "occupation", "editor"), Fact("item:Amber Lamp", "price", 31)):
            for seed in range(60):
                draw, again = random.Random(seed).random, random.Random(seed).random
                chosen = grammar.state(fact, grammar.choose(fact.attribute, again), again)
                assert grammar.tell(fact, draw) == chosen


def test_a_template_without_its_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="must hold"):
        load_grammar("english").state(Fact("person:boss", "hobby", "chess"), Wording("{m} {m}", "hobby", 0))


def test_no_word_hides_in_another_of_its_list() -> None:
    for name, words in default_network().lexicons.items():
        for word in words:
            others = [other for other in words if other != word and re.search(rf"\b{re.escape(word)}\b", other)]
            assert not others, (name, word, others)


def test_there_are_enough_templates_and_none_covers_much() -> None:
    for language in get_args(Language):
        config = load_grammar(language).config
        assert len(config.statement) >= 8
        for templates in (config.ask, config.compare, config.count_above, config.count_among):
            assert len(set(templates)) >= 6
    texts = [m.text for t in Simulator(SimulatorConfig(seed=8)).trajectories(120) for m in t.messages]
    pattern = re.compile(r"(?:[\w ,]+, )?(?:my|the) [\w -]+'s [\w -]+ is .+")
    covered = sum(bool(pattern.match(text[0].lower() + text[1:])) for text in texts)
    assert covered / len(texts) < 0.3


@pytest.mark.parametrize("language", get_args(Language))
def test_chatter_is_large_and_without_repeats(language: Language) -> None:
    size = chatter_size(language)
    assert size >= 10**6
    step = size // 5000
    texts = {chatter(number, language) for number in range(0, size, step)}
    assert len(texts) == len(range(0, size, step))
    grammar = load_grammar(language)
    assert all(grammar.parse(text) is None for text in list(texts)[:20])


def test_hours_are_the_published_ones() -> None:
    assert HOURS == (9, 14, 19)
