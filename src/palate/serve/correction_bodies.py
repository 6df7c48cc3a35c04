"""An upload and its answer as JSON; the binary form is :mod:`palate.sequence.correction_wire`."""

from __future__ import annotations

import base64
import binascii
from typing import Self

from pydantic import Field, model_validator

from palate.config import Config
from palate.errors import ConfigError
from palate.sequence.correction_wire import (
    MAX_ITEMS,
    MAX_SEQ_NO,
    SUMMARY_SHAPE,
    Answer,
    Dtype,
    FloatArray,
    Upload,
    WireError,
    array_of_bytes,
    bytes_of_array,
)

__all__ = ["ArrayBody", "CorrectionAnswer", "CorrectionBody", "CorrectionFacts"]

_NAME = r"^[A-Za-z0-9_-]+$"


class CorrectionBody(Config):
    """What a device asks a correction for: exactly one of ``hidden`` and ``summary``.

    Attributes:
        model_version: Version of the model on the device.
        session: A random name of the device's session.
        seq_no: Items that the device had seen when it made the upload; the answer repeats it.
        dtype: How numbers travel, in both directions.
        shape: ``[n, D]`` of hidden states with n from 1 to 1000, or ``[2, 64]`` of summaries.
        hidden: Hidden states as base64 of little-endian numbers.
        summary: The summaries of a device that ran the recurrent parts itself, in the same form.
    """

    model_version: str = Field(min_length=1, max_length=16, pattern=_NAME, examples=["0123456789abcdef"])
    session: str = Field(min_length=1, max_length=32, pattern=_NAME, examples=["kq3v9b2m"])
    seq_no: int = Field(ge=0, le=MAX_SEQ_NO, strict=True)
    dtype: Dtype = "f16"
    shape: tuple[int, ...] = Field(min_length=2, max_length=2, examples=[[10, 64]])
    hidden: str | None = Field(None, max_length=8_000_000)
    summary: str | None = Field(None, max_length=8_000_000)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.hidden is None) == (self.summary is None):
            raise ConfigError("CorrectionBody needs exactly one of hidden and summary.")
        return self

    def upload(self) -> Upload:
        """Return the upload.

        Raises:
            WireError: If the array is not base64, does not fit the shape, has too many rows, or is not finite.
        """
        rows, columns = self.shape
        if not (1 <= rows <= MAX_ITEMS and columns >= 1):
            raise WireError(
                f"shape is {list(self.shape)}; [n, D] with n from 1 to {MAX_ITEMS} is expected.",
                remedy="Send the last items.",
            )
        kind = "summary" if self.hidden is None else "hidden"
        try:
            data = base64.b64decode(self.hidden or self.summary or "", validate=True)
        except (binascii.Error, ValueError):
            raise WireError(f"{kind} is not base64.") from None
        return Upload(
            model_version=self.model_version,
            session=self.session,
            seq_no=self.seq_no,
            values=array_of_bytes(data, self.dtype, self.shape),
            kind="summary" if self.hidden is None else "hidden",
            dtype=self.dtype,
        )


class ArrayBody(Config):
    """An array as base64 of little-endian numbers."""

    dtype: Dtype
    shape: tuple[int, ...]
    data: str

    @classmethod
    def of(cls, values: FloatArray, dtype: Dtype) -> ArrayBody:
        """Return the body of an array."""
        data = base64.b64encode(bytes_of_array(values, dtype)).decode("ascii")
        return cls(dtype=dtype, shape=tuple(values.shape), data=data)


class CorrectionAnswer(Config):
    """The correction of one upload.

    Attributes:
        model_version: Version of the model that answers.
        seq_no: That of the upload.
        ttl_steps: Clicks after the upload during which the correction may be used.
        dA: Raw correction of the attention, ``[h, m, m]``.
        db: Raw correction of the biases, ``[h, m, d]``.
        P: Weight of ``dA``.
        Q: Weight of ``db``.
    """

    model_version: str
    seq_no: int
    ttl_steps: int
    dA: ArrayBody  # noqa: N815
    db: ArrayBody
    P: float
    Q: float

    @classmethod
    def of(cls, answer: Answer) -> CorrectionAnswer:
        """Return the body of an answer."""
        return cls(
            model_version=answer.model_version,
            seq_no=answer.seq_no,
            ttl_steps=answer.ttl_steps,
            dA=ArrayBody.of(answer.attention, answer.dtype),
            db=ArrayBody.of(answer.bias, answer.dtype),
            P=answer.attention_weight,
            Q=answer.bias_weight,
        )


class CorrectionFacts(Config):
    """What a device should know before it asks.

    Attributes:
        protocol: Version of the protocol.
        model_version: The version that uploads of hidden states must carry.
        summary_version: The version that uploads of summaries must carry.
        embedding_size: Width ``D`` of hidden states.
        summary_shape: Shape of the two summaries.
        shape: ``[h, m, d]`` of the biases' correction; the attention's is ``[h, m, m]``.
        ttl_steps: Clicks after the upload during which a correction may be used.
        max_items: Rows of an upload at most.
        dtypes: How numbers may travel.
    """

    protocol: int
    model_version: str
    summary_version: str
    embedding_size: int
    summary_shape: tuple[int, ...] = SUMMARY_SHAPE
    shape: tuple[int, ...]
    ttl_steps: int
    max_items: int = MAX_ITEMS
    dtypes: tuple[Dtype, ...] = ("f16", "f32")
