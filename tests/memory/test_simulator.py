from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from scipy.stats import binomtest, chisquare

from palate.errors import ConfigError
from palate.memory.grammar import Language, load_grammar
from palate.memory.network import default_network
from palate.memory.noise import NOISE_KINDS, NoiseKind, NoiseMix
from palate.memory.programs import Apply, Compare, Count, Get, Pair, Select, Unsolved, from_document, to_document
from palate.memory.simulator import BLOCK, Simulator, SimulatorConfig
from palate.memory.soundness import is_sound
from palate.memory.trajectory import QUESTION_TYPES, Trajectory
from palate.memory.verify import disagreements

FACTS = {
    ("person:boss", "age"): 50,
    ("person:aunt", "age"): 47,
    ("person:boss", "hobby"): "chess",
    ("person:aunt", "hobby"): "yoga",
    ("person:boss", "phone"): "000-555-123456",
    ("person:boss", "birthday"): 1203,
    ("person:aunt", "birthday"): 228,
}


def test_programs_by_hand() -> None:
    assert Get("person:boss", "age").solve(FACTS) == 50
    assert Get(Select("person", "hobby", "yoga"), "age").solve(FACTS) == 47
    assert Get(Select("person", "hobby", "chess"), "email").solve(FACTS) is Unsolved.UNKNOWN
    assert Get(Select("event", "hobby", "chess"), "age").solve(FACTS) is Unsolved.UNKNOWN
    assert Compare("age", "person:aunt", "person:boss").solve(FACTS) == ("person:boss", 3)
    assert Compare("birthday", "person:aunt", "person:boss").solve(FACTS) == ("person:boss", 337 - 59)
    assert Count(("person:boss", "person:aunt"), "age", 47).solve(FACTS) == 1
    assert Count(("person:boss", "person:aunt"), "hobby", None, ("yoga", "chess")).solve(FACTS) == 2
    assert Count(("person:boss", "person:niece"), "age", 47).solve(FACTS) is Unsolved.UNKNOWN
    assert Apply("digit_sum", 3, Get("person:boss", "phone")).solve(FACTS) == 15
    assert Apply("season", 0, Get("person:boss", "birthday")).solve(FACTS) == 3
    assert Pair(Get("person:boss", "age"), Get("person:aunt", "age")).solve(FACTS) == (50, 47)
    twice = {**FACTS, ("person:niece", "hobby"): "yoga"}
    assert Get(Select("person", "hobby", "yoga"), "age").solve(twice) is Unsolved.AMBIGUOUS


def test_programs_survive_their_file_form() -> None:
    for trajectory in Simulator(SimulatorConfig(seed=4)).trajectories(60):
        program = trajectory.question.program
        assert program is not None
        assert from_document(to_document(program)) == program
        assert Trajectory.from_document(trajectory.to_document()) == trajectory


def test_soundness_asks_for_evidence_that_is_enough_and_needed() -> None:
    program = Get(Select("person", "hobby", "yoga"), "age")
    proof = [("person:aunt", "hobby"), ("person:aunt", "age")]
    assert is_sound(program, FACTS, proof, FACTS) == 47
    assert is_sound(program, FACTS, proof[:1], FACTS) is None
    assert is_sound(program, FACTS, [*proof, ("person:boss", "age")], FACTS) is None
    assert is_sound(program, FACTS, proof, {**FACTS, ("person:niece", "hobby"): "yoga"}) is None


@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("noise", [0, 9])
def test_an_independent_solver_agrees(language: Language, noise: int) -> None:
    grammar = load_grammar(language)
    config = SimulatorConfig(seed=11, noise=noise, language=language)
    for trajectory in Simulator(config).trajectories(60):
        assert disagreements(trajectory, grammar) == [], trajectory.question


def test_a_changed_value_of_the_evidence_is_noticed() -> None:
    grammar = load_grammar("english")
    for trajectory in Simulator(SimulatorConfig(seed=12, types=("simple", "comparative"))).trajectories(40):
        program = trajectory.question.program
        assert program is not None
        facts = {(f.entity, f.attribute): f.value for f in trajectory.facts if f is not None}
        at = int(trajectory.question.evidence[0])
        fact = trajectory.facts[at]
        assert fact is not None
        if fact.attribute == "time":
            continue
        value = fact.value + 1 if isinstance(fact.value, int) and fact.attribute != "birthday" else "other"
        if value == "other" and (isinstance(program, Pair | Compare) or fact.attribute == "birthday"):
            continue
        answer = program.solve({**facts, (fact.entity, fact.attribute): value})
        assert grammar.answer(program, answer) != trajectory.question.answer


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_every_kind_of_noise_keeps_keys_right(kind: NoiseKind) -> None:
    config = SimulatorConfig(seed=13, noise=5, mix=NoiseMix.only(kind))
    grammar, seen = load_grammar("english"), Counter[str | None]()
    for trajectory in Simulator(config).trajectories(30):
        assert disagreements(trajectory, grammar) == []
        seen.update(trajectory.noise)
    assert seen[kind] > 30
    assert set(seen) <= {None, kind, "chat"}


