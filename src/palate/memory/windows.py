"""The plainest memories: all of it, the last of it, none of it, and two yardsticks."""

from __future__ import annotations

from collections.abc import Iterable

from palate.memory.contract import Evidence, Message
from palate.memory.logged import LoggedMemory, in_order
from palate.registry import register

__all__ = ["FullMemory", "NoMemory", "NoiseMemory", "OracleMemory", "RecentMemory"]

SOURCE = "MemSim, arXiv 2409.20163"


@register("memory", "full", source=SOURCE)
class FullMemory(LoggedMemory):
    """Everything that was said, in order, whatever ``k`` is: the ceiling for a patient reader."""

    order = "time"

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        return in_order(self.log.latest(user))


@register("memory", "recent", source=SOURCE)
class RecentMemory(LoggedMemory):
    """The last ``k`` messages, oldest first."""

    order = "time"

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        return in_order(self.log.latest(user, k))


@register("memory", "none", source=SOURCE)
class NoMemory(LoggedMemory):
    """Nothing is recalled: what a reader gets right without any memory."""

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        return []


class _Told(LoggedMemory):
    """A yardstick that is told which messages hold the answer."""

    sees_gold = True
    order = "time"

    def _prepare(self) -> None:
        self._evidence: dict[str, set[str]] = {}

    def reveal(self, evidence: Iterable[str], *, user: str = "") -> None:
        """Take note of the evidence of the next question."""
        self._evidence[user] = set(evidence)

    def _parts(self, user: str) -> tuple[list[Message], list[Message]]:
        wanted = self._evidence.get(user, set())
        whole = self.log.latest(user)
        return [m for m in whole if m.id in wanted], [m for m in whole if m.id not in wanted]


@register("memory", "oracle", source=SOURCE)
class OracleMemory(_Told):
    """Exactly the evidence: the upper bound of any memory, and the measure of a reader."""

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        return in_order(self._parts(user)[0])


@register("memory", "noise", source=SOURCE)
class NoiseMemory(_Told):
    """Everything but the evidence, at most the last ``k``: the lower bound."""

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        return in_order(self._parts(user)[1][-k:])
