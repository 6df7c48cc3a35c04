r"""BM25 over an inverted index that grows message by message.

.. math::
    s(q, d) = \sum_{t \in q} \ln\Big(1 + \frac{N - n_t + .5}{n_t + .5}\Big)
        \frac{f_{td}\,(k_1 + 1)}{f_{td} + k_1 (1 - b + b\,|d| / \overline{|d|})}
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from pydantic import Field

from palate.errors import MissingExtraError
from palate.memory.contract import Evidence, MemoryConfig, Message
from palate.memory.logged import LoggedMemory, top
from palate.memory.words import terms
from palate.registry import register

__all__ = ["BM25Config", "BM25Index", "BM25Memory", "BM25sMemory"]


class BM25Config(MemoryConfig):
    """Settings of BM25.

    Attributes:
        k1: How quickly repeated words stop counting.
        b: How much long messages are held back, in [0, 1].
        stem: Whether word endings are cut.
    """

    k1: float = Field(1.5, ge=0)
    b: float = Field(0.75, ge=0, le=1)
    stem: bool = True


class BM25Index:
    """Postings of one user.

    Example:
        >>> index = BM25Index(BM25Config())
        >>> index.add(0, "my boss is old")
        >>> index.add(1, "my aunt is tall")
        >>> {number: round(score, 6) for number, score in index.scores("boss").items()}
        {0: 0.693147}
    """

    def __init__(self, config: BM25Config) -> None:
        self.config = config
        self.postings: dict[str, dict[int, int]] = defaultdict(dict)
        self.lengths: dict[int, int] = {}
        self.total = 0

    def add(self, number: int, text: str) -> None:
        """Take in a message; the cost does not depend on how many there are."""
        counts = Counter(terms(text, stem=self.config.stem))
        for term, count in counts.items():
            self.postings[term][number] = count
        self.lengths[number] = counts.total()
        self.total += counts.total()

    def remove(self, number: int, text: str) -> None:
        """Take out a message."""
        for term in set(terms(text, stem=self.config.stem)):
            self.postings[term].pop(number, None)
            if not self.postings[term]:
                del self.postings[term]
        self.total -= self.lengths.pop(number)

    def scores(self, query: str) -> dict[int, float]:
        """Return the scores above zero."""
        found: dict[int, float] = defaultdict(float)
        count, k1, b = len(self.lengths), self.config.k1, self.config.b
        if not count:
            return {}
        mean = self.total / count or 1.0
        for term in dict.fromkeys(terms(query, stem=self.config.stem)):
            posting = self.postings.get(term)
            if not posting:
                continue
            idf = math.log(1 + (count - len(posting) + 0.5) / (len(posting) + 0.5))
            for number, times in posting.items():
                held = k1 * (1 - b + b * self.lengths[number] / mean)
                found[number] += idf * times * (k1 + 1) / (times + held)
        return dict(found)


@register("memory", "bm25", source="Robertson and Zaragoza, 2009")
class BM25Memory(LoggedMemory):
    """The ``k`` messages that share the rarest words with the query."""

    Config = BM25Config
    config: BM25Config

    def _prepare(self) -> None:
        self._indexes: dict[str, BM25Index] = {}

    def _index(self, number: int, message: Message) -> None:
        self._indexes.setdefault(message.user, BM25Index(self.config)).add(number, message.text)

    def _forget(self, number: int, message: Message) -> None:
        self._indexes[message.user].remove(number, message.text)

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        index = self._indexes.get(user)
        return [] if index is None else top(index.scores(query), k, self.log)


@register("memory", "bm25s", source="Lù, arXiv 2407.03618", extra="memory")
class BM25sMemory(LoggedMemory):
    """BM25 by the bm25s library: quicker for many questions on a finished log, rebuilt after every change."""

    Config = BM25Config
    config: BM25Config

    def _prepare(self) -> None:
        try:
            import bm25s
        except ModuleNotFoundError:
            raise MissingExtraError.needs("bm25s", "memory", "The memory bm25s") from None
        self._library = bm25s
        self._texts: dict[str, dict[int, str]] = {}
        self._built: dict[str, object] = {}

    def _index(self, number: int, message: Message) -> None:
        self._texts.setdefault(message.user, {})[number] = message.text
        self._built.pop(message.user, None)

    def _forget(self, number: int, message: Message) -> None:
        del self._texts[message.user][number]
        self._built.pop(message.user, None)

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        texts = self._texts.get(user)
        asked = list(dict.fromkeys(terms(query, stem=self.config.stem)))
        if not texts or not asked:
            return []
        if user not in self._built:
            index = self._library.BM25(k1=self.config.k1, b=self.config.b, method="lucene")
            index.index([terms(t, stem=self.config.stem) or [""] for t in texts.values()], show_progress=False)
            self._built[user] = index
        scores = self._built[user].get_scores(asked)  # type: ignore[attr-defined]
        # The library leaves out the constant factor k1 + 1.
        known = {number: float(score) * (self.config.k1 + 1) for number, score in zip(texts, scores, strict=True)}
        return top({number: score for number, score in known.items() if score > 0}, k, self.log)
