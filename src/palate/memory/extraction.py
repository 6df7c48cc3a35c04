"""Who, what and how much a sentence speaks of, by general English patterns.

This is the reading side: it knows possessives, copulas, units, dates and common verbs, and shares no template with the
simulator's grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Statement", "behind_noun", "contains", "extract", "number_in", "relation_in", "subjects_in"]

_STOP = frozenset(
    [
        "is",
        "was",
        "are",
        "has",
        "have",
        "had",
        "go",
        "grew",
        "come",
        "came",
        "and",
        "or",
        "of",
        "on",
        "in",
        "at",
        "as",
        "for",
        "to",
        "from",
        "with",
        "today",
        "by",
        "that",
        "who",
        "which",
        "will",
        "just",
        "makes",
        "finished",
        "works",
        "takes",
        "had,",
        "the",
        "a",
        "an",
        "now",
        "these",
        "did",
    ]
)
_PERSON = re.compile(r"\bmy ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.IGNORECASE)
_THING = re.compile(r"\bthe ((?:[A-Z][a-z]+)(?: [A-Z][a-z]+)+)")
_LEADING_THE = re.compile(r"^The\b")
_DENIED = re.compile(r"\b(?:that is wrong|not true|is false|rumou?r)\b", re.IGNORECASE)

_PERSON_NOUNS = {
    "birthday": r"birthday|date of birth",
    "hometown": r"home ?town|birthplace",
    "workplace": r"place of work|work location|workplace",
    "position": r"rank at work|position|rank",
    "education": r"education|qualification|degree held",
    "occupation": r"occupation|profession|job",
    "employer": r"employer|company",
    "hobby": r"hobby|pastime",
    "personality": r"temperament|personality|character",
    "phone": r"(?:tele)?phone number",
    "email": r"e-?mail address",
    "age": r"age",
    "height": r"height",
    "name": r"full name|name",
}
_PERSON_VERBS = {
    "email": r"\S@\S",
    "phone": r"\d{3}-\d{3}-\d{4,}",
    "age": r"years old|turned \d",
    "height": r"\btall\b|head to toe",
    "birthday": r"\bborn\b|\bcake\b",
    "hometown": r"grew up|comes? from",
    "workplace": r"works in|commutes?",
    "education": r"studying|holds an? ",
    "occupation": r"living as|employed as|works as",
    "position": r"ranks as",
    "employer": r"works for|payroll|employed by",
    "hobby": r"\bloves\b|free evenings|enjoys",
    "personality": r"kind of person|describes",
    "name": r"is called|the name of",
}
_THING_NOUNS = {
    "topic": r"theme|topic|subject",
    "venue": r"venue|location",
    "time": r"start time|date and time",
    "scale": r"number of participants|size",
    "duration": r"duration|length",
    "colour": r"colou?r|shade",
    "price": r"price|cost",
    "comment": r"verdict|impression|opinion",
    "district": r"district|neighbou?rhood",
    "distance": r"distance(?: from home)?",
}
_THING_VERBS = {
    "topic": r"all about|revolves",
    "venue": r"takes? place|held in",
    "time": r"starts on|scheduled",
    "scale": r"\bgather\b|\bexpect\b",
    "duration": r"lasts|goes on for",
    "colour": r"comes in|painted",
    "price": r"costs|paid",
    "comment": r"\bI (?:would )?(?:find|describe)\b",
    "district": r"lies in|you find",
    "distance": r"away from|a ride of",
}
_COMPILED = {
    name: {relation: re.compile(rf"(?:{cue})" if "verb" in name else rf"\b(?:{cue})\b", re.I) for relation, cue in t}
    for name, t in (
        ("person noun", _PERSON_NOUNS.items()),
        ("person verb", _PERSON_VERBS.items()),
        ("thing noun", _THING_NOUNS.items()),
        ("thing verb", _THING_VERBS.items()),
    )
}
QUANTITIES = ("age", "height", "birthday", "education", "time", "scale", "duration", "price", "distance")
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_LEVELS = ("high school", "college", "bachelor", "master", "doctorate")
_YEAR = datetime(2023, 1, 1)


@dataclass(frozen=True, slots=True)
class Statement:
    """That something is said about ``subject``: which ``relation``, in which words, and the quantity if it has one."""

    subject: str
    relation: str
    text: str
    number: float | None = None


def extract(text: str, time: str = "") -> Statement | None:
    """Return what a sentence states, or ``None`` when it states nothing that is understood or disowns it.

    Args:
        text: A sentence.
        time: When it was said, for relative times.

    Example:
        >>> extract("My aunt's height is 1.72 m.")
        Statement(subject='my aunt', relation='height', text="My aunt's height is 1.72 m.", number=172.0)
    """
    subjects = subjects_in(text)
    if not subjects or _DENIED.search(text):
        return None
    subject = subjects[0]
    relation = relation_in(text, person=subject.startswith("my "))
    if relation is None:
        return None
    return Statement(subject, relation, text, number_in(relation, text, time))


def subjects_in(text: str) -> list[str]:
    """Return the people ("my ...") and named things ("the ... ...") that a text mentions, in order, each once."""
    text = _LEADING_THE.sub("the", text)
    found: list[tuple[int, str]] = []
    for match in _PERSON.finditer(text):
        first, second = match[1].lower(), (match[2] or "").lower()
        joined = second and second not in _STOP and not second.endswith(("s", "ed")) and match[2].islower()
        found.append((match.start(), f"my {first} {second}" if joined else f"my {first}"))
    found += [(match.start(), f"the {match[1]}") for match in _THING.finditer(text)]
    return list(dict.fromkeys(name for _, name in sorted(found)))


def relation_in(text: str, *, person: bool) -> str | None:
    """Return the relation that a text speaks of: by a noun if there is one, else by a verb."""
    kind = "person" if person else "thing"
    first: tuple[int, str] | None = None
    for relation, pattern in _COMPILED[f"{kind} noun"].items():
        found = pattern.search(text)
        if found and (first is None or found.start() < first[0]):
            first = (found.start(), relation)
    if first is not None:
        return first[1]
    return next((r for r, pattern in _COMPILED[f"{kind} verb"].items() if pattern.search(text)), None)


def behind_noun(text: str, relation: str, *, person: bool) -> str:
    """Return what stands behind the noun of a relation that ``text`` begins with: "navy blue" of "colour navy blue"."""
    found = _COMPILED["person noun" if person else "thing noun"][relation].search(text)
    # An adjective may stand before it: "main topic", "favourite pastime".
    return text[found.end() :].strip() if found and found.start() < 12 else text


def number_in(relation: str, text: str, time: str = "") -> float | None:
    """Return the quantity of a relation that a text tells: cm, days, people, day of the year, level, minutes, ..."""
    if relation not in QUANTITIES:
        return None
    if relation == "education":
        folded = text.lower()
        return next((float(at) for at, level in enumerate(_LEVELS) if level in folded), None)
    if relation == "birthday":
        return _day_of_year(text)
    if relation == "time":
        return _moment(text, time)
    if relation == "height" and (metres := re.search(r"\b(\d\.\d\d) ?m\b", text)):
        return float(round(100 * float(metres[1])))
    if relation == "duration" and (weeks := re.search(r"\b(\d+) weeks?\b", text)):
        return 7.0 * int(weeks[1])
    found = re.search(r"\d+", text)
    return float(found[0]) if found else None


def contains(text: str, phrase: str) -> bool:
    """Say whether ``phrase`` stands in ``text`` as whole words, whatever the case."""
    return re.search(rf"(?<![\w]){re.escape(phrase)}(?![\w])", text, re.IGNORECASE) is not None


def _day_of_year(text: str) -> float | None:
    for pattern, day, month in (
        (r"\b(\d{1,2}) ([A-Z][a-z]+)", 1, 2),
        (r"([A-Z][a-z]+) (\d{1,2})(?:st|nd|rd|th)", 2, 1),
    ):
        for found in re.finditer(pattern, text):
            if found[month].lower() in _MONTHS:
                return float((datetime(2023, _MONTHS.index(found[month].lower()) + 1, int(found[day])) - _YEAR).days)
    return None


def _moment(text: str, time: str) -> float | None:
    """Return minutes since 2023; a relative time counts Monday-aligned weeks from ``time``."""
    hour = re.search(r"\bat (\d{1,2}):00", text)
    relative = re.search(r"(\w+) of (the week after next|next week)", text)
    if hour is None:
        return None
    if relative is not None and relative[1].lower() in _DAYS:
        if not time:
            return None
        said = datetime.fromisoformat(time).replace(hour=0, minute=0)
        monday = said - timedelta(days=said.weekday())
        day = monday + timedelta(weeks=1 + (relative[2] != "next week"), days=_DAYS.index(relative[1].lower()))
    elif found := re.search(r"(\d{4})-(\d\d)-(\d\d)", text):
        day = datetime(int(found[1]), int(found[2]), int(found[3]))
    elif (found := re.search(r"(\d{1,2}) ([A-Z][a-z]+) (\d{4})", text)) and found[2].lower() in _MONTHS:
        day = datetime(int(found[3]), _MONTHS.index(found[2].lower()) + 1, int(found[1]))
    else:
        return None
    return (day - _YEAR).total_seconds() / 60 + 60 * int(hour[1])
