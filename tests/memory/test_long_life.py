from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from scipy.stats import binomtest

from palate.errors import ConfigError
from palate.memory.audit import guesses
from palate.memory.contract import Evidence, Message
from palate.memory.grammar import Language
from palate.memory.judging import Result
from palate.memory.leaderboard import leaderboard
from palate.memory.long_judging import growth, judge_long
from palate.memory.long_life import LONG_KINDS, LongLife, LongLifeConfig
from palate.memory.programs import NOT_MENTIONED, First, Get, Known, Select, Unsolved, from_document, to_document
from palate.memory.symbolic_reader import SymbolicReader
from palate.memory.trajectory import Question
from palate.memory.verify import disagreements_of_a_long_life
from palate.registry import find


def life(**settings: object) -> LongLife:
    return LongLife(LongLifeConfig(**{"messages": 3000, "questions": 60, "facts": 0.2, **settings}))  # type: ignore[arg-type]


def questions(told: LongLife) -> list[Question]:
    return [entry for entry in told if isinstance(entry, Question)]


def test_the_added_programs_by_hand() -> None:
    facts = {
        ("event:Amber Fair", "venue"): "Lyon",
        ("person:boss", "hometown"): "Lyon",
        ("person:aunt", "hometown"): "Riga",
        ("person:boss", "age"): 50,
    }
    hop = Get(Select("person", "hometown", Get("event:Amber Fair", "venue")), "age")
    assert hop.solve(facts) == 50
    assert hop.solve({**facts, ("person:aunt", "hometown"): "Lyon"}) is Unsolved.AMBIGUOUS
    assert hop.solve({k: v for k, v in facts.items() if k[1] != "venue"}) is Unsolved.UNKNOWN
    assert Known(Get("person:boss", "age")).solve(facts) == 50
    assert Known(Get("person:aunt", "age")).solve(facts) == NOT_MENTIONED
    first = First((("person:boss", "age"), ("person:aunt", "age")))
    assert first.solve({("person:boss", "age"): 7, ("person:aunt", "age"): 3}) == ("person:aunt", "age")
    assert first.solve({("person:boss", "age"): 7}) is Unsolved.UNKNOWN
    for program in (hop, Known(Get("person:boss", "age")), first):
        assert from_document(to_document(program)) == program


@pytest.mark.parametrize("language", get_args(Language))
def test_an_independent_solver_agrees_on_every_question(language: Language) -> None:
    told = life(language=language, messages=900, questions=50, facts=0.5, outside=0.2)
    assert disagreements_of_a_long_life(told, told.grammar) == []
    assert told.skipped < 5


@pytest.mark.slow
def test_an_independent_solver_agrees_on_many_lives() -> None:
    for seed in range(20):
        told = life(seed=seed, messages=2000, questions=100)
        assert disagreements_of_a_long_life(told, told.grammar) == []


def test_messages_and_questions_are_what_was_ordered() -> None:
    told = life()
    entries = list(told)
    messages = [entry for entry in entries if isinstance(entry, Message)]
    assert [message.id for message in messages] == [str(at) for at in range(3000)]
    asked = questions(told)
    assert len(asked) + told.skipped == 60
    assert set(Counter(question.type for question in asked)) == set(LONG_KINDS)
    assert entries == list(told)
    assert entries[:500] == list(life(messages=3000))[:500]
    assert entries != list(life(seed=1))
    places = {message.id: at for at, message in enumerate(entries) if isinstance(message, Message)}
    for at, entry in enumerate(entries):
        if isinstance(entry, Question):
            assert all(places[id] < at for id in entry.evidence)
    chat = Counter(message.text for message in messages)
    assert max(chat.values()) < 5


def test_an_updated_fact_is_asked_for_with_its_old_value_among_the_options() -> None:
    told, said = life(), {}
    for entry in told:
        if isinstance(entry, Message):
            fact = told.grammar.parse(entry.text, said=entry.time)
            said[entry.id] = (entry.text, fact)
        elif entry.type == "knowledge_update":
            assert isinstance(entry.program, Get)
            place = (entry.program.of, entry.program.attribute)
            values = [fact.value for _, fact in said.values() if fact is not None and fact[:2] == place]
            assert len(values) >= 2
            assert told.grammar.shown(place[1], values[-1]) == entry.answer
            assert told.grammar.shown(place[1], values[-2]) in entry.options


def test_blind_strategies_are_right_in_one_of_four() -> None:
    hits, count = Counter[str](), 0
    for seed in range(3):
        for question in questions(life(seed=seed, messages=6000, questions=330)):
            count += 1
            hits.update(name for name, at in guesses(question.options).items() if at == question.key)
    for name in ("first", "longest", "shortest", "medoid"):
        interval = binomtest(hits[name], count).proportion_ci(0.99, method="wilson")
        assert interval.low <= 0.25 <= interval.high, (name, hits[name] / count)


def test_the_evidence_alone_answers_and_less_does_not() -> None:
    reader, messages = SymbolicReader(), {}
    for entry in life(seed=4, messages=5000, questions=120):
        if isinstance(entry, Message):
            messages[entry.id] = entry
            continue
        proof = [Evidence(id, messages[id].text, 1.0, messages[id].time) for id in entry.evidence]
        assert reader.answer(entry.text, entry.options, proof).choice == entry.key, entry
        for at in range(len(proof)):
            rest = proof[:at] + proof[at + 1 :]
            assert reader.answer(entry.text, entry.options, rest).choice != entry.key


def test_memories_are_asked_while_they_grow() -> None:
    told, results = life(messages=1000, questions=40), []
    for name in ("oracle", "fact-store", "none"):
        memory = find("memory", name).factory()
        results.append(judge_long(memory, SymbolicReader(), told, retriever=name, reader_name="symbolic"))
        assert len(memory) == 1000
    oracle, store, none = results
    assert oracle.accuracy == 1.0
    assert store.accuracy > none.accuracy
    proven = [outcome for outcome in oracle.outcomes if outcome.ceiling]
    assert all(outcome.recall == 1.0 and 1 <= outcome.age <= outcome.messages for outcome in proven)
    assert none.summary()["by type"]["all"]["recall@5"] == 0.0
    rows = growth(oracle.outcomes, parts=4)
    assert [row["messages"] for row in rows][-1] == 1000
    assert sum(row["questions"] for row in rows) == len(oracle.outcomes)
    board = leaderboard(results)
    assert board["levels"][0]["rows"][0]["retriever"] == "oracle"
    assert len(board["levels"][0]["rows"][0]["growth"]) == 5
    assert Result.from_document(oracle.to_document()) == oracle


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 1"):
        life(facts=0.8, outside=0.4)
    with pytest.raises(ConfigError, match="messages"):
        life(messages=0)
