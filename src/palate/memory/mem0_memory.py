"""mem0 behind our contract, without its language model: messages are stored as they are (``infer=False``)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from palate.errors import MissingExtraError
from palate.memory.contract import Message
from palate.memory.outside import OutsideMemory
from palate.registry import register

__all__ = ["Mem0Memory"]


@register("memory", "mem0", source="Chhikara et al., arXiv 2504.19413; the library mem0ai", extra="mem0")
class Mem0Memory(OutsideMemory):
    """Search by mem0 with a local Qdrant in a temporary folder; nothing is sent anywhere, telemetry is off."""

    def _prepare(self) -> None:
        # Read when mem0 is imported.
        for name in ("MEM0_TELEMETRY", "ANONYMIZED_TELEMETRY"):
            os.environ.setdefault(name, "False")
        os.environ.setdefault("MEM0_DIR", str(Path(tempfile.gettempdir()) / "palate-mem0"))
        try:
            from mem0 import Memory as Library
        except ModuleNotFoundError:
            raise MissingExtraError.needs("mem0ai", "mem0", "The memory mem0") from None
        library: Any = Library
        self._scratch = tempfile.mkdtemp(prefix="palate-mem0-")
        nobody = {"provider": "openai", "config": {"api_key": "none"}}
        width = len(self.vector("width"))
        store = {"path": f"{self._scratch}/vectors", "embedding_model_dims": width, "on_disk": False}
        self._library = library.from_config(
            {
                "llm": nobody,
                "embedder": nobody,
                "vector_store": {"provider": "qdrant", "config": store},
                "history_db_path": f"{self._scratch}/history.db",
            }
        )
        self._library.embedding_model = _Embedder(self)

    def close(self) -> None:
        """Close the log and drop mem0's own files."""
        super().close()
        self._library.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _put(self, number: int, message: Message) -> str:
        added = self._library.add(message.text, user_id=_name(message.user), metadata={"number": number}, infer=False)
        name: str = added["results"][0]["id"]
        return name

    def _take(self, name: Any, message: Message) -> None:
        self._library.delete(name)

    def _find(self, query: str, k: int, user: str) -> dict[int, float]:
        # Messages that fit equally well come in the order of mem0's random ids: fetch more, so that the older ones win.
        wider = max(4 * k, 60)
        found = self._library.search(query, filters={"user_id": _name(user)}, top_k=wider, threshold=0.0)
        return {int(hit["metadata"]["number"]): float(hit["score"]) for hit in found["results"]}


class _Embedder:
    """What mem0 asks of an embedder."""

    def __init__(self, memory: Mem0Memory) -> None:
        self.memory = memory

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self.memory.vectors([text])[0]

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:
        return self.memory.vectors(texts)


def _name(user: str) -> str:
    return f"user-{user}"
