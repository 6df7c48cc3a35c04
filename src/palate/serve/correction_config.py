"""Limits of the correction service."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from palate.config import Config
from palate.errors import ConfigError

__all__ = ["CorrectionConfig"]


class CorrectionConfig(Config):
    """Limits of corrections.

    Attributes:
        max_batch: Uploads that are answered together.
        batch_milliseconds: How long the first of a batch waits for others; 0 answers at once.
        max_queue: Uploads that may wait; one more gets 503 with ``Retry-After``.
        seconds: Time limit of one answer, waiting included (504 after it).
        session_rate: Requests a second of one session; 0 for no limit (429 with ``Retry-After`` above it).
        session_burst: Requests of one session that may come at once.
        keep_seconds: How long an answer is kept for an identical upload; 0 keeps nothing.
        keep_answers: Answers that are kept at most.
    """

    max_batch: int = Field(32, ge=1, le=1024)
    batch_milliseconds: float = Field(5.0, ge=0, le=10_000)
    max_queue: int = Field(256, ge=1)
    seconds: float = Field(1.0, gt=0)
    session_rate: float = Field(5.0, ge=0)
    session_burst: int = Field(20, ge=1)
    keep_seconds: float = Field(0.0, ge=0)
    keep_answers: int = Field(1000, ge=1)

    @model_validator(mode="after")
    def _check_wait(self) -> Self:
        if self.batch_milliseconds >= 1000 * self.seconds:
            raise ConfigError(
                f"CorrectionConfig: a batch waits {self.batch_milliseconds:g} ms, and an answer may take "
                f"{self.seconds:g} s in all: none would come.",
                remedy="Lower batch_milliseconds or raise seconds.",
            )
        return self
