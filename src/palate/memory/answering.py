"""The contract of a reader: from recalled messages, a question and four options to one letter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from palate.config import ModelConfig
from palate.memory.contract import Evidence

__all__ = ["Reader", "ReaderConfig", "Reply"]


class ReaderConfig(ModelConfig):
    """Settings that every reader has; most have no others."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reader said.

    Attributes:
        choice: Place of the chosen option, or ``None`` when it abstains.
        parsed: Whether a choice could be read from the reply; ``False`` counts as unparsed.
        failed: Why there was no reply at all; empty when there was one.
        prompt_length: Characters that the reader was given.
    """

    choice: int | None
    parsed: bool = True
    failed: str = ""
    prompt_length: int = 0


class Reader(ABC):
    """Answers from recalled messages; it sees their text and time, the question, its time and the options, no more.

    Attributes:
        model: Name of what answers; results of different models are not compared.
        prompt: The prompt that it fills in; empty for readers that use none.
    """

    Config: ClassVar[type[ReaderConfig]] = ReaderConfig
    model: str = ""
    prompt: str = ""

    def __init__(self, config: ReaderConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def answer(self, question: str, options: Sequence[str], recalled: Sequence[Evidence], *, time: str = "") -> Reply:
        """Return the choice among ``options``."""
