"""Times of messages, and times that messages speak of.

Weeks start on Monday. A relative time is resolved against the time of the *message*, never of the question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

__all__ = ["HOURS", "START", "iso", "isos", "message_times", "resolve", "weeks_between"]

START = datetime(2024, 4, 1, 8, 0)
HOURS = (9, 14, 19)
_DAY = 1440
_MINUTES = tuple(f"T{minute // 60:02d}:{minute % 60:02d}" for minute in range(_DAY))


def _gap_table(size: int = 4096) -> list[int]:
    """Return ``size`` quantiles of ``clip(floor(N(10, 5)) + 1, 1, 23)`` hours, in minutes."""
    edges = [0.5 * (1 + math.erf((hours - 10) / (5 * math.sqrt(2)))) for hours in range(1, 23)]
    table, hours = [], 1
    for place in range(size):
        while hours <= 22 and (place + 0.5) / size > edges[hours - 1]:
            hours += 1
        table.append(60 * hours)
    return table


_GAPS = _gap_table()
_dates: dict[int, str] = {}


def message_times(count: int, draw: Callable[[], float]) -> list[int]:
    """Return increasing times of ``count`` messages, in minutes since midnight of the first day.

    The clock moves by ``floor(N(10, 5)) + 1`` hours, at least 1 and at most 23, and some minutes; what would fall
    between 22:00 and 07:00 is said in the hour after 07:00.

    Args:
        count: Number of messages.
        draw: Returns uniform numbers in [0, 1).
    """
    now, times, gaps, day = 8 * 60, [], _GAPS, _DAY
    for _ in range(count):
        times.append(now)
        jitter = int(draw() * 60)
        now += gaps[int(draw() * 4096)] + jitter
        minute = now % day
        if minute >= 1320:
            now += day - minute + 420 + jitter
        elif minute < 420:
            now += 420 - minute + jitter
    return times


def iso(minutes: int) -> str:
    """Return a time in minutes since midnight of the first day as ISO 8601.

    Example:
        >>> iso(480)
        '2024-04-01T08:00'
    """
    day, minute = divmod(minutes, _DAY)
    return (_dates.get(day) or _date(day)) + _MINUTES[minute]


def isos(times: Iterable[int]) -> list[str]:
    """Return many times as ISO 8601; the same as :func:`iso` of each."""
    dates, minutes, day_long = _dates, _MINUTES, _DAY
    return [(dates.get(at // day_long) or _date(at // day_long)) + minutes[at % day_long] for at in times]


def _date(day: int) -> str:
    date = _dates[day] = (START + timedelta(days=day)).date().isoformat()
    return date


def resolve(code: int, said: str) -> str:
    """Return the absolute time that a code of the network's ``moment`` means in a message said at ``said``.

    Codes below 42 are ``21 (weeks - 1) + 3 weekday + hour``; the others count days from 30 on.

    Example:
        >>> resolve(2, "2024-04-05T18:37")  # Friday; Monday of next week at 19:00
        '2024-04-08T19:00'
    """
    day = datetime.fromisoformat(said).replace(hour=0, minute=0, second=0)
    if code < 42:
        weeks, rest = divmod(code, 21)
        weekday, hour = divmod(rest, 3)
        day += timedelta(days=7 * (weeks + 1) + weekday - day.weekday())
    else:
        days, hour = divmod(code - 42, 3)
        day += timedelta(days=30 + days)
    return f"{day:%Y-%m-%d}T{HOURS[hour]:02d}:00"


def weeks_between(said: str, meant: str) -> int:
    """Return how many Monday-aligned weeks lie between two times: 0 is this week, 1 the next.

    Example:
        >>> weeks_between("2024-04-07T23:00", "2024-04-08T09:00")
        1
    """
    first, second = (datetime.fromisoformat(text) for text in (said, meant))
    mondays = [moment.date() - timedelta(days=moment.weekday()) for moment in (first, second)]
    return (mondays[1] - mondays[0]).days // 7
