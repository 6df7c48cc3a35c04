"""LangMem behind our contract, without a language model: its tools store and search messages as they are."""

from __future__ import annotations

import json
from typing import Any

from palate.errors import MissingExtraError
from palate.memory.contract import Message
from palate.memory.outside import OutsideMemory
from palate.registry import register

__all__ = ["LangMemMemory"]


@register("memory", "langmem", source="the library langmem", extra="langmem")
class LangMemMemory(OutsideMemory):
    """LangMem's tools for managing and searching memories, over a LangGraph store in this process."""

    def _prepare(self) -> None:
        try:
            from langgraph.store.memory import InMemoryStore
            from langmem import create_manage_memory_tool, create_search_memory_tool
        except ModuleNotFoundError:
            raise MissingExtraError.needs("langmem", "langmem", "The memory langmem") from None
        store: Any = InMemoryStore
        manage: Any = create_manage_memory_tool
        search: Any = create_search_memory_tool
        index = {"dims": len(self.vector("width")), "embed": self.vectors, "fields": ["content"]}
        self._store = store(index=index)
        place = ("memories", "{user}")
        self._manage = manage(namespace=place, store=self._store)
        self._searched = search(namespace=place, store=self._store)
        self._number: dict[str, int] = {}

    def _put(self, number: int, message: Message) -> str:
        said = self._manage.invoke({"content": message.text, "action": "create"}, config=_config(message.user))
        name: str = str(said).rpartition(" ")[2]
        self._number[name] = number
        return name

    def _take(self, name: Any, message: Message) -> None:
        self._manage.invoke({"id": name, "action": "delete"}, config=_config(message.user))
        del self._number[name]

    def _find(self, query: str, k: int, user: str) -> dict[int, float]:
        found = json.loads(self._searched.invoke({"query": query, "limit": k}, config=_config(user)))
        return {self._number[hit["key"]]: float(hit["score"] or 0.0) for hit in found}


def _config(user: str) -> dict[str, Any]:
    return {"configurable": {"user": f"user-{user}"}}
