"""Memories of other libraries behind our contract: the log is ours, the index is theirs.

The library's index is filled again from the log when a folder is opened, so that both can never disagree. A message
without words is kept in the log only: the libraries refuse empty texts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from palate.memory.contract import Evidence, FloatMatrix, MemoryConfig, Message, TextEncoder
from palate.memory.encoding import CachedEncoder, hashed_words
from palate.memory.logged import LoggedMemory, top

__all__ = ["OutsideConfig", "OutsideMemory"]


class OutsideConfig(MemoryConfig):
    """Settings of a memory of another library.

    Attributes:
        encoder: ``words`` hashes words; ``minilm`` is a sentence encoder for English and needs the extra ``text``.
    """

    encoder: Literal["words", "minilm"] = "words"


class OutsideMemory(LoggedMemory):
    """A memory whose index is another library's; a subclass fills, empties and asks it, one user at a time."""

    Config: ClassVar[type[OutsideConfig]] = OutsideConfig

    def __init__(
        self,
        config: MemoryConfig | None = None,
        *,
        folder: str | Path | None = None,
        encoder: TextEncoder | None = None,
    ) -> None:
        known = config if isinstance(config, OutsideConfig) else self.Config()
        if encoder is None:
            encoder = _encoder(known.encoder)
        self.encoder = encoder if isinstance(encoder, CachedEncoder) else CachedEncoder(encoder)
        self._theirs: dict[int, Any] = {}
        super().__init__(known, folder=folder)

    def vector(self, text: str) -> FloatMatrix:
        """Return the vector ``[D]`` of a text."""
        row: FloatMatrix = self.encoder([text])[0]
        return row

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Return vectors as plain lists."""
        found: list[list[float]] = self.encoder(list(texts)).tolist()
        return found

    def _index(self, number: int, message: Message) -> None:
        if message.text.strip():
            self._theirs[number] = self._put(number, message)

    def _forget(self, number: int, message: Message) -> None:
        if number in self._theirs:
            self._take(self._theirs.pop(number), message)

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        if not query.strip():
            return []
        return top(self._find(query, k, user), k, self.log)

    @abstractmethod
    def _put(self, number: int, message: Message) -> Any:
        """Put a message into their index and return their name of it."""

    @abstractmethod
    def _take(self, name: Any, message: Message) -> None:
        """Take a message out of their index."""

    @abstractmethod
    def _find(self, query: str, k: int, user: str) -> dict[int, float]:
        """Return at most ``k`` message numbers with their scores."""


def _encoder(name: str) -> TextEncoder:
    if name == "words":
        return hashed_words
    from palate.represent.sentences import SentenceEncoder

    return SentenceEncoder()
