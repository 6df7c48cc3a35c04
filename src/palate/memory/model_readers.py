"""Readers that ask a language model of the room ``llm``: weights in this process, or a server."""

from __future__ import annotations

from typing import ClassVar

from palate.llm.opening import open_model
from palate.memory.answering import ReaderConfig
from palate.memory.writer_reader import WriterReader
from palate.registry import register

__all__ = ["EndpointReader", "EndpointReaderConfig", "LocalReader", "LocalReaderConfig"]


class LocalReaderConfig(ReaderConfig):
    """Settings of the reader.

    Attributes:
        model: ``smollm2``, a folder of transformers, or a ``.gguf`` file.
        max_tokens: At most so many tokens per answer.
        replies: File in which replies are kept; empty for none.
    """

    model: str = "smollm2"
    max_tokens: int = 8
    replies: str = ""


class EndpointReaderConfig(ReaderConfig):
    """Settings of the reader.

    Attributes:
        url: Base address of an OpenAI-compatible server.
        model: Name of the model there.
        key_variable: Environment variable that holds the key.
        max_tokens: At most so many tokens per answer.
        timeout: Seconds per try.
        attempts: Tries per question.
        replies: File in which replies are kept; empty for none.
    """

    url: str = "http://127.0.0.1:8080/v1"
    model: str = "default"
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 8
    timeout: float = 60.0
    attempts: int = 4
    replies: str = ""


@register("memory-reader", "local", extra="llm")
class LocalReader(WriterReader):
    """Asks a language model in this process for one letter; a prompt that is too long for it counts as failed."""

    Config: ClassVar[type[LocalReaderConfig]] = LocalReaderConfig

    def __init__(self, config: ReaderConfig | None = None) -> None:
        known = config if isinstance(config, LocalReaderConfig) else self.Config()
        writer = open_model(
            "local", replies=known.replies or None, model=known.model, max_tokens=known.max_tokens, temperature=0.0
        )
        super().__init__(known, writer=writer, model=writer.name)


@register("memory-reader", "endpoint")
class EndpointReader(WriterReader):
    """Asks a server for one letter; tries again when it is busy, and counts what failed for good."""

    Config: ClassVar[type[EndpointReaderConfig]] = EndpointReaderConfig

    def __init__(self, config: ReaderConfig | None = None) -> None:
        known = config if isinstance(config, EndpointReaderConfig) else self.Config()
        settings = known.model_dump(exclude={"replies"})
        writer = open_model("endpoint", replies=known.replies or None, temperature=0.0, **settings)
        super().__init__(known, writer=writer, model=writer.name)
