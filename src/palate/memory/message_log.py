"""The durable log of messages that the memories share: SQLite, append only, crash-safe, many users in one file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from palate.errors import DataError
from palate.memory.contract import Message

__all__ = ["MessageLog"]

_TABLE = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, user TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL, time TEXT NOT NULL,
    place TEXT NOT NULL, UNIQUE (user, id))
"""


class MessageLog:
    """Messages by user and id, numbered in the order in which they came.

    Args:
        folder: Where ``messages.sqlite`` stands; ``None`` keeps the log in memory.

    Example:
        >>> log = MessageLog(None)
        >>> log.append(Message("a", "hello")), log.append(Message("a", "hello"))
        (1, None)
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        place = ":memory:" if folder is None else folder / "messages.sqlite"
        # Transactions are opened by hand, so that many messages can share one.
        try:
            self.connection = sqlite3.connect(place, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{place} is not a log of messages: {error}.", remedy="Choose another folder.") from None

    def append(self, message: Message) -> int | None:
        """Store a message and return its number, or ``None`` if it was there already.

        Raises:
            DataError: If the user has another message of this id.
        """
        row = (message.user, message.id, message.text, message.time, message.place)
        added = self.connection.execute(
            "INSERT OR IGNORE INTO messages (user, id, text, time, place) VALUES (?, ?, ?, ?, ?)", row
        )
        if added.rowcount:
            return added.lastrowid
        found = self.connection.execute(
            "SELECT text FROM messages WHERE user = ? AND id = ?", (message.user, message.id)
        ).fetchone()
        if found[0] != message.text:
            raise DataError(
                f'User "{message.user}" has another message "{message.id}": {found[0]!r}, not {message.text!r}.',
                remedy="Give the message an id of its own, or delete the other one first.",
            )
        return None

    def append_all(self, messages: Iterable[Message]) -> Iterator[tuple[int, Message]]:
        """Store many messages in one transaction and yield the new ones; nothing is kept if one is refused."""
        added = []
        self.connection.execute("BEGIN")
        try:
            for message in messages:
                number = self.append(message)
                if number is not None:
                    added.append((number, message))
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        yield from added

    def remove(self, id: str, user: str) -> tuple[int, Message] | None:
        """Delete a message and return what it was."""
        row = self.connection.execute(
            "SELECT number, id, text, time, place, user FROM messages WHERE user = ? AND id = ?", (user, id)
        ).fetchone()
        if row is None:
            return None
        self.connection.execute("DELETE FROM messages WHERE number = ?", (row[0],))
        return row[0], Message(*row[1:])

    def all(self) -> Iterator[tuple[int, Message]]:
        """Yield all messages with their numbers, oldest first."""
        rows = self.connection.execute("SELECT number, id, text, time, place, user FROM messages ORDER BY number")
        for row in rows:
            yield row[0], Message(*row[1:])

    def latest(self, user: str, count: int | None = None) -> list[Message]:
        """Return the last ``count`` messages of a user (all of them for ``None``), oldest first."""
        rows = self.connection.execute(
            "SELECT id, text, time, place, user FROM messages WHERE user = ? ORDER BY number DESC LIMIT ?",
            (user, -1 if count is None else count),
        ).fetchall()
        return [Message(*row) for row in reversed(rows)]

    def get_all(self, numbers: Sequence[int]) -> list[Message]:
        """Return the messages of some numbers, in their order."""
        found: dict[int, Message] = {}
        for start in range(0, len(numbers), 500):
            part = numbers[start : start + 500]
            marks = ",".join("?" * len(part))
            asked = f"SELECT number, id, text, time, place, user FROM messages WHERE number IN ({marks})"
            found.update({row[0]: Message(*row[1:]) for row in self.connection.execute(asked, part)})
        return [found[number] for number in numbers]

    def __len__(self) -> int:
        return int(self.connection.execute("SELECT COUNT(*) FROM messages").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
