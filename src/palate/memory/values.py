"""Values in words: 172 is "172 cm" or "1.72 m", 503 is "3 May" or "May 3rd"; and back."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Protocol

from palate.memory.clock import HOURS, resolve

__all__ = ["display", "read_value"]

Value = str | int
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEKDAYS_ZH = "一二三四五六日"
WEEKS = ("next week", "the week after next")
WEEKS_ZH = ("下周", "下下周")


class _Units(Protocol):
    @property
    def units(self) -> dict[str, tuple[str, ...]]: ...


class Words(Protocol):
    """What is needed of a grammar."""

    @property
    def language(self) -> str: ...
    @property
    def config(self) -> _Units: ...
    @property
    def words(self) -> dict[str, str]: ...
    def text_of(self, value: str) -> str: ...


def display(words: Words, attribute: str, value: Value, form: int, *, code: int | None = None) -> str:
    """Return a value in words.

    Args:
        words: The grammar.
        attribute: Whose value it is.
        value: The value; times are ISO 8601, birthdays ``100 month + day``, durations days.
        form: 0 is the plain form of options, 1 another.
        code: For a time: the network's code; a relative one is written relatively.
    """
    english = words.language == "english"
    if attribute == "birthday":
        month, day = divmod(int(value), 100)
        if not english:
            return f"{month}月{day}日" if form == 0 else f"{month}月{day}号"
        return f"{day} {MONTHS[month - 1]}" if form == 0 else f"{MONTHS[month - 1]} {_ordinal(day)}"
    if attribute == "time":
        return _time(str(value), form, code, english)
    forms = words.config.units.get(attribute)
    if forms is None:
        return words.text_of(str(value))
    number = int(value)
    if attribute == "duration" and number % 7:
        form = 0
    if attribute == "duration" and form and number == 7 and english:
        return "1 week"
    if attribute == "duration" and number == 1 and english:
        return "1 day"
    return forms[form].format(number, m=f"{number / 100:.2f}", w=number // 7)


def _time(value: str, form: int, code: int | None, english: bool) -> str:
    if code is not None and code < 42:
        weeks, rest = divmod(code, 21)
        weekday, hour = divmod(rest, 3)
        if english:
            return f"{WEEKDAYS[weekday]} of {WEEKS[weeks]} at {HOURS[hour]}:00"
        return f"{WEEKS_ZH[weeks]}{WEEKDAYS_ZH[weekday]}{HOURS[hour]}点"
    moment = datetime.fromisoformat(value)
    if not english:
        return f"{moment.year}年{moment.month}月{moment.day}日{moment.hour}点"
    if form:
        return f"{moment:%Y-%m-%d} at {moment.hour}:00"
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year} at {moment.hour}:00"


def read_value(words: Words, attribute: str, text: str, said: str = "") -> Value | None:
    """Return the value that ``text`` is a form of, or ``None`` when it is none of this attribute."""
    english = words.language == "english"
    if attribute == "birthday":
        return _read_birthday(text, english)
    if attribute == "time":
        return _read_time(text, said, english)
    forms = words.config.units.get(attribute)
    if forms is not None:
        return _read_number(forms, text)
    if attribute in ("phone", "email"):
        pattern = r"[\d-]+" if attribute == "phone" else r"[\w.-]+@[\w.-]+"
        return text.lower() if re.fullmatch(pattern, text) else None
    if attribute == "name":
        return _read_name(words, text)
    folded = text.lower()
    for word in words.words:
        if words.text_of(word).lower() == folded:
            return word
    return None


def _read_name(words: Words, text: str) -> str | None:
    """Return the canonical form of a name that is composed of a given name and a surname."""
    english = {words.text_of(word): word for word in words.words}
    if words.language == "english":
        first, _, last = text.partition(" ")
        return text if first in english and last in english else None
    for cut in range(1, len(text)):
        if text[:cut] in english and text[cut:] in english:
            return f"{english[text[cut:]]} {english[text[:cut]]}"
    return None


def _read_number(forms: tuple[str, ...], text: str) -> int | None:
    slots = {"{0}": r"(?P<n>\d+)", "{m}": r"(?P<m>\d\.\d\d)", "{w}": r"(?P<w>\d+)"}
    for form in dict.fromkeys([*forms, "{w} week", "{0} day"] if "{w} weeks" in forms else forms):
        pattern = re.escape(form)
        for slot, group in slots.items():
            pattern = pattern.replace(re.escape(slot), group)
        found = re.fullmatch(pattern, text)
        if found is not None:
            parts = found.groupdict()
            if parts.get("m"):
                return round(100 * float(parts["m"]))
            return 7 * int(parts["w"]) if parts.get("w") else int(parts["n"])
    return None


def _read_birthday(text: str, english: bool) -> int | None:
    if not english:
        found = re.fullmatch(r"(\d+)月(\d+)[日号]", text)
        return 100 * int(found[1]) + int(found[2]) if found else None
    found = re.fullmatch(r"(\d+) (\w+)", text)
    if found and found[2] in MONTHS:
        return 100 * (MONTHS.index(found[2]) + 1) + int(found[1])
    found = re.fullmatch(r"(\w+) (\d+)(?:st|nd|rd|th)", text)
    return 100 * (MONTHS.index(found[1]) + 1) + int(found[2]) if found and found[1] in MONTHS else None


def _read_time(text: str, said: str, english: bool) -> str | None:
    for code in range(42):
        if _time("", 0, code, english) == text:
            return resolve(code, said)
    if english:
        found = re.fullmatch(r"(\d+) (\w+) (\d{4}) at (\d+):00", text)
        if found and found[2] in MONTHS:
            return f"{found[3]}-{MONTHS.index(found[2]) + 1:02d}-{int(found[1]):02d}T{int(found[4]):02d}:00"
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d) at (\d+):00", text)
        return f"{found[1]}T{int(found[2]):02d}:00" if found else None
    found = re.fullmatch(r"(\d+)年(\d+)月(\d+)日(\d+)点", text)
    if found is None:
        return None
    year, month, day, hour = (int(part) for part in found.groups())
    return f"{year}-{month:02d}-{day:02d}T{hour:02d}:00"


def _ordinal(day: int) -> str:
    if 10 < day < 20:
        return f"{day}th"
    return f"{day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th') }"
