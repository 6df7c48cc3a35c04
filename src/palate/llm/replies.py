"""Replies of a language model kept on disk, so that the same question is paid for once."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from palate.errors import DataError
from palate.llm.contract import Completion, LanguageModel

__all__ = ["CachedModel"]

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    hash BLOB PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, written_tokens INTEGER NOT NULL)
WITHOUT ROWID
"""


class CachedModel(LanguageModel):
    """A model that looks in a file first; the key is the model's name, how it writes, and the prompt.

    Failures are not kept. The file is safe to kill at any time and to share between processes; it holds replies in
    plain text, but no prompts.

    Args:
        model: The model.
        path: The file (SQLite).

    Raises:
        DataError: If the file is not one of these.
    """

    def __init__(self, model: LanguageModel, path: str | Path) -> None:
        super().__init__(model.writing)
        self.model, self.name, self.path = model, model.name, Path(path)
        self.hits = self.misses = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no store of replies: {error}.", remedy="Choose another file.") from None

    def write(self, prompt: str) -> Completion:
        """Return what follows ``prompt``."""
        document = json.dumps([self.name, self.writing.model_dump(mode="json"), prompt])
        key = hashlib.sha256(document.encode()).digest()
        asked = "SELECT text, prompt_tokens, written_tokens FROM replies WHERE hash = ?"
        row = self._connection.execute(asked, (key,)).fetchone()
        if row is not None:
            self.hits += 1
            return Completion(row[0], row[1], row[2], cached=True)
        self.misses += 1
        made = self.model.write(prompt)
        entry = (key, made.text, made.prompt_tokens, made.written_tokens)
        self._connection.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", entry)
        return made

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
