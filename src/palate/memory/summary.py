"""A memory that writes notes: every few messages a writer sums them up, and questions are answered from the notes."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from palate.memory.bm25 import BM25Config, BM25Index
from palate.memory.contract import Evidence, MemoryConfig, Message, Writer
from palate.memory.extraction import extract
from palate.memory.logged import LoggedMemory, top
from palate.registry import register

__all__ = ["SUMMARY_PROMPT", "SummaryConfig", "SummaryMemory", "statements_only"]

SUMMARY_PROMPT = (
    "Keep the facts of these messages, one per line, in the words of the messages. Skip small talk.\n\n{text}"
)


class SummaryConfig(MemoryConfig):
    """Settings of the memory.

    Attributes:
        window: Messages per note.
    """

    window: int = Field(10, ge=1)


def statements_only(prompt: str) -> str:
    """Write a note without a language model: the lines that state something."""
    lines = prompt.partition("\n\n")[2].splitlines()
    return "\n".join(line for line in lines if extract(line) is not None)


@register("memory", "summary", source="after MemoryBank and Generative Agents")
class SummaryMemory(LoggedMemory):
    """Notes of ``window`` messages each by a writer; recalled are the messages whose words the fitting notes kept.

    Words that a note does not keep are forgotten, which is what summaries cost. The latest messages, not yet in a note,
    are searched as they are. A writer that fails leaves the messages of that note as they are; :attr:`failed` counts
    these.
    """

    Config = SummaryConfig
    config: SummaryConfig

    def __init__(
        self,
        config: MemoryConfig | None = None,
        *,
        folder: str | Path | None = None,
        writer: Writer = statements_only,
    ) -> None:
        self.writer, self.failed = writer, 0
        super().__init__(config, folder=folder)

    def _prepare(self) -> None:
        self._index_of: dict[str, BM25Index] = {}
        self._kept: dict[int, str] = {}
        self._waiting: dict[str, list[tuple[int, str]]] = {}
        # What was noted is stored: a memory opened again asks the writer nothing twice.
        self.log.connection.execute("CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, kept TEXT NOT NULL)")
        self._noted: dict[int, str] = dict(self.log.connection.execute("SELECT number, kept FROM notes"))

    def _index(self, number: int, message: Message) -> None:
        if number in self._noted:
            self._keep(message.user, number, self._noted.pop(number))
            return
        self._keep(message.user, number, message.text)
        waiting = self._waiting.setdefault(message.user, [])
        waiting.append((number, message.text))
        if len(waiting) == self.config.window:
            self._write_note(message.user, waiting)
            self._waiting[message.user] = []

    def _forget(self, number: int, message: Message) -> None:
        self._drop(message.user, number)
        self.log.connection.execute("DELETE FROM notes WHERE number = ?", (number,))
        waiting = self._waiting.get(message.user, [])
        self._waiting[message.user] = [entry for entry in waiting if entry[0] != number]

    def _write_note(self, user: str, messages: list[tuple[int, str]]) -> None:
        prompt = SUMMARY_PROMPT.format(text="\n".join(text for _, text in messages))
        try:
            note = self.writer(prompt)
        except Exception:  # a writer may be any endpoint; what it failed on stays as it was said
            self.failed += 1
            note = "\n".join(text for _, text in messages)
        words = set(re.findall(r"\w+", note.lower()))
        for number, text in messages:
            kept = " ".join(word for word in text.split() if set(re.findall(r"\w+", word.lower())) <= words)
            self._drop(user, number)
            kept = kept if len(kept) > len(text) // 2 else ""
            self._keep(user, number, kept)
            self.log.connection.execute("INSERT INTO notes VALUES (?, ?)", (number, kept))

    def _keep(self, user: str, number: int, text: str) -> None:
        self._kept[number] = text
        self._index_of.setdefault(user, BM25Index(BM25Config())).add(number, text)

    def _drop(self, user: str, number: int) -> None:
        self._index_of[user].remove(number, self._kept.pop(number))

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        index = self._index_of.get(user)
        return [] if index is None else top(index.scores(query), k, self.log)
