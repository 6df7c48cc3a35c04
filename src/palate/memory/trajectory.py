"""A trajectory: what one user said, one question about it, and why its answer is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from palate.memory.contract import Message
from palate.memory.programs import Fact, Program, from_document, to_document

__all__ = ["LETTERS", "QUESTION_TYPES", "SCENARIOS", "Question", "QuestionType", "Scenario", "Trajectory"]

QuestionType = Literal["simple", "conditional", "comparative", "aggregative", "post_processing", "noisy"]
Scenario = Literal["person", "event", "item", "place", "hybrid"]
QUESTION_TYPES: tuple[QuestionType, ...] = get_args(QuestionType)
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of four options.

    Attributes:
        type: What kind of thinking it asks for.
        text: The question.
        options: Four answers; one is right.
        key: Place of the right one, 0 .. 3.
        evidence: Ids of the messages that prove it.
        time: When it is asked, after all messages.
        program: Its meaning, where it is known.
        open_answer: The answer in words, for questions without options.
    """

    type: str
    text: str
    options: tuple[str, ...]
    key: int
    evidence: tuple[str, ...]
    time: str = ""
    program: Program | None = None
    open_answer: str = ""

    @property
    def answer(self) -> str:
        """The right answer in words."""
        return self.options[self.key] if self.options else self.open_answer


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Messages of one user in order, and one question.

    ``noise`` and ``facts`` run beside ``messages``: the kind of noise (``None`` for a real message) and what is stated.
    They are for checks and never shown to a memory or a reader.
    """

    id: str
    scenario: str
    messages: tuple[Message, ...]
    question: Question
    noise: tuple[str | None, ...] = ()
    facts: tuple[Fact | None, ...] = field(default=())

    def to_document(self) -> dict[str, Any]:
        """Return the trajectory as plain JSON types."""
        question = self.question
        return {
            "id": self.id,
            "scenario": self.scenario,
            "messages": [
                {
                    "id": message.id,
                    "text": message.text,
                    "time": message.time,
                    "place": message.place,
                    "noise": self.noise[at] if self.noise else None,
                    "fact": list(fact) if self.facts and (fact := self.facts[at]) is not None else None,
                }
                for at, message in enumerate(self.messages)
            ],
            "question": {
                "type": question.type,
                "text": question.text,
                "options": list(question.options),
                "key": question.key,
                "evidence": list(question.evidence),
                "time": question.time,
                "open_answer": question.open_answer,
                "program": None if question.program is None else to_document(question.program),
            },
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Trajectory:
        """Return the trajectory that :meth:`to_document` wrote."""
        told = document["messages"]
        asked = dict(document["question"])
        asked["options"], asked["evidence"] = tuple(asked["options"]), tuple(asked["evidence"])
        asked["program"] = from_document(asked["program"])
        return cls(
            document["id"],
            document["scenario"],
            tuple(Message(m["id"], m["text"], m["time"], m["place"], document["id"]) for m in told),
            Question(**asked),
            tuple(m["noise"] for m in told),
            tuple(None if m["fact"] is None else Fact(*m["fact"]) for m in told),
        )
