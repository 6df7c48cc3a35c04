"""How much of the evidence a memory recalls, for questions with or without options: no reader takes part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from palate.errors import DataError
from palate.memory.contract import Memory, Message
from palate.memory.judging import recall_at
from palate.memory.trajectory import Trajectory

__all__ = ["Retrieved", "retrieve"]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was recalled for one question.

    Attributes:
        id: Question.
        type: Its type.
        recall: Share of the evidence among the first ``k`` recalled messages.
        ceiling: The largest recall that ``k`` messages allow.
        reciprocal_rank: One over the rank of the first piece of evidence, 0 if none was recalled.
    """

    id: str
    type: str
    recall: float
    ceiling: float
    reciprocal_rank: float


def retrieve(memory: Memory, trajectories: Iterable[Trajectory], k: int = 5) -> list[Retrieved]:
    """Ask every question that has evidence and return how much of it was recalled.

    Questions about the same messages, one after another, are asked of one filled memory.

    Args:
        memory: An empty memory.
        trajectories: Messages, a question and the ids of its evidence.
        k: Messages to recall.

    Raises:
        DataError: If no question has evidence.
    """
    held: tuple[Message, ...] = ()
    found = []
    for trajectory in trajectories:
        question = trajectory.question
        if not question.evidence:
            continue
        if trajectory.messages != held:
            for message in held:
                memory.delete(message.id, user=message.user)
            held = trajectory.messages
            memory.extend(held)
        recalled = memory.recall(question.text, k, user=held[0].user, time=question.time)
        ids = [evidence.id for evidence in recalled]
        recall, ceiling = recall_at(question.evidence, ids, k)
        ranks = [rank for rank, id in enumerate(ids, start=1) if id in question.evidence]
        found.append(Retrieved(trajectory.id, question.type, recall, ceiling, 1.0 / ranks[0] if ranks else 0.0))
    if not found:
        raise DataError("No question has evidence, so there is nothing to find.")
    return found