def test_what_disowns_a_fact_says_so() -> None:
    told = "but that is wrong"
    for trajectory in Simulator(SimulatorConfig(seed=17, noise=5, mix=NoiseMix.only("hearsay"))).trajectories(30):
        for message, kind in zip(trajectory.messages, trajectory.noise, strict=True):
            assert (kind == "hearsay") == (told in message.text)


def test_noise_has_its_length_and_repeats_nothing() -> None:
    for trajectory in Simulator(SimulatorConfig(seed=14, noise=9)).trajectories(30):
        real = trajectory.noise.count(None)
        assert len(trajectory.messages) == 10 * real
        assert len({message.text for message in trajectory.messages}) == len(trajectory.messages)
        assert [message.id for message in trajectory.messages] == [str(at) for at in range(10 * real)]
        evidence = [trajectory.noise[int(id)] for id in trajectory.question.evidence]
        assert evidence == [None] * len(evidence)


def test_the_first_trajectories_do_not_depend_on_the_rest() -> None:
    config = SimulatorConfig(seed=15, noise=2)
    whole = list(Simulator(config).trajectories(BLOCK + 5))
    assert list(Simulator(config).trajectories(3, start=BLOCK + 1)) == whole[BLOCK + 1 : BLOCK + 4]
    assert Simulator(config).trajectory(7) == whole[7]
    assert Simulator(config.replace(seed=16)).trajectory(7) != whole[7]


def blind(trajectory: Trajectory) -> dict[str, int]:
    """What somebody answers who has no memory: by the options' looks alone, or by what is often said."""
    options = trajectory.question.options
    said = " ".join(message.text for message in trajectory.messages)
    words = [set(option.lower().split()) for option in options]
    alike = [sum(len(a & b) / max(1, len(a | b)) for b in words) for a in words]
    lengths = [len(option) for option in options]
    mentions = [said.count(option) for option in options]
    return {
        "first": 0,
        "longest": lengths.index(max(lengths)),
        "shortest": lengths.index(min(lengths)),
        "medoid": alike.index(max(alike)),
        "frequent": mentions.index(max(mentions)),
    }


@pytest.fixture(scope="module")
def thousand() -> list[Trajectory]:
    return list(Simulator(SimulatorConfig(seed=17)).trajectories(1500))


def test_blind_strategies_are_right_in_one_of_four(thousand: list[Trajectory]) -> None:
    hits: Counter[str] = Counter()
    for trajectory in thousand:
        hits.update(name for name, guess in blind(trajectory).items() if guess == trajectory.question.key)
    for name in blind(thousand[0]):
        interval = binomtest(hits[name], len(thousand)).proportion_ci(0.99, method="wilson")
        assert interval.low <= 0.25 <= interval.high, (name, hits[name] / len(thousand))


def test_keys_and_types_are_uniform(thousand: list[Trajectory]) -> None:
    keys = Counter(trajectory.question.key for trajectory in thousand)
    assert chisquare([keys[k] for k in range(4)]).pvalue > 1e-3
    types = Counter(trajectory.question.type for trajectory in thousand)
    assert {types[t] for t in QUESTION_TYPES} == {250}
    firsts = Counter(min(map(int, t.question.evidence)) for t in thousand if t.scenario == "person")
    assert max(firsts.values()) < 0.6 * sum(firsts.values()), "the evidence stands at the same place"


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="scenarios"):
        SimulatorConfig(scenario=("person",))  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="sum to 1"):
        Simulator(SimulatorConfig(mix=NoiseMix(chat=0.9)))
    with pytest.raises(ConfigError, match="No sound question"):
        Simulator(SimulatorConfig(), default_network().with_counts(item=1)).trajectory(2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_an_independent_solver_agrees_on_many(seed: int) -> None:
    grammar = load_grammar("english")
    for trajectory in Simulator(SimulatorConfig(seed=100 + seed)).trajectories(10_000):
        assert disagreements(trajectory, grammar) == []
