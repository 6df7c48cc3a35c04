"""What memories with a log share: idempotent adding, deleting, reopening; each adds an index of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from palate.errors import ConfigError
from palate.memory.contract import Evidence, Memory, MemoryConfig, Message
from palate.memory.message_log import MessageLog

__all__ = ["LoggedMemory", "check_k", "in_order", "top"]


class LoggedMemory(Memory):
    """A memory over a durable log.

    A subclass overrides ``_index`` and ``_forget``, which are told of every message and again of all of them when a
    folder is opened, and ``_search``.
    """

    def __init__(self, config: MemoryConfig | None = None, *, folder: str | Path | None = None) -> None:
        super().__init__(config, folder=folder)
        self.log = MessageLog(self.folder)
        self._prepare()
        self._index_all(list(self.log.all()))

    def add(self, message: Message) -> None:
        """Store a message."""
        number = self.log.append(message)
        if number is not None:
            self._index(number, message)

    def extend(self, messages: Iterable[Message]) -> None:
        """Store many messages in one transaction."""
        self._index_all(list(self.log.append_all(messages)))

    def recall(self, query: str, k: int = 5, *, user: str = "", time: str = "") -> list[Evidence]:
        """Return at most ``k`` messages that bear on ``query``."""
        check_k(k)
        return self._search(query, k, user, time)

    def delete(self, id: str, *, user: str = "") -> bool:
        """Forget a message."""
        removed = self.log.remove(id, user)
        if removed is None:
            return False
        self._forget(*removed)
        return True

    def __len__(self) -> int:
        return len(self.log)

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def _prepare(self) -> None:
        """Make empty indexes, before any message is indexed."""

    def _index_all(self, messages: list[tuple[int, Message]]) -> None:
        """Take new messages into the index, in order."""
        for number, message in messages:
            self._index(number, message)

    def _index(self, number: int, message: Message) -> None:
        """Take a new message into the index."""

    def _forget(self, number: int, message: Message) -> None:
        """Take a message out of the index."""

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        """Return at most ``k`` messages; by default the latest."""
        return in_order(self.log.latest(user, k))


def check_k(k: int) -> None:
    """Raise :class:`ConfigError` unless ``k`` is at least 1."""
    if k < 1:
        raise ConfigError(f"k = {k} is not valid: at least 1 is expected.")


def in_order(messages: list[Message]) -> list[Evidence]:
    """Return messages as evidence with scores that fall from the newest to the oldest."""
    count = len(messages)
    return [Evidence(m.id, m.text, (at + 1) / count, m.time) for at, m in enumerate(messages)]


def top(scores: dict[int, float], k: int, log: MessageLog) -> list[Evidence]:
    """Return the ``k`` best of scores by message number; of equal ones the older message comes first."""
    best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
    messages = log.get_all([number for number, _ in best])
    return [Evidence(m.id, m.text, score, m.time) for m, (_, score) in zip(messages, best, strict=True)]
