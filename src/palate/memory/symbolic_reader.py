"""A reader that understands: it reads statements out of the messages and carries the question out on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from palate.memory.answering import Reader, Reply
from palate.memory.contract import Evidence
from palate.memory.extraction import (
    QUANTITIES,
    Statement,
    behind_noun,
    contains,
    extract,
    number_in,
    relation_in,
    subjects_in,
)
from palate.registry import register

__all__ = ["SymbolicReader"]

Facts = dict[tuple[str, str], Statement]

_FIRST = re.compile(r"\bfirst\b", re.IGNORECASE)
_UNSAID = re.compile(r"\b(?:not|never) (?:mention|said|told)|n't (?:mention|say|tell)", re.IGNORECASE)
_PROPER = re.compile(r"\b[A-Z][a-z]+\b")
_ALSO = re.compile(r"(?<=[.?]) (?:Also,|Another question:|One more thing:|Besides,|Moreover,) ")
_DESCRIBED = re.compile(
    r"the (person|event|item|place) (?:whose (?P<n1>.+?) (?:is|equals) (?P<v1>.+?)|with (?P<v2>.+?) as the (?P<n2>.+?)|"
    r"that has the (?P<rest>.+?))[?.](?: |$)"
)
_SEASONS = (
    ("winter", "winter", "spring", "spring", "spring", "summer", "summer", "summer") + ("autumn",) * 3 + ("winter",)
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NAME = re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b")


@register("memory-reader", "symbolic")
class SymbolicReader(Reader):
    """Reads statements by general patterns, solves the question on them, abstains when something is missing."""

    model = "symbolic-1"

    def answer(self, question: str, options: Sequence[str], recalled: Sequence[Evidence], *, time: str = "") -> Reply:
        """Return the option that follows from the messages."""
        facts: Facts = {}
        heard: dict[tuple[str, str], str] = {}
        for evidence in sorted(recalled, key=lambda entry: entry.time):
            statement = extract(evidence.text, evidence.time)
            if statement is not None:
                heard.setdefault((statement.subject, statement.relation), evidence.time)
                facts[statement.subject, statement.relation] = statement
        length = len(question) + sum(len(evidence.text) for evidence in recalled)
        if _FIRST.search(question) and all(subjects_in(option) for option in options):
            return Reply(_earliest(options, heard), prompt_length=length)
        parts = _ALSO.split(question, maxsplit=1)
        if len(parts) == 1:
            return Reply(_solve(question, list(options), facts), prompt_length=length)
        halves = [option.split("; ", 1) for option in options]
        if any(len(half) != 2 for half in halves):
            return Reply(None, prompt_length=length)
        chosen = [_fitting(part, [half[at] for half in halves], facts) for at, part in enumerate(parts)]
        both = chosen[0] & chosen[1]
        return Reply(both.pop() if len(both) == 1 else None, prompt_length=length)


def _earliest(options: Sequence[str], heard: dict[tuple[str, str], str]) -> int | None:
    """Return which of the options, each an attribute of somebody, was heard of first; all must have been."""
    times = []
    for option in options:
        subject = subjects_in(option)[0]
        rest = re.sub(re.escape(subject), "", option, flags=re.IGNORECASE)
        relation = relation_in(rest, person=subject.startswith("my "))
        time = heard.get((subject, relation or ""))
        if time is None:
            return None
        times.append(time)
    return times.index(min(times))


def _solve(question: str, options: list[str], facts: Facts) -> int | None:
    fitting = _fitting(question, options, facts)
    return fitting.pop() if len(fitting) == 1 else None


def _fitting(question: str, options: list[str], facts: Facts) -> set[int]:
    """Return the places of the options that are true (in a question of two parts an option may occur twice)."""
    if "by how much" in question.lower():
        return _compare(question, options, facts)
    if "how many" in question.lower():
        return _count(question, options, facts)
    described = _DESCRIBED.search(question)
    if described is not None:
        subject, asked = _described(described, facts), question[: described.start()]
    else:
        named = subjects_in(question)
        subject = named[-1] if named else None
        asked = question if subject is None else re.sub(re.escape(subject), "", question, flags=re.IGNORECASE)
    if subject is None:
        return set()
    asked = re.split(r"[:.?] ", asked.strip())[-1] if described is not None else asked
    relation = relation_in(asked, person=subject.startswith("my "))
    statement = facts.get((subject, relation or ""))
    if statement is None:
        # Where "you did not say" is among the options, not to know is an answer.
        return {at for at, option in enumerate(options) if _UNSAID.search(option)} if relation else set()
    return _value(asked, statement, options)


def _described(found: re.Match[str], facts: Facts) -> str | None:
    person = found[1] == "person"
    noun, value = (found["n1"], found["v1"]) if found["n1"] else (found["n2"], found["v2"])
    relation = relation_in(noun or found["rest"], person=person)
    if relation is None:
        return None
    value = value or found["rest"]
    if subjects_in(value):
        return _same_name(value, relation, facts)
    wanted = number_in(relation, value)
    hits = []
    for (subject, name), statement in facts.items():
        if name != relation or subject.startswith("my ") != person:
            continue
        if relation in QUANTITIES:
            same = wanted is not None and statement.number == wanted
        else:
            # With "the colour navy blue" the value is what stands behind the noun.
            same = contains(statement.text, value if noun else behind_noun(value, relation, person=person))
        if same:
            hits.append(subject)
    return hits[0] if len(hits) == 1 else None


def _same_name(other: str, relation: str, facts: Facts) -> str | None:
    """Return who has a relation to the same place or firm as ``other``, such as "the venue of the Amber Fair"."""
    subject = subjects_in(other)[0]
    rest = re.sub(re.escape(subject), "", other, flags=re.IGNORECASE)
    known = facts.get((subject, relation_in(rest, person=subject.startswith("my ")) or ""))
    if known is None:
        return None
    names = _names(known)
    hits = [s for (s, r), found in facts.items() if r == relation and s != subject and names & _names(found)]
    return hits[0] if len(hits) == 1 else None


def _names(statement: Statement) -> set[str]:
    """Return the proper names of a statement but for those of its subject and the word that it begins with."""
    text = statement.text[:1].lower() + statement.text[1:]
    return set(_PROPER.findall(re.sub(re.escape(statement.subject), "", text, flags=re.IGNORECASE)))


def _value(asked: str, statement: Statement, options: list[str]) -> set[int]:
    derived = _derived(asked, statement)
    if derived is not None:
        return {at for at, option in enumerate(options) if option == derived}
    if statement.relation in QUANTITIES:
        known = statement.number
        return {at for at, o in enumerate(options) if known is not None and number_in(statement.relation, o) == known}
    held = [at for at, option in enumerate(options) if contains(statement.text, option)]
    longest = max((len(options[at]) for at in held), default=0)
    return {at for at in held if len(options[at]) == longest}


def _derived(asked: str, statement: Statement) -> str | None:
    """Return the function of the value that the question asks for, in words; ``None`` when it asks for the value."""
    number = re.search(r"\d+", asked)
    if "digits" in asked and number:
        found = re.search(r"[\d-]{9,}", statement.text)
        digits = [int(c) for c in found[0] if c.isdigit()] if found else []
        return str(sum(digits[-int(number[0]) :]))
    if "after the at sign" in asked:
        found = re.search(r"@([\w-]+(?:\.[\w-]+)*)", statement.text)
        return found[1] if found else ""
    if "letters" in asked:
        text = statement.text[0].lower() + statement.text[1:]
        names = _NAME.findall(text)
        return str(sum(c.isalpha() for c in names[-1])) if names else ""
    if "season" in asked and statement.number is not None:
        return _SEASONS[(datetime(2023, 1, 1) + timedelta(days=statement.number)).month - 1]
    if "weekday" in asked and statement.number is not None:
        return _DAYS[(datetime(2023, 1, 1) + timedelta(minutes=statement.number)).weekday()]
    if "times" in asked and number and statement.number is not None:
        return str(int(number[0]) * int(statement.number))
    return None


def _compare(question: str, options: list[str], facts: Facts) -> set[int]:
    named = subjects_in(question)[:2]
    if len(named) < 2:
        return set()
    rest = question
    for subject in named:
        rest = re.sub(re.escape(subject), "", rest, flags=re.IGNORECASE)
    relation = relation_in(rest, person=named[0].startswith("my "))
    numbers = [s.number for subject in named if (s := facts.get((subject, relation or ""))) is not None]
    if len(numbers) < 2 or numbers[0] is None or numbers[1] is None:
        return set()
    winner, gap = named[0] if numbers[0] > numbers[1] else named[1], abs(numbers[0] - numbers[1])
    return {
        at
        for at, option in enumerate(options)
        if subjects_in(option)[:1] == [winner] and (size := re.search(r"by (\d+)", option)) and int(size[1]) == gap
    }


def _count(question: str, options: list[str], facts: Facts) -> set[int]:
    named = subjects_in(question)
    rest = question
    for subject in named:
        rest = re.sub(re.escape(subject), "", rest, flags=re.IGNORECASE)
    article = re.search(r" an? ", rest)
    tail = rest[article.start() :] if article else rest
    relation = relation_in(tail, person=bool(named) and named[0].startswith("my "))
    known = [facts.get((subject, relation or "")) for subject in named]
    if not known or relation is None or any(statement is None for statement in known):
        return set()
    above = re.search(r"\babove (.+?)[?.]", tail)
    if above is not None:
        bound = number_in(relation, above[1])
        count = sum(1 for s in known if s and s.number is not None and bound is not None and s.number > bound)
    else:
        listed = re.search(r"\bone of (.+?)[?.](?: |$)", tail)
        values = re.split(r", | and ", listed[1]) if listed else []
        count = sum(1 for s in known if s and any(_states(s, value) for value in values))
    return {at for at, option in enumerate(options) if option == str(count)}


def _states(statement: Statement, value: str) -> bool:
    if statement.relation in QUANTITIES:
        number = number_in(statement.relation, value)
        return number is not None and statement.number == number
    return contains(statement.text, value)
