"""A battery: named laws that every component of a kind must keep, all of them run, all failures told together.

A law is a function of the subject. It passes by returning, fails by raising, and may say that it does not apply
by raising :class:`NotApplicable` with a reason a reader would accept. The report counts each, so that a component
cannot pass by skipping silently.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Battery", "BatteryReport", "NotApplicable", "refuses"]

S = TypeVar("S")


class NotApplicable(Exception):  # noqa: N818 - an answer, not an error
    """A law does not apply to this component; the argument says why."""


@dataclass
class BatteryReport:
    """What ran and how it ended.

    Attributes:
        subject: Name of the component.
        passed: Names of the laws that hold.
        failed: Law -> what went wrong.
        not_applicable: Law -> why it does not apply.
    """

    subject: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)

    @property
    def ran(self) -> int:
        """Number of laws that ran to an answer."""
        return len(self.passed) + len(self.failed)

    def __str__(self) -> str:
        total = self.ran + len(self.not_applicable)
        lines = [f"{self.subject}: {len(self.passed)} of {total} laws hold, {len(self.failed)} broken"]
        lines += [f"  broken: {law}\n    {reason}" for law, reason in self.failed.items()]
        lines += [f"  not applicable: {law} ({reason})" for law, reason in self.not_applicable.items()]
        return "\n".join(lines)


class Battery(Generic[S]):
    """A list of laws for one kind of component.

    Example:
        >>> numbers = Battery[int]("number")
        >>> @numbers.law
        ... def is_positive(subject):
        ...     assert subject > 0
        >>> numbers.run(3, "three").passed
        ['is positive']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.laws: dict[str, Callable[[S], None]] = {}

    def law(self, function: Callable[[S], None]) -> Callable[[S], None]:
        """Add a law; its name is the function's, in words."""
        self.laws[function.__name__.replace("_", " ")] = function
        return function

    def run(self, subject: S, name: str) -> BatteryReport:
        """Run every law and return the report."""
        report = BatteryReport(name)
        for law, check in self.laws.items():
            try:
                check(subject)
            except NotApplicable as reason:
                report.not_applicable[law] = str(reason)
            except Exception as error:
                report.failed[law] = _explain(error)
            else:
                report.passed.append(law)
        return report

    def require(self, subject: S, name: str) -> BatteryReport:
        """Run every law and raise ``AssertionError`` with all failures if any is broken, or if none ran."""
        report = self.run(subject, name)
        if report.failed or report.ran == 0:
            raise AssertionError(str(report))
        return report


def refuses(error: type[Exception], mention: str, action: Callable[[], object]) -> None:
    """Assert that ``action`` raises ``error`` and that its message mentions ``mention``."""
    message = None
    try:
        action()
    except error as raised:
        message = str(raised)
    assert message is not None, f"no {error.__name__} was raised"
    assert mention in message, f"the message does not mention {mention!r}: {message}"


def _explain(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error) or (place.line or "")
    return f"{type(error).__name__} at {place.name}, line {place.lineno}: {text}"
