"""A reader that asks a language model: a local one, an endpoint, or any function from prompt to text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from palate.errors import ConfigError
from palate.memory.answering import Reader, ReaderConfig, Reply
from palate.memory.contract import Evidence, Writer
from palate.memory.trajectory import LETTERS
from palate.registry import register

__all__ = ["ANSWER_PROMPT", "WriterReader", "letter_in"]

ANSWER_PROMPT = """These are messages that a user sent before:
{messages}

It is now {time}. The user asks: {question}
A. {a}
B. {b}
C. {c}
D. {d}

Answer with one letter, A, B, C or D, and nothing else.
Answer:"""

_LETTER = re.compile(r"(?<![A-Za-z])([ABCD])(?![A-Za-z])")


def letter_in(reply: str) -> int | None:
    """Return the place of the first letter A to D that stands alone in a reply.

    Example:
        >>> letter_in("The answer is C."), letter_in("Cannot tell")
        (2, None)
    """
    found = _LETTER.search(reply)
    return LETTERS.index(found[1]) if found else None


@register("memory-reader", "writer")
class WriterReader(Reader):
    """Fills a prompt with the recalled messages and reads one letter from what the writer returns.

    A writer that raises counts as failed, a reply without a letter as unparsed; both are wrong answers. What a model
    writes is never run.

    Args:
        config: Settings.
        writer: The model.
        model: Its name and version, kept with every result.
    """

    prompt = ANSWER_PROMPT

    def __init__(self, config: ReaderConfig | None = None, *, writer: Writer | None = None, model: str = "") -> None:
        super().__init__(config)
        if writer is None or not model:
            raise ConfigError(
                "The reader writer needs a writer and the name of its model.",
                remedy='Build it in Python: WriterReader(writer=..., model="name of the model").',
            )
        self.writer, self.model = writer, model

    def answer(self, question: str, options: Sequence[str], recalled: Sequence[Evidence], *, time: str = "") -> Reply:
        """Return the letter that the model answers."""
        lines = "\n".join(f"[{evidence.time}] {evidence.text}" for evidence in recalled) or "(none)"
        a, b, c, d = options
        prompt = self.prompt.format(messages=lines, time=time or "unknown", question=question, a=a, b=b, c=c, d=d)
        try:
            reply = self.writer(prompt)
        except Exception as error:  # any endpoint may fail in any way; the count of failures is part of the result
            return Reply(None, failed=f"{type(error).__name__}: {error}", prompt_length=len(prompt))
        choice = letter_in(reply)
        return Reply(choice, parsed=choice is not None, prompt_length=len(prompt))
