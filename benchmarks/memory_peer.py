"""The peers' side of memory.py: bm25s, mem0 without its language model, and MemEngine's long-term memory.

Vectors come from a file: what is timed is what a memory does with a text whose vector is known.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

import numpy as np

from peers import serve

held: dict[str, Any] = {}


def prepare(words: list[list[str]], asked: list[list[str]], step: int, k: int) -> None:
    """Take the log and the questions, cut into words; this is not timed (ours cuts within its time)."""
    held.update(words=words, asked=asked, step=step, k=k)


def ask_all() -> list[list[float]]:
    """Ask bm25s after every ``step`` messages; scores in the form that includes the factor k1 + 1."""
    import bm25s

    found = []
    for at, question in enumerate(held["asked"]):
        index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
        index.index(held["words"][: (at + 1) * held["step"]], show_progress=False)
        scores = np.asarray(index.get_scores(question))
        best = np.sort(scores[scores > 0])[::-1][: held["k"]]
        found.append([float(score) * 2.5 for score in best])
    return found


def take(texts: list[str], questions: list[str], vectors: str, k: int) -> None:
    """Take messages, questions and the file of the vectors of both."""
    known = np.load(vectors)
    held.update(texts=texts, questions=questions, k=k)
    held["vector"] = dict(zip([*texts, *questions], known["vectors"].astype(np.float32), strict=True))


def fill_mem0() -> float:
    """Add all messages to an empty mem0, one by one, on disk; return the seconds."""
    held["memory"] = memory = _mem0(len(next(iter(held["vector"].values()))))
    begun = time.perf_counter()
    for at, text in enumerate(held["texts"]):
        memory.add(text, user_id="ann", metadata={"at": at}, infer=False)
    return time.perf_counter() - begun


def ask_mem0() -> dict[str, Any]:
    """Ask all questions; return the seconds and the places of the messages found."""
    memory, begun = held["memory"], time.perf_counter()
    answers = [
        memory.search(question, filters={"user_id": "ann"}, top_k=held["k"], threshold=0.0)
        for question in held["questions"]
    ]
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "found": [[hit["metadata"]["at"] for hit in a["results"]] for a in answers]}


def _mem0(width: int) -> Any:
    for name in ("MEM0_TELEMETRY", "ANONYMIZED_TELEMETRY"):
        os.environ[name] = "False"
    folder = held["folder"] = tempfile.mkdtemp(prefix="palate-mem0-")
    os.environ["MEM0_DIR"] = folder
    from mem0 import Memory

    # The model is never called: nothing is inferred, and vectors are looked up.
    nobody = {"provider": "openai", "config": {"api_key": "none"}}
    store = {"path": f"{folder}/vectors", "embedding_model_dims": width, "on_disk": True}
    memory = Memory.from_config(
        {
            "llm": nobody,
            "embedder": nobody,
            "vector_store": {"provider": "qdrant", "config": store},
            "history_db_path": f"{folder}/history.db",
        }
    )
    memory.embedding_model = _Embedder()
    return memory


class _Embedder:
    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return held["vector"][text].tolist()  # type: ignore[no-any-return]

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:
        return [self.embed(text) for text in texts]


def fill_memengine() -> float:
    """Store all messages in an empty long-term memory of MemEngine, one by one; return the seconds."""
    held["memory"] = memory = _memengine(held["k"])
    begun = time.perf_counter()
    for text in held["texts"]:
        memory.store(text)
    return time.perf_counter() - begun


def ask_memengine() -> dict[str, Any]:
    """Ask all questions; return the seconds and the places of the messages found."""
    memory, begun = held["memory"], time.perf_counter()
    for question in held["questions"]:
        memory.recall(question)
    seconds = time.perf_counter() - begun
    # What it returns is one text; the places are asked of its index again, outside of the time.
    found = [memory.recall_op.text_retrieval(question).tolist() for question in held["questions"]]
    return {"seconds": seconds, "found": found}


def _memengine(k: int) -> Any:
    import torch
    from memengine import LTMemory
    from memengine.config.Config import MemoryConfig
    from memengine.function import Retrieval

    class Lookup:
        def __init__(self, config: Any) -> None:
            pass

        def reset(self) -> None:
            pass

        def __call__(self, text: str, return_type: str = "tensor") -> Any:
            return torch.from_numpy(held["vector"][text])[None]

    Retrieval.STEncoder = Lookup
    lists = {"index": True, "sep": "\n"}
    settings = {
        "name": "LTMemory",
        "storage": {},
        "recall": {
            "method": "LTMemoryRecall",
            "truncation": {"method": "LMTruncation", "mode": "word", "number": 100_000, "path": ""},
            "utilization": {"method": "ConcateUtilization", "prefix": "", "suffix": "", "list_config": lists},
            "text_retrieval": {
                "method": "TextRetrieval",
                "encoder": {"method": "STEncoder", "path": ""},
                "mode": "cosine",
                "topk": k,
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
    return LTMemory(MemoryConfig(settings))


def forget() -> None:
    """Drop the memory and its files."""
    held.pop("memory", None)
    shutil.rmtree(held.pop("folder", ""), ignore_errors=True)


if __name__ == "__main__":
    serve(
        {
            function.__name__: function
            for function in (prepare, ask_all, take, fill_mem0, ask_mem0, fill_memengine, ask_memengine, forget)
        }
    )
