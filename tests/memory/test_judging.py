from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scipy.stats import binomtest

from palate.errors import ConfigError, DataError
from palate.memory.contract import Evidence
from palate.memory.extraction import extract, number_in, subjects_in
from palate.memory.judging import Result, judge, recall_at, same_terms
from palate.memory.leaderboard import leaderboard
from palate.memory.lexical_reader import LexicalReader
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.memory.symbolic_reader import SymbolicReader
from palate.memory.trajectory import QUESTION_TYPES, Trajectory
from palate.memory.writer_reader import WriterReader, letter_in
from palate.registry import find


def questions(count: int = 60, **settings: Any) -> list[Trajectory]:
    return list(Simulator(SimulatorConfig(**settings)).trajectories(count))


def ask(name: str, trajectories: list[Trajectory], reader: Any = None, **settings: Any) -> Result:
    memory = find("memory", name).factory()
    known = {"retriever": name, "reader_name": "symbolic", **settings}
    return judge(memory, reader or SymbolicReader(), trajectories, **known)


def proofs(trajectory: Trajectory) -> list[Evidence]:
    wanted = trajectory.question.evidence
    return [Evidence(m.id, m.text, 1.0, m.time) for m in trajectory.messages if m.id in wanted]


def test_recall_by_hand() -> None:
    assert recall_at(["3", "9"], ["9", "9", "1", "4", "0"]) == (0.5, 1.0)
    eight = [str(id) for id in range(8)]
    recall, ceiling = recall_at(eight, eight[:5])
    assert recall == 0.625
    assert recall / ceiling == 1.0
    assert recall_at([], ["1"]) == (0.0, 0.0)


def test_the_text_alone_gives_every_key() -> None:
    reader, seen = SymbolicReader(), Counter[str]()
    for trajectory in questions(1000, seed=21):
        question = trajectory.question
        reply = reader.answer(question.text, question.options, proofs(trajectory), time=question.time)
        assert reply.choice == question.key, question
        seen[question.type] += 1
    assert set(seen) == set(QUESTION_TYPES)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_text_alone_gives_every_key_of_a_hundred_thousand(seed: int) -> None:
    reader = SymbolicReader()
    for trajectory in Simulator(SimulatorConfig(seed=200 + seed)).trajectories(10_000):
        question = trajectory.question
        assert reader.answer(question.text, question.options, proofs(trajectory)).choice == question.key, question


def test_the_reader_does_not_guess() -> None:
    for trajectory in questions(60, seed=22):
        question = trajectory.question
        for at in range(len(question.evidence)):
            rest = [evidence for evidence in proofs(trajectory) if evidence.id != question.evidence[at]]
            assert SymbolicReader().answer(question.text, question.options, rest).choice != question.key


def test_oracle_full_none_and_noise_stand_where_they_must() -> None:
    trajectories = questions(60, seed=23, noise=3)
    oracle, full, none, noise = (ask(name, trajectories) for name in ("oracle", "full", "none", "noise"))
    assert oracle.accuracy == 1.0
    assert oracle.column("recall").min() == 1.0
    assert full.accuracy >= 0.98
    assert none.accuracy == 0.0
    assert none.summary()["abstained"] == 60
    assert noise.column("recall").max() == 0.0
    assert noise.accuracy < 0.1


def test_without_a_memory_a_guessing_reader_is_right_in_one_of_four() -> None:
    result = ask("none", questions(600, seed=24), LexicalReader())
    interval = binomtest(int(result.column("correct").sum()), 600).proportion_ci(0.99, method="wilson")
    assert interval.low <= 0.25 <= interval.high


def test_the_lexical_reader_beats_guessing() -> None:
    trajectories = questions(200, seed=25, types=("simple", "conditional"), scenarios=("person",))
    assert ask("oracle", trajectories, LexicalReader()).accuracy > 0.6


def test_a_writer_is_read_by_letter_and_its_faults_are_counted() -> None:
    trajectories = questions(40, seed=26)
    keys = {t.question.text: "ABCD"[t.question.key] for t in trajectories}
    calls = Counter[str]()

    def writer(prompt: str) -> str:
        calls["all"] += 1
        if calls["all"] % 10 == 0:
            raise OSError("busy")
        if calls["all"] % 10 == 5:
            return "I would rather not say"
        return next(f"The answer is {key}." for text, key in keys.items() if text in prompt)

    result = ask("oracle", trajectories, WriterReader(writer=writer, model="fake 1"))
    summary = result.summary()
    assert (summary["failed"], summary["unparsed"], summary["abstained"]) == (4, 4, 0)
    assert result.accuracy == 32 / 40
    assert summary["model"] == "fake 1"
    assert summary["prompt"]
    assert letter_in("ABCD") is None
    assert letter_in("(b) no, B") == 1
    with pytest.raises(ConfigError, match="writer"):
        find("memory-reader", "writer").factory()


def test_unequal_terms_are_not_compared() -> None:
    trajectories = questions(12, seed=27)
    first = ask("oracle", trajectories)
    same_terms([first, ask("none", trajectories)])
    for other in (
        ask("none", trajectories, k=3),
        ask("none", trajectories, LexicalReader()),
        ask("none", questions(12, seed=28)),
    ):
        with pytest.raises(ConfigError, match="cannot be compared"):
            leaderboard([first, other])
    board = leaderboard([ask("none", trajectories), first])
    assert [row["retriever"] for row in board["levels"][0]["rows"]] == ["oracle", "none"]
    assert board["levels"][0]["rows"][1]["p_value against the best"] < 0.01
    assert Result.from_document(first.to_document()) == first


def test_questions_without_options_are_refused() -> None:
    trajectory = questions(1)[0]
    from dataclasses import replace

    bare = replace(trajectory, question=replace(trajectory.question, options=()))
    with pytest.raises(DataError, match="0 options"):
        ask("full", [bare])
    with pytest.raises(DataError, match="no questions"):
        ask("full", [])


def test_statements_by_hand() -> None:
    told = extract("Well, my tennis partner comes from Riga.")
    assert told is not None
    assert (told.subject, told.relation) == ("my tennis partner", "hometown")
    assert extract("My boss was born on May 3rd.").number == 122  # type: ignore[union-attr]
    moment = extract("The Amber Fair starts on Monday of next week at 19:00.", "2024-04-05T18:37")
    assert moment is not None
    assert moment.number == number_in("time", "8 April 2024 at 19:00")
    assert extract("Somebody said my boss's hobby is chess, but that is wrong.") is None
    assert extract("What a lovely day.") is None
    assert subjects_in("Which is older, my aunt or the Amber Fair?") == ["my aunt", "the Amber Fair"]
    assert extract("My boss's hobby is chess.") is not None


def test_extraction_is_precise_and_complete_on_simulated_messages() -> None:
    right = stated = claimed = 0
    for trajectory in questions(60, seed=29, noise=4):
        for message, fact in zip(trajectory.messages, trajectory.facts, strict=True):
            found = extract(message.text, message.time)
            claimed += found is not None
            stated += fact is not None
            right += found is not None and fact is not None and found.relation == fact.attribute
    assert right / claimed > 0.95
    assert right / stated > 0.95
