"""Judging a memory over one long life: it is asked while it grows, and nothing is forgotten in between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from palate.memory.answering import Reader
from palate.memory.contract import Memory, Message
from palate.memory.judging import Outcome, Result, ask, outcome_of, result_of
from palate.memory.trajectory import Question

__all__ = ["growth", "judge_long"]

SCENARIO = "long life"


def judge_long(
    memory: Memory,
    reader: Reader,
    told: Iterable[Message | Question],
    *,
    retriever: str,
    reader_name: str,
    k: int = 5,
) -> Result:
    """Tell a memory a long life, ask its questions at their time, and return what came out.

    Args:
        memory: An empty memory.
        reader: What answers.
        told: Messages and questions in order, such as a :class:`~palate.memory.long_life.LongLife`.
        retriever: Name of the memory, for the report.
        reader_name: Name of the reader, for the report.
        k: Messages to recall.
    """
    waiting: list[Message] = []
    place: dict[str, int] = {}
    outcomes: list[Outcome] = []
    asked: list[tuple[str, Question]] = []
    seconds, user = 0.0, ""
    for entry in told:
        if isinstance(entry, Message):
            place[entry.id] = len(place)
            waiting.append(entry)
            continue
        if waiting:
            begun = time.perf_counter()
            memory.extend(waiting)
            seconds = (time.perf_counter() - begun) / len(waiting)
            user = waiting[0].user
            waiting = []
        name, held = f"{len(outcomes)}", len(place)
        asked.append((name, entry))
        outcomes.append(
            outcome_of(
                ask(memory, reader, entry, user, k),
                entry,
                id=name,
                scenario=SCENARIO,
                messages=held,
                add_seconds=seconds,
                everything=memory.order == "time",
                k=k,
                age=max((held - place[id] for id in entry.evidence), default=0),
            )
        )
    return result_of(memory, reader, asked, outcomes, retriever=retriever, reader_name=reader_name, k=k, noise=0)


def growth(outcomes: Sequence[Outcome], parts: int = 5) -> list[dict[str, Any]]:
    """Return accuracy, recall, times and age of the evidence while the memory grew, in parts of equally many questions.

    Args:
        outcomes: In the order of asking.
        parts: How many parts.
    """
    rows = []
    for part in np.array_split(np.arange(len(outcomes)), min(parts, len(outcomes))):
        inside = [outcomes[at] for at in part]
        proven = [outcome for outcome in inside if outcome.ceiling > 0]
        rows.append(
            {
                "messages": inside[-1].messages,
                "questions": len(inside),
                "accuracy": float(np.mean([outcome.correct for outcome in inside])),
                "recall": float(np.mean([outcome.recall for outcome in proven])) if proven else None,
                "median age": float(np.median([outcome.age for outcome in proven])) if proven else None,
                "add_seconds": float(np.mean([outcome.add_seconds for outcome in inside])),
                "recall_seconds": float(np.mean([outcome.recall_seconds for outcome in inside])),
            }
        )
    return rows
