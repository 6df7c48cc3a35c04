"""A second solver that shares no code with the first: it reads the worded messages back and searches by brute force.

It works on program documents (plain lists) and on rows ``{"kind", "name", "attribute", "value", "at"}``. A check of the
simulator is that both agree, for every question, on which option is right.
"""

from __future__ import annotations

import calendar
import datetime
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from palate.memory.contract import Message
from palate.memory.grammar import Grammar
from palate.memory.programs import to_document
from palate.memory.trajectory import Question, Trajectory

__all__ = ["brute_force", "disagreements", "disagreements_of_a_long_life"]

Row = dict[str, Any]
SCHOOL = {"high": 0, "college": 1, "bachelor's": 2, "master's": 3, "doctorate": 4}


def disagreements(trajectory: Trajectory, grammar: Grammar) -> list[str]:
    """Return what is wrong with a trajectory, in words; an empty list when all is right.

    Checked are the key (from all messages, and from the evidence alone), that each piece of evidence is needed, that
    the options differ, that the question comes after all messages and the messages in order.
    """
    question = trajectory.question
    document = to_document(question.program)  # type: ignore[arg-type]
    rows = read_rows(trajectory, grammar)
    everything = brute_force(document, list(rows.values()))
    found = []
    if len(everything) != 1:
        return [f"{len(everything)} answers"]
    if grammar.answer(question.program, _shape(everything[0])) != question.answer:  # type: ignore[arg-type]
        found.append(f"key {question.answer!r}, brute force {everything[0]!r}")
    proof = [row for id, row in rows.items() if id in question.evidence]
    if len(proof) != len(question.evidence) or brute_force(document, proof) != everything:
        found.append("the evidence alone does not give the key")
    found += [
        f"message {id} is not needed"
        for id in question.evidence
        if brute_force(document, [row for other, row in rows.items() if other != id]) == everything
    ]
    if len(set(question.options)) != len(question.options):
        found.append("two options are alike")
    times = [message.time for message in trajectory.messages] + [question.time]
    if any(a >= b for a, b in itertools.pairwise(times)):
        found.append("times do not increase")
    return found


def disagreements_of_a_long_life(told: Iterable[Message | Question], grammar: Grammar) -> list[str]:
    """Return what is wrong with the questions of a long life, each judged on the messages before it.

    Checked are the key from all messages and from the evidence alone, that each piece of evidence is needed, that
    options differ, and that times increase.
    """
    rows: dict[str, Row] = {}
    found, last = [], ""
    for entry in told:
        if entry.time <= last:
            found.append(f"{entry.time} does not come after {last}")
        last = entry.time
        if isinstance(entry, Message):
            fact = grammar.parse(entry.text, said=entry.time)
            if fact is not None:
                kind, name = fact.entity.split(":", 1)
                known = {"kind": kind, "name": name, "attribute": fact.attribute, "value": fact.value}
                rows[entry.id] = {**known, "at": int(entry.id)}
            continue
        found += [f"{entry.text}: {what}" for what in _wrong_with(entry, rows, grammar)]
    return found


def _wrong_with(question: Question, rows: dict[str, Row], grammar: Grammar) -> list[str]:
    document = to_document(question.program)  # type: ignore[arg-type]
    everything = brute_force(document, list(rows.values()))
    if len(everything) != 1:
        return [f"{len(everything)} answers"]
    found = []
    if grammar.answer(question.program, _shape(everything[0])) != question.answer:  # type: ignore[arg-type]
        found.append(f"key {question.answer!r}, brute force {everything[0]!r}")
    if question.evidence and brute_force(document, [rows[id] for id in question.evidence]) != everything:
        found.append("the evidence alone does not give the key")
    found += [
        f"message {id} is not needed"
        for id in question.evidence
        if brute_force(document, [row for other, row in rows.items() if other != id]) == everything
    ]
    if len(set(question.options)) != len(question.options):
        found.append("two options are alike")
    return found


