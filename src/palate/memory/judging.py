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
from palate.memory.answering import Reader, Reply
from palate.memory.contract import Evidence, Memory
from palate.memory.trajectory import Question, Trajectory

__all__ = ["JUDGE", "Outcome", "Result", "ask", "judge", "outcome_of", "recall_at", "result_of", "same_terms"]

Asked = tuple[list[Evidence], Reply, float, float]
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
        age: Messages since the oldest piece of evidence.
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
    age: int = 0


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
                **self._retrieval(type),
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

    def _retrieval(self, type: str | None) -> dict[str, float | None]:
        """Return means over the questions that have evidence, ``None`` where none has."""
        ceiling = self.column("ceiling", type)
        proven = ceiling > 0

        def mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
            return float(values.mean()) if len(values) else None

        recall = self.column("recall", type)[proven]
        return {
            f"recall@{self.k}": mean(recall),
            "normalised recall": mean(recall / ceiling[proven]),
            "all evidence": mean(self.column("whole", type)[proven]),
            "reciprocal rank": mean(self.column("reciprocal_rank", type)[proven]),
        }

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
    """Return recall among the first ``k`` distinct retrieved ids, and the largest that ``k`` allows (0: no evidence).

    Example:
        >>> recall_at(["3", "9"], ["9", "9", "1", "4", "0"])
        (0.5, 1.0)
    """
    wanted = set(evidence)
    if not wanted:
        return 0.0, 0.0
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
    outcomes, asked = [], []
    for trajectory in trajectories:
        question = trajectory.question
        if len(question.options) != 4:
            raise DataError(f'Question "{trajectory.id}" has {len(question.options)} options; 4 are expected.')
        asked.append((trajectory.id, question))
        outcomes.append(_ask(memory, reader, trajectory, k))
    return result_of(memory, reader, asked, outcomes, retriever=retriever, reader_name=reader_name, k=k, noise=noise)


def result_of(
    memory: Memory,
    reader: Reader,
    asked: Iterable[tuple[str, Question]],
    outcomes: Sequence[Outcome],
    *,
    retriever: str,
    reader_name: str,
    k: int,
    noise: int,
) -> Result:
    """Return outcomes together with the terms under which they were reached."""
    if not outcomes:
        raise DataError("There are no questions to ask.")
    digest = hashlib.sha256()
    for id, question in asked:
        digest.update(repr((id, question.text, question.options, question.key)).encode())
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
    question, user, count = trajectory.question, trajectory.messages[0].user, len(trajectory.messages)
    begun = time.perf_counter()
    memory.extend(trajectory.messages)
    stored = time.perf_counter()
    asked = ask(memory, reader, question, user, k)
    for message in trajectory.messages:
        memory.delete(message.id, user=user)
    return outcome_of(
        asked,
        question,
        id=trajectory.id,
        scenario=trajectory.scenario,
        messages=count,
        add_seconds=(stored - begun) / count,
        everything=memory.order == "time",
        k=k,
    )


def ask(memory: Memory, reader: Reader, question: Question, user: str, k: int) -> Asked:
    """Recall and answer; a yardstick is told the evidence first, outside of the time."""
    memory.reveal(question.evidence, user=user)
    ready = time.perf_counter()
    recalled = memory.recall(question.text, k, user=user, time=question.time)
    found = time.perf_counter()
    reply = reader.answer(question.text, question.options, recalled, time=question.time)
    done = time.perf_counter()
    return recalled, reply, found - ready, done - ready


def outcome_of(
    asked: Asked,
    question: Question,
    *,
    id: str,
    scenario: str,
    messages: int,
    add_seconds: float,
    everything: bool,
    k: int,
    age: int = 0,
) -> Outcome:
    """Return what happened to a question.

    Args:
        asked: What was recalled and replied, and the seconds to recall, and to recall and answer.
        question: The question.
        id: Its name.
        scenario: What it is about.
        messages: Messages that the memory held.
        add_seconds: Time to store one message.
        everything: Whether the memory returns messages in order instead of the best first; it then has no first ``k``,
            and all of it is what the reader sees.
        k: Messages that were recalled.
        age: Messages since the oldest piece of evidence.
    """
    recalled, reply, recall_seconds, answer_seconds = asked
    ids = [evidence.id for evidence in recalled]
    recall, ceiling = recall_at(question.evidence, ids, max(k, len(ids)) if everything else k)
    ranks = [rank for rank, found in enumerate(ids, start=1) if found in question.evidence]
    return Outcome(
        id=id,
        type=question.type,
        scenario=scenario,
        correct=reply.choice == question.key,
        recall=recall,
        ceiling=ceiling,
        whole=recall == 1.0,
        reciprocal_rank=1.0 / ranks[0] if ranks else 0.0,
        abstained=reply.choice is None and reply.parsed and not reply.failed,
        unparsed=not reply.parsed,
        failed=reply.failed,
        messages=messages,
        add_seconds=add_seconds,
        recall_seconds=recall_seconds,
        answer_seconds=answer_seconds,
        prompt_length=reply.prompt_length,
        age=age,
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
