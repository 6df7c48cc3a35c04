"""Vectors kept on disk by the hash of their text, so that no text is encoded twice, not even in another process."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palate.errors import DataError

__all__ = ["StoredVectors"]

FloatMatrix = np.ndarray[Any, np.dtype[np.float32]]
_TABLE = "CREATE TABLE IF NOT EXISTS vectors (hash BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"


class StoredVectors:
    """An encoder that looks in a file first; what it returns is the same to the bit, found or made.

    Args:
        encoder: Makes the vectors of texts that are not there, float32 ``[N, D]``.
        path: The file; SQLite, safe to kill at any time and to share between processes.
        name: Name of the encoder; part of the hash, so that two encoders can share a file.
        batch: Texts that are encoded and stored at a time; a killed run loses no more.

    Raises:
        DataError: If the file is not one of these, or the encoder returns something else than finite ``[N, D]``.
    """

    def __init__(
        self, encoder: Callable[[Sequence[str]], FloatMatrix], path: str | Path, *, name: str, batch: int = 1024
    ) -> None:
        self.encoder, self.name, self.batch, self.made = encoder, name, batch, 0
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no store of vectors: {error}.", remedy="Choose another file.") from None

    def __call__(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 ``[N, D]``."""
        keys = {text: self._key(text) for text in texts}
        known = self._read(keys.values())
        missing = [text for text, key in keys.items() if key not in known]
        for start in range(0, len(missing), self.batch):
            part = missing[start : start + self.batch]
            rows = np.asarray(self.encoder(part), dtype=np.float32)
            if rows.ndim != 2 or len(rows) != len(part) or not np.isfinite(rows).all():
                raise DataError(f"The encoder returned {rows.shape} for {len(part)} texts, or values not finite.")
            fresh = {keys[text]: row for text, row in zip(part, rows, strict=True)}
            self._write(fresh)
            known.update(fresh)
            self.made += len(part)
        if not keys:
            return np.zeros((0, 0), dtype=np.float32)
        return np.stack([known[keys[text]] for text in texts])

    def forget(self, texts: Iterable[str]) -> None:
        """Take the vectors of texts out of the file."""
        self._connection.executemany("DELETE FROM vectors WHERE hash = ?", [(self._key(text),) for text in texts])

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self.name}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, FloatMatrix]:
        wanted, found = list(dict.fromkeys(keys)), {}
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"SELECT hash, vector FROM vectors WHERE hash IN ({marks})", part)
            found.update({key: np.frombuffer(blob, dtype="<f4") for key, blob in rows})
        return found

    def _write(self, rows: dict[bytes, FloatMatrix]) -> None:
        self._connection.execute("BEGIN")
        entries = [(key, row.astype("<f4").tobytes()) for key, row in rows.items()]
        self._connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", entries)
        self._connection.execute("COMMIT")
