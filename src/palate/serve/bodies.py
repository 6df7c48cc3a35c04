"""What goes over the wire: typed bodies in which an unknown field is an error with a suggestion."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from palate.config import Config

__all__ = [
    "ErrorAnswer",
    "ErrorBody",
    "HealthAnswer",
    "ReadyAnswer",
    "RecommendAnswer",
    "RecommendBody",
    "RecommendedItem",
    "ScoreAnswer",
    "ScoreBody",
]

_LONGEST = 1000  # letters of a message

Value = str | int | float | bool | None | list[str] | list[int]


class ScoreBody(Config):
    """Rows to score; each names columns as the training log did."""

    rows: list[dict[str, Value]] = Field(min_length=1, max_length=10_000, examples=[[{"user": 1, "item": 318}]])


class ScoreAnswer(Config):
    """One number per row; ``probabilities`` is null unless the recommender is calibrated."""

    scores: list[float]
    probabilities: list[float] | None = None


class RecommendBody(Config):
    """Who asks, or what was taken before.

    Attributes:
        user: A user id; one that was never seen gets the answer for a new user.
        history: Item ids or titles, oldest first; items that are not in the catalogue are left out and told.
        k: How many items.
        exclude_seen: Leave out what the user has already taken.
    """

    user: str | int | None = None
    history: list[str | int] | None = Field(None, max_length=10_000)
    k: int = Field(10, ge=1, le=1000)
    exclude_seen: bool = True


class RecommendedItem(Config):
    """One place of the list."""

    rank: int
    item: str | int
    title: str | None = None
    score: float
    probability: float | None = None


class RecommendAnswer(Config):
    """The list, best first, and what of the request was not known."""

    items: list[RecommendedItem]
    user_known: bool
    ignored: tuple[str | int, ...] = ()


class HealthAnswer(Config):
    """That the process lives, and what it serves."""

    status: str
    model: str
    task: str
    palate: str


class ReadyAnswer(Config):
    """That requests are welcome."""

    status: str


class ErrorBody(Config):
    """What went wrong and what to do."""

    code: str
    message: str
    remedy: str = ""


class ErrorAnswer(Config):
    """The form of every answer that is not a success."""

    error: ErrorBody


def error_answer(code: str, message: str, remedy: str = "") -> dict[str, Any]:
    """Return the JSON of an error; what it repeats of a request is kept short and made valid text."""
    said, advice = (_short(text) for text in (message, remedy))
    return ErrorAnswer(error=ErrorBody(code=code, message=said, remedy=advice)).model_dump()


def _short(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
