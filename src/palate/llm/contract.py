"""The contract of a language model: a prompt goes in, text and what it cost come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pydantic import Field

from palate.config import Config

__all__ = ["Completion", "LanguageModel", "WriteConfig"]


class WriteConfig(Config):
    """How text is written; part of the key under which replies are kept.

    Attributes:
        max_tokens: At most so many tokens.
        temperature: 0 for the likeliest token each time.
        seed: Seed of the draw, where the temperature is above 0.
        system: What is said before the prompt; empty for nothing.
    """

    max_tokens: int = Field(64, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = Field(0, ge=0)
    system: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: The text.
        prompt_tokens: Tokens that it read.
        written_tokens: Tokens that it wrote.
        cached: Whether the text was kept from before: nothing was read or written now.
    """

    text: str
    prompt_tokens: int = 0
    written_tokens: int = 0
    cached: bool = False


class LanguageModel(ABC):
    """Anything that continues a prompt; calling it returns the text alone.

    Attributes:
        name: Name and version; results of models with different names are not compared.
    """

    name: str

    def __init__(self, writing: WriteConfig | None = None) -> None:
        self.writing = WriteConfig() if writing is None else writing

    @abstractmethod
    def write(self, prompt: str) -> Completion:
        """Return what follows ``prompt`` as a user's turn.

        Raises:
            ServiceError: If no reply can be had.
        """

    def __call__(self, prompt: str) -> str:
        """Return the text that follows ``prompt``."""
        return self.write(prompt).text
