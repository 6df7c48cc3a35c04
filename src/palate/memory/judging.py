"""Judging a memory: store the messages, ask the question, compare the letter with the key, and time it all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from palate.errors import ConfigError, DataError
from palate.evaluate.intervals import bootstrap_interval
from palate.memory.answering import Reader
from palate.memory.contract import Memory
from palate.memory.trajectory import Trajectory

__all__ = ["JUDGE", "Outcome", "Result", "judge", "recall_at", "same_terms"]

JUDGE = "exact letter of four, version 1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one question.

    Attributes:
        id: Trajectory.
        type: Question type.
        scenario: What the question is about.
        correct: Whether the chosen letter is the key.
        recall: Share of the evidence among the first ``k`` recalled messages.
        ceiling: The largest recall that ``k`` messages allow.
        whole: Whether all evidence was recalled.
        reciprocal_rank: One over the rank of the first piece of evidence.
        abstained: Whether the reader chose nothing.
        unparsed: Whether its reply had no letter.
        failed: Why it gave no reply, or empty.
        messages: How many messages the memory held.
        add_seconds: Time to store one message, on average.
        recall_seconds: Time to recall.
        answer_seconds: Time to recall and answer.
        prompt_length: Characters that the reader was given.
    """

    id: str
    type: str
    scenario: str
    correct: bool
    recall: float
    ceiling: float
    whole: bool
    reciprocal_rank: float
    abstained: bool
    unparsed: bool
    failed: str
    messages: int
    add_seconds: float
    recall_seconds: float
    answer_seconds: float
    prompt_length: int