def read_rows(trajectory: Trajectory, grammar: Grammar) -> dict[str, Row]:
    """Read real messages back with the grammar's inverse, and noise from what it was made of, as rows by message id."""
    rows: dict[str, Row] = {}
    for at, message in enumerate(trajectory.messages):
        noise = trajectory.noise[at] if trajectory.noise else None
        fact = grammar.parse(message.text, said=message.time) if noise is None else trajectory.facts[at]
        if fact is not None:
            kind, name = fact.entity.split(":", 1)
            rows[message.id] = {"kind": kind, "name": name, "attribute": fact.attribute, "value": fact.value, "at": at}
    return rows


def brute_force(document: list[Any], rows: Sequence[Row]) -> list[Any]:
    """Return every answer that a program has over ``rows``; of two values of one thing the later one counts."""
    head, rest = document[0], document[1:]
    if head == "pair":
        return [[a, b] for a in brute_force(rest[0], rows) for b in brute_force(rest[1], rows)]
    if head == "apply":
        return [_function(rest[0], rest[1], value) for value in brute_force(rest[2], rows)]
    if head == "get":
        names = _names(rest[0], rows)
        return [value for name in names for value in _current(rows, name, rest[1])] if len(names) == 1 else []
    if head == "known":
        return brute_force(rest[0], rows) or [""]
    if head == "first":
        return _earliest(rest[0], rows)
    if head == "compare":
        attribute, *pair = rest
        options = []
        for x, y in itertools.permutations(pair):
            for a in _current(rows, x, attribute):
                for b in _current(rows, y, attribute):
                    gap = _number(attribute, a) - _number(attribute, b)
                    options += [[x, gap]] if gap > 0 else []
        return options
    group, attribute, above, among = rest
    values = [_current(rows, name, attribute) for name in group]
    if not all(values):
        return []
    if above is None:
        return [len([1 for value in values if value[0] in among])]
    return [len([1 for value in values if _number(attribute, value[0]) > above])]


def _names(reference: Any, rows: Sequence[Row]) -> list[str]:
    if isinstance(reference, str):
        return [reference]
    _, kind, attribute, value = reference
    if isinstance(value, list):
        told = brute_force(value, rows)
        if len(told) != 1:
            return []
        value = told[0]
    people = {f"{row['kind']}:{row['name']}" for row in rows if row["kind"] == kind}
    return sorted(name for name in people if _current(rows, name, attribute) == [value])


def _earliest(places: list[list[str]], rows: Sequence[Row]) -> list[Any]:
    """Return the place that the earliest message is about; nothing if one of them was never spoken of."""
    heard: dict[tuple[str, str], int] = {}
    for row in rows:
        place = (f"{row['kind']}:{row['name']}", row["attribute"])
        heard[place] = min(heard.get(place, int(row["at"])), int(row["at"]))
    asked = [(heard.get((entity, attribute), -1), [entity, attribute]) for entity, attribute in places]
    return [] if min(asked)[0] < 0 else [min(asked)[1]]


def _current(rows: Sequence[Row], entity: str, attribute: str) -> list[Any]:
    kind, name = entity.split(":", 1)
    about = [r for r in rows if (r["kind"], r["name"], r["attribute"]) == (kind, name, attribute)]
    return [max(about, key=lambda row: int(row["at"]))["value"]] if about else []


def _number(attribute: str, value: Any) -> int:
    if attribute == "education":
        return SCHOOL[value.split()[0]]
    if attribute == "birthday":
        return datetime.date(2023, value // 100, value % 100).timetuple().tm_yday
    return int(value)


def _function(name: str, number: int, value: Any) -> Any:
    if name == "digit_sum":
        return sum(map(int, value.replace("-", "")[-number:]))
    if name == "domain":
        return value.split("@")[-1]
    if name == "letters":
        return len(value.replace(" ", "").replace("-", ""))
    if name == "season":
        return {12: 3, 1: 3, 2: 3, 3: 0, 4: 0, 5: 0, 6: 1, 7: 1, 8: 1, 9: 2, 10: 2, 11: 2}[value // 100]
    if name == "weekday":
        return calendar.weekday(*(int(part) for part in value[:10].split("-")))
    return value * number


def _shape(answer: Any) -> Any:
    return tuple(_shape(part) for part in answer) if isinstance(answer, list) else answer
