"""What is wrong with the keys of a published file: found by looking, not by trusting.

Checked are: the right answer listed twice; a key that is not the stated answer; evidence that does not exist; in
MemDaily also times that were resolved from the day of the question instead of the day of the message, and counts of
places; and how often simple guesses that read no message are right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from palate.memory.contract import Message
from palate.memory.trajectory import Question, Trajectory

__all__ = ["AuditReport", "Finding", "audit", "guesses"]

_RELATIVE = re.compile(r"(下下周|下周)([一二三四五六日天])(?:(早上|上午|下午|晚上|中午)?([一二三四五六七八九十]+)点)?")
_ABSOLUTE = re.compile(r"(\d+)年(\d+)月(\d+)日")
_PLACE_COUNT = re.compile(r"有几个\S*?地点在(\S+?)[呢啊呀吗]*[？?。]")
_DAYS = "一二三四五六日"


@dataclass(frozen=True, slots=True)
class Finding:
    """A defect of one question."""

    id: str
    defect: str
    detail: str


@dataclass(frozen=True)
class AuditReport:
    """All findings, how many questions there were, and how often guesses without memory are right."""

    questions: int
    messages: int
    checked: dict[str, int]
    findings: tuple[Finding, ...]
    blind: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings per defect."""
        return dict(Counter(finding.defect for finding in self.findings))


def audit(trajectories: Iterable[Trajectory]) -> AuditReport:
    """Look through trajectories and return what is wrong."""
    findings: list[Finding] = []
    checked: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    questions = messages = choices = 0
    for trajectory in trajectories:
        questions += 1
        messages += len(trajectory.messages)
        question, name = trajectory.question, trajectory.id
        known = {message.id for message in trajectory.messages}
        missing = [id for id in question.evidence if id not in known]
        findings += [Finding(name, "evidence that does not exist", id) for id in missing]
        if not question.evidence:
            findings.append(Finding(name, "no evidence", question.text))
        if question.options:
            choices += 1
            findings += _options(name, question)
            hits.update(guess for guess, at in guesses(question.options).items() if at == question.key)
        found, did = _times(trajectory)
        findings += found
        checked["relative times"] += did
        found, did = _counts(trajectory)
        findings += found
        checked["place counts"] += did
    blind = {name: hits[name] / choices for name in ("first", "longest", "shortest", "medoid")} if choices else {}
    return AuditReport(questions, messages, dict(checked), tuple(findings), blind)


def _options(name: str, question: Question) -> list[Finding]:
    folded = [re.sub(r"\s+", "", option).lower() for option in question.options]
    found = []
    if folded.count(folded[question.key]) > 1:
        found.append(Finding(name, "right answer listed twice", question.options[question.key]))
    elif len(set(folded)) < len(folded):
        found.append(Finding(name, "wrong option listed twice", str(question.options)))
    stated = re.sub(r"\s+", "", question.open_answer).lower()
    if stated and folded[question.key] != stated:
        found.append(Finding(name, "key is not the stated answer", f"{question.answer} / {question.open_answer}"))
    return found


def _times(trajectory: Trajectory) -> tuple[list[Finding], int]:
    """Resolve relative times of the evidence from the message's date and compare them with the key's date."""
    question = trajectory.question
    told = {message.id: message for message in trajectory.messages}
    dates = {tuple(int(part) for part in match) for match in _ABSOLUTE.findall(question.answer)}
    meant = [day for id in question.evidence if id in told and (day := _resolved(told[id])) is not None]
    # Where the question itself tells a time, the key's date may be another event's.
    if not dates or len(meant) != 1 or _RELATIVE.search(question.text):
        return [], 0
    day = meant[0]
    if (day.year, day.month, day.day) in dates:
        return [], 1
    return [Finding(trajectory.id, "time resolved from another day", f"{day:%Y-%m-%d} / {question.answer}")], 1


def _resolved(message: Message) -> datetime | None:
    found = _RELATIVE.search(message.text)
    if found is None or not message.time:
        return None
    said = datetime.fromisoformat(message.time)
    monday = said - timedelta(days=said.weekday())
    weekday = 6 if found[2] == "天" else _DAYS.index(found[2])
    return monday + timedelta(weeks=2 if found[1] == "下下周" else 1, days=weekday)


def _counts(trajectory: Trajectory) -> tuple[list[Finding], int]:
    """Count the places in the evidence that are the asked one and compare with the key."""
    question = trajectory.question
    asked = _PLACE_COUNT.search(question.text)
    told = [message.text for message in trajectory.messages if message.id in question.evidence]
    answers = question.answer.split("; ")
    # Of two questions in one, the second begins with "also".
    second = asked is not None and len(answers) > 1 and "另外" in question.text[: asked.start()]
    answer = re.match(r"(\d+)个", answers[1 if second else 0])
    if asked is None or answer is None:
        return [], 0
    count = sum("地点" in text and asked[1] in text for text in told)
    if count == int(answer[1]):
        return [], 1
    return [Finding(trajectory.id, "wrong count of places", f"{count} / {question.answer}")], 1


def guesses(options: tuple[str, ...]) -> dict[str, int]:
    """Return what simple ways to guess choose that look at the options alone, as places by name."""
    pairs = [Counter(option[at : at + 2] for at in range(max(1, len(option) - 1))) for option in options]
    alike = [sum((a & b).total() / max(1, (a | b).total()) for b in pairs) for a in pairs]
    lengths = [len(option) for option in options]
    return {
        "first": 0,
        "longest": lengths.index(max(lengths)),
        "shortest": lengths.index(min(lengths)),
        "medoid": alike.index(max(alike)),
    }