@dataclass(frozen=True)
class Result:
    """Outcomes of one memory with one reader, and the terms under which they were reached.

    Attributes:
        retriever: Name of the memory.
        settings: Settings of the memory.
        reader: Name of the reader.
        model: What answered.
        prompt: SHA-256 of the prompt, or empty when there is none.
        judge: How answers were judged.
        k: Messages recalled per question.
        noise: Noise messages per real one.
        questions: SHA-256 over the questions, options and keys.
        outcomes: One per question.
    """

    retriever: str
    settings: dict[str, Any]
    reader: str
    model: str
    prompt: str
    judge: str
    k: int
    noise: int
    questions: str
    outcomes: tuple[Outcome, ...] = field(repr=False)

    def column(self, name: str, type: str | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return a value of every outcome (of one question type)."""
        return np.array([float(getattr(o, name)) for o in self.outcomes if type in (None, o.type)])

    @property
    def accuracy(self) -> float:
        """Share of right answers over all questions: failed, unparsed and abstained ones count as wrong."""
        return float(self.column("correct").mean())

    def summary(self) -> dict[str, Any]:
        """Return accuracy by question type with intervals, recall, time, cost and counts, as plain JSON types."""
        rows = {}
        for type in [None, *dict.fromkeys(o.type for o in self.outcomes)]:
            correct = self.column("correct", type)
            ends = bootstrap_interval(correct)
            rows[type or "all"] = {
                "questions": len(correct),
                "accuracy": float(correct.mean()),
                "interval": [ends.low, ends.high],
                f"recall@{self.k}": float(self.column("recall", type).mean()),
                "normalised recall": float((self.column("recall", type) / self.column("ceiling", type)).mean()),
                "all evidence": float(self.column("whole", type).mean()),
                "reciprocal rank": float(self.column("reciprocal_rank", type).mean()),
            }
        answered = ~(self.column("abstained").astype(bool))
        counts = {
            "failed": sum(bool(o.failed) for o in self.outcomes),
            "unparsed": sum(o.unparsed for o in self.outcomes),
            "abstained": sum(o.abstained for o in self.outcomes),
            "selective accuracy": float(self.column("correct")[answered].mean()) if answered.any() else None,
        }
        times = {
            f"{name}_seconds": float(self.column(f"{name}_seconds").mean()) for name in ("add", "recall", "answer")
        }
        size = {
            "messages": float(self.column("messages").mean()),
            "prompt_length": float(self.column("prompt_length").mean()),
        }
        return {**self.terms(), "retriever": self.retriever, "by type": rows, **counts, **times, **size}

    def terms(self) -> dict[str, Any]:
        """Return what must be equal for two results to be compared."""
        return {name: getattr(self, name) for name in ("reader", "model", "prompt", "judge", "k", "questions")}

    def to_document(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return {
            **{k: v for k, v in asdict(self).items() if k != "outcomes"},
            "outcomes": [asdict(o) for o in self.outcomes],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Result:
        """Return the result that :meth:`to_document` wrote."""
        return cls(**{**document, "outcomes": tuple(Outcome(**entry) for entry in document["outcomes"])})


def recall_at(evidence: Sequence[str], retrieved: Sequence[str], k: int = 5) -> tuple[float, float]:
    """Return recall among the first ``k`` distinct retrieved ids, and the largest that ``k`` allows.

    Example:
        >>> recall_at(["3", "9"], ["9", "9", "1", "4", "0"])
        (0.5, 1.0)
    """
    wanted = set(evidence)
    if not wanted:
        return 0.0, 1.0
    first = list(dict.fromkeys(retrieved))[:k]
    return len(wanted.intersection(first)) / len(wanted), min(1.0, k / len(wanted))


def judge(
    memory: Memory,
    reader: Reader,
    trajectories: Iterable[Trajectory],
    *,
    retriever: str,
    reader_name: str,
    k: int = 5,
    noise: int = 0,
) -> Result:
    """Ask every question and return what came out; each trajectory is a user of its own and is forgotten afterwards.

    Args:
        memory: An empty memory.
        reader: What answers.
        trajectories: Messages and questions with four options.
        retriever: Name of the memory, for the report.
        reader_name: Name of the reader, for the report.
        k: Messages to recall.
        noise: Noise messages per real one, for the report.
    """
    outcomes, digest = [], hashlib.sha256()
    for trajectory in trajectories:
        question = trajectory.question
        if len(question.options) != 4:
            raise DataError(f'Question "{trajectory.id}" has {len(question.options)} options; 4 are expected.')
        digest.update(repr((trajectory.id, question.text, question.options, question.key)).encode())
        outcomes.append(_ask(memory, reader, trajectory, k))
    if not outcomes:
        raise DataError("There are no questions to ask.")
    prompt = hashlib.sha256(reader.prompt.encode()).hexdigest()[:16] if reader.prompt else ""
    settings = memory.config.model_dump(mode="json")
    return Result(
        retriever,
        settings,
        reader_name,
        reader.model,
        prompt,
        JUDGE,
        k,
        noise,
        digest.hexdigest()[:16],
        tuple(outcomes),
    )


def _ask(memory: Memory, reader: Reader, trajectory: Trajectory, k: int) -> Outcome:
    question, user = trajectory.question, trajectory.messages[0].user
    begun = time.perf_counter()
    memory.extend(trajectory.messages)
    stored = time.perf_counter()
    memory.reveal(question.evidence, user=user)
    ready = time.perf_counter()
    recalled = memory.recall(question.text, k, user=user, time=question.time)
    found = time.perf_counter()
    reply = reader.answer(question.text, question.options, recalled, time=question.time)
    done = time.perf_counter()
    ids = [evidence.id for evidence in recalled]
    # A memory that returns everything in order has no first k: all of it is what the reader sees.
    recall, ceiling = recall_at(question.evidence, ids, max(k, len(ids)) if memory.order == "time" else k)
    ranks = [rank for rank, id in enumerate(ids, start=1) if id in question.evidence]
    for message in trajectory.messages:
        memory.delete(message.id, user=user)
    return Outcome(
        id=trajectory.id,
        type=question.type,
        scenario=trajectory.scenario,
        correct=reply.choice == question.key,
        recall=recall,
        ceiling=ceiling,
        whole=recall == 1.0,
        reciprocal_rank=1.0 / ranks[0] if ranks else 0.0,
        abstained=reply.choice is None and reply.parsed and not reply.failed,
        unparsed=not reply.parsed,
        failed=reply.failed,
        messages=len(trajectory.messages),
        add_seconds=(stored - begun) / len(trajectory.messages),
        recall_seconds=found - ready,
        answer_seconds=done - ready,
        prompt_length=reply.prompt_length,
    )


def same_terms(results: Sequence[Result]) -> None:
    """Raise :class:`ConfigError` unless all results were reached under the same terms."""
    for other in results[1:]:
        first, second = results[0].terms(), other.terms()
        differ = [name for name in first if first[name] != second[name]]
        if differ:
            told = ", ".join(f"{name} {first[name]!r} and {second[name]!r}" for name in differ)
            raise ConfigError(
                f'"{results[0].retriever}" and "{other.retriever}" cannot be compared: {told}.',
                remedy="Run both with the same questions, reader, model, prompt, judge and k.",
            )
