"""The contract of a memory: what was said goes in, what bears on a question comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from palate.config import ModelConfig

__all__ = ["Evidence", "FloatMatrix", "Memory", "MemoryConfig", "Message", "TextEncoder", "Writer"]

FloatMatrix = np.ndarray[Any, np.dtype[np.float32]]


class Message(NamedTuple):
    """Something that a user said.

    Attributes:
        id: Name of the message, unique within its user.
        text: What was said.
        time: When, as ISO 8601 without a zone; empty when unknown.
        place: Where; empty when unknown.
        user: Who; memories of different users never mix.
    """

    id: str
    text: str
    time: str = ""
    place: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A recalled message: its id, its text, how well it fits (higher is better), and when it was said."""

    id: str
    text: str
    score: float
    time: str = ""


class Writer(Protocol):
    """Anything that continues a prompt: a local language model, an endpoint, or a function in a test."""

    def __call__(self, prompt: str, /) -> str:
        """Return the text that follows ``prompt``."""


class TextEncoder(Protocol):
    """Anything that turns texts into vectors of one width."""

    def __call__(self, texts: Sequence[str], /) -> FloatMatrix:
        """Return float32 ``[N, D]``."""


class MemoryConfig(ModelConfig):
    """Settings that every memory has; most have no others."""


class Memory(ABC):
    """A store of messages that answers "what bears on this?".

    Built from its config and, for one that lasts, a folder: a memory opened again on the same folder recalls the same.
    Adding is idempotent: the same id and text change nothing; the same id with another text is an error.

    Attributes:
        sees_gold: Whether it is a yardstick that must be told the evidence (:meth:`reveal`), not a mechanism.
        order: ``score`` if :meth:`recall` returns the best first, ``time`` if it returns messages as they were said.
    """

    Config: ClassVar[type[MemoryConfig]] = MemoryConfig
    sees_gold: ClassVar[bool] = False
    order: ClassVar[str] = "score"

    def __init__(self, config: MemoryConfig | None = None, *, folder: str | Path | None = None) -> None:
        self.config = self.Config() if config is None else config
        self.folder = None if folder is None else Path(folder)

    @abstractmethod
    def add(self, message: Message) -> None:
        """Store a message; when this returns, it survives the death of the process (for a memory with a folder).

        Raises:
            DataError: If the user has another message of this id.
        """

    def extend(self, messages: Iterable[Message]) -> None:
        """Store many messages; the same as adding them one by one, usually quicker."""
        for message in messages:
            self.add(message)

    @abstractmethod
    def recall(self, query: str, k: int = 5, *, user: str = "", time: str = "") -> list[Evidence]:
        """Return at most ``k`` messages of ``user`` that bear on ``query``, each once.

        Args:
            query: A question.
            k: How many at most, at least 1.
            user: Whose memory is asked.
            time: When the question is asked, ISO 8601; memories that fade need it.
        """

    @abstractmethod
    def delete(self, id: str, *, user: str = "") -> bool:
        """Forget a message and all that was made of it; say whether it was there."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of messages held, of all users."""

    def reveal(self, evidence: Iterable[str], *, user: str = "") -> None:  # noqa: B027 - mechanisms are not told
        """Tell a yardstick which messages hold the answer of the next question; a mechanism ignores it."""

    def close(self) -> None:  # noqa: B027 - most have nothing to leave behind
        """Release files; the memory must not be used after."""
