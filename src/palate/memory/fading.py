r"""Memories that weigh what fits against how fresh and how important it is.

Generative agents score ``cosine + decay^steps + importance / 10``; MemoryBank keeps a message with retention

.. math:: R = \exp\Big(-\frac{\Delta t}{c\,S}\Big),

whose strength ``S`` grows by one with every recall, so that what is used fades more slowly.
"""

from __future__ import annotations

import math
from datetime import datetime

from pydantic import Field

from palate.memory.contract import Evidence, Message
from palate.memory.dense import DenseConfig, DenseMemory
from palate.memory.extraction import extract
from palate.memory.logged import top
from palate.registry import register

__all__ = ["GenerativeAgentsMemory", "MemoryBankConfig", "MemoryBankMemory", "agent_score", "retention"]


def retention(elapsed: float, strength: float, constant: float = 5.0) -> float:
    """Return ``exp(-elapsed / (constant * strength))``.

    Example:
        >>> round(retention(10, 2), 6)
        0.367879
    """
    return math.exp(-elapsed / (constant * strength))


def agent_score(cosine: float, steps: int, importance: float, decay: float = 0.995) -> float:
    """Return ``cosine + decay^steps + importance / 10``.

    Example:
        >>> round(agent_score(0.62, 40, 7), 6)
        2.13832
    """
    return cosine + decay**steps + importance / 10


class MemoryBankConfig(DenseConfig):
    """Settings of the fading memory.

    Attributes:
        constant: Days after which an unused message is down to 1/e.
        floor: Share of the score that never fades.
    """

    constant: float = Field(5.0, gt=0)
    floor: float = Field(0.5, ge=0, le=1)


@register("memory", "memory-bank", source="Zhong et al., arXiv 2305.10250 (precedence of the exponent as in the paper)")
class MemoryBankMemory(DenseMemory):
    """Search by meaning, weighed by an Ebbinghaus curve that every recall flattens.

    The strengths live with the process: a memory opened again starts from strength one.
    """

    Config = MemoryBankConfig
    config: MemoryBankConfig

    def _prepare(self) -> None:
        super()._prepare()
        self._strength: dict[int, float] = {}
        self._said: dict[int, str] = {}

    def _index(self, number: int, message: Message) -> None:
        super()._index(number, message)
        self._strength[number], self._said[number] = 1.0, message.time

    def _forget(self, number: int, message: Message) -> None:
        super()._forget(number, message)
        del self._strength[number], self._said[number]

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        vectors = self._vectors.get(user)
        if vectors is None:
            return []
        floor = self.config.floor
        scores = {}
        for number, cosine in vectors.scores(self.encoder([query])[0]).items():
            kept = retention(_days(self._said[number], time), self._strength[number], self.config.constant)
            scores[number] = cosine * (floor + (1 - floor) * kept)
        return top(scores, k, self.log)

    def remind(self, numbers: list[int]) -> None:
        """Strengthen messages, by number, as a recall does in the paper; recalling itself changes nothing here."""
        for number in numbers:
            self._strength[number] += 1.0


@register("memory", "generative-agents", source="Park et al., UIST 2023")
class GenerativeAgentsMemory(DenseMemory):
    """Cosine, freshness in steps and importance (a message that states something counts as more important)."""

    def _prepare(self) -> None:
        super()._prepare()
        self._importance: dict[int, float] = {}

    def _index(self, number: int, message: Message) -> None:
        super()._index(number, message)
        self._importance[number] = 7.0 if extract(message.text, message.time) else 2.0

    def _forget(self, number: int, message: Message) -> None:
        super()._forget(number, message)
        del self._importance[number]

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        vectors = self._vectors.get(user)
        if vectors is None:
            return []
        cosines = vectors.scores(self.encoder([query])[0])
        newest_first = {number: steps for steps, number in enumerate(sorted(cosines, reverse=True))}
        scores = {n: agent_score(c, newest_first[n], self._importance[n]) for n, c in cosines.items()}
        return top(scores, k, self.log)


def _days(said: str, asked: str) -> float:
    if not said or not asked:
        return 0.0
    gap = datetime.fromisoformat(asked) - datetime.fromisoformat(said)
    return max(0.0, gap.total_seconds() / 86400)
