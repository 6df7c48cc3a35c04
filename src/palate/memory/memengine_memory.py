"""MemEngine's long-term memory behind our contract: cosine search over everything that was stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from palate.errors import MissingExtraError
from palate.memory.contract import Message
from palate.memory.outside import OutsideMemory
from palate.registry import register

__all__ = ["MemEngineMemory"]


@register("memory", "memengine", source="the library memengine, LTMemory", extra="memengine")
class MemEngineMemory(OutsideMemory):
    """One ``LTMemory`` per user; MemEngine cannot delete from it, so its index and its list are cut by hand."""

    def _prepare(self) -> None:
        try:
            from memengine import LTMemory
            from memengine.config.Config import MemoryConfig as Settings
            from memengine.function import Retrieval
        except ModuleNotFoundError:
            raise MissingExtraError.needs("memengine", "memengine", "The memory memengine") from None
        self._libraries: dict[str, Any] = {}
        self._numbers: dict[str, list[int]] = {}
        self._library: Any = LTMemory
        self._settings: Any = Settings
        self._retrieval: Any = Retrieval

    def _put(self, number: int, message: Message) -> int:
        if message.user not in self._libraries:
            self._libraries[message.user], self._numbers[message.user] = self._open(), []
        self._libraries[message.user].store(message.text)
        self._numbers[message.user].append(number)
        return number

    def _take(self, name: Any, message: Message) -> None:
        at, library = self._numbers[message.user].index(name), self._libraries[message.user]
        del self._numbers[message.user][at]
        library.recall_op.text_retrieval.delete(at)
        library.storage.delete_by_mid(at)

    def _find(self, query: str, k: int, user: str) -> dict[int, float]:
        numbers = self._numbers.get(user)
        if not numbers:
            return {}
        scores, places = self._libraries[user].recall_op.text_retrieval(query, topk=k, with_score=True)
        return {numbers[at]: score for at, score in zip(places.tolist(), scores.tolist(), strict=True)}

    def _open(self) -> Any:
        import torch

        memory = self

        class Encoder:
            """What MemEngine asks of an encoder."""

            def __init__(self, config: Any) -> None:
                pass

            def reset(self) -> None:
                pass

            def __call__(self, text: str, return_type: str = "tensor") -> Any:
                return torch.from_numpy(np.array(memory.vector(text)))[None]

        # MemEngine looks encoders up by name in this module.
        self._retrieval.STEncoder = Encoder
        return self._library(self._settings(_SETTINGS))


_SETTINGS: dict[str, Any] = {
    "name": "LTMemory",
    "storage": {},
    "recall": {
        "method": "LTMemoryRecall",
        "truncation": {"method": "LMTruncation", "mode": "word", "number": 100_000, "path": ""},
        "utilization": {
            "method": "ConcateUtilization",
            "prefix": "",
            "suffix": "",
            "list_config": {"index": True, "sep": "\n"},
        },
        "text_retrieval": {
            "method": "TextRetrieval",
            "encoder": {"method": "STEncoder", "path": ""},
            "mode": "cosine",
            "topk": 5,
        },
        "empty_memory": "None",
    },
    "store": {"method": "LTMemoryStore"},
    "display": {
        "method": "ScreenDisplay",
        "prefix": "",
        "suffix": "",
        "key_format": "",
        "key_value_sep": "",
        "item_sep": "",
    },
    "global_config": {"usable_gpu": ""},
}
