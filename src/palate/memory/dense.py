"""Memories that search by meaning, alone or joined with BM25."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from palate.memory.bm25 import BM25Config, BM25Index
from palate.memory.contract import Evidence, MemoryConfig, Message, TextEncoder
from palate.memory.encoding import CachedEncoder, hashed_words
from palate.memory.logged import LoggedMemory, top
from palate.memory.near_vectors import NearVectors
from palate.memory.vectors import VectorList
from palate.registry import register
from palate.represent.sentences import SentenceEncoder
from palate.represent.stored_vectors import StoredVectors

_BATCH = 4096  # texts encoded at a time

__all__ = ["DenseConfig", "DenseMemory", "HybridConfig", "HybridMemory", "reciprocal_rank_fusion"]


class DenseConfig(MemoryConfig):
    """Settings of a memory with vectors.

    Attributes:
        encoder: ``words`` hashes words and needs nothing; ``minilm`` is a sentence encoder for English and needs the
            extra ``text``. An encoder handed over in Python replaces both.
        index: ``exact`` compares with every vector; ``usearch`` searches a graph of near neighbours and needs the extra
            ``memory``.
    """

    encoder: Literal["words", "minilm"] = "words"
    index: Literal["exact", "usearch"] = "exact"


@cache
def _minilm() -> SentenceEncoder:
    return SentenceEncoder()


@register("memory", "dense", source="MemSim, arXiv 2409.20163 (RetrMem)")
class DenseMemory(LoggedMemory):
    """The ``k`` messages whose vectors have the largest cosine with the query's."""

    Config = DenseConfig
    config: DenseConfig

    def __init__(
        self,
        config: MemoryConfig | None = None,
        *,
        folder: str | Path | None = None,
        encoder: TextEncoder | None = None,
    ) -> None:
        wanted = config if isinstance(config, DenseConfig) else self.Config()
        self._stored: StoredVectors | None = None
        if encoder is None and wanted.encoder == "minilm":
            encoder = minilm = _minilm()
            if folder is not None:
                # A memory opened again reads its vectors instead of making them anew.
                self._stored = StoredVectors(minilm, Path(folder) / "vectors.sqlite", name=minilm.name)
                encoder = self._stored
        known = hashed_words if encoder is None else encoder
        self.encoder = known if isinstance(known, CachedEncoder) else CachedEncoder(known)
        super().__init__(config, folder=folder)

    def close(self) -> None:
        """Close the log and the vectors."""
        super().close()
        if self._stored is not None:
            self._stored.close()

    def _prepare(self) -> None:
        self._vectors: dict[str, VectorList | NearVectors] = {}

    def _index_all(self, messages: list[tuple[int, Message]]) -> None:
        """Encode all texts in a few calls, then index one by one."""
        for start in range(0, len(messages), _BATCH):
            part = messages[start : start + _BATCH]
            self.encoder([message.text for _, message in part])
            super()._index_all(part)

    def _index(self, number: int, message: Message) -> None:
        vectors = self._vectors.get(message.user)
        if vectors is None:
            vectors = self._vectors[message.user] = NearVectors() if self.config.index == "usearch" else VectorList()
        vectors.add(number, self.encoder([message.text])[0])

    def _forget(self, number: int, message: Message) -> None:
        self._vectors[message.user].remove(number)
        if self._stored is not None:
            # Where another message says the same, its vector is made anew when the folder is next opened.
            self._stored.forget([message.text])

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        vectors = self._vectors.get(user)
        return [] if vectors is None else top(vectors.best(self.encoder([query])[0], k), k, self.log)


def reciprocal_rank_fusion(rankings: Iterable[Iterable[int]], constant: float = 60.0) -> dict[int, float]:
    """Return ``sum 1 / (constant + rank)`` over the rankings, ranks from 1.

    Example:
        >>> round(reciprocal_rank_fusion([[7, 8], [9, 8, 7]])[7], 6)
        0.032266
    """
    found: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            found[number] = found.get(number, 0.0) + 1.0 / (constant + rank)
    return found


class HybridConfig(DenseConfig):
    """Settings of the hybrid memory.

    Attributes:
        constant: The constant of reciprocal rank fusion.
        depth: How many messages of each ranking are fused.
    """

    constant: float = Field(60.0, gt=0)
    depth: int = Field(100, ge=1)


@register("memory", "hybrid", source="Cormack, Clarke and Büttcher, SIGIR 2009")
class HybridMemory(DenseMemory):
    """BM25 and vectors, joined by reciprocal rank fusion."""

    Config = HybridConfig
    config: HybridConfig

    def _prepare(self) -> None:
        super()._prepare()
        self._words: dict[str, BM25Index] = {}

    def _index(self, number: int, message: Message) -> None:
        super()._index(number, message)
        self._words.setdefault(message.user, BM25Index(BM25Config())).add(number, message.text)

    def _forget(self, number: int, message: Message) -> None:
        super()._forget(number, message)
        self._words[message.user].remove(number, message.text)

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        vectors, words = self._vectors.get(user), self._words.get(user)
        if vectors is None or words is None:
            return []
        depth = max(k, self.config.depth)
        scored = words.scores(query)
        by_words = sorted(scored, key=lambda number: (-scored[number], number))[:depth]
        by_meaning = list(vectors.best(self.encoder([query])[0], depth))
        return top(reciprocal_rank_fusion([by_words, by_meaning], self.config.constant), k, self.log)
