"""The binary form of an upload and of its answer, shared by the device and the cloud; NumPy only.

All numbers are little-endian. An upload is a header of 72 bytes and its array; an answer is a header of 48 bytes and
two arrays. With D = 64, h = 4 and m = 10 in float16, ten items are 72 + 1,280 bytes up and 48 + 2,080 bytes down.

Upload:  "PCQ1", kind u8 (0 hidden, 1 summary), dtype u8 (0 f16, 1 f32), u16 0, rows u32, columns u32, seq_no u64,
         model_version 16 bytes, session 32 bytes (both ASCII, filled up with zero bytes), array [rows, columns]
Answer:  "PCA1", u8 0, dtype u8, heads u16, m u16, d u16, ttl_steps u32, seq_no u64, P f32, Q f32,
         model_version 16 bytes, dA [h, m, m], db [h, m, d]
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from palate.errors import ServiceError

__all__ = [
    "CONTENT_TYPE",
    "MAX_ITEMS",
    "MAX_SEQ_NO",
    "PROTOCOL",
    "SUMMARY_SHAPE",
    "Answer",
    "Dtype",
    "FloatArray",
    "Kind",
    "Upload",
    "WireError",
    "array_of_bytes",
    "bytes_of_array",
]

PROTOCOL = 1
CONTENT_TYPE = "application/vnd.palate.correction"
MAX_ITEMS = 1000
MAX_SEQ_NO = 2**53 - 1  # the largest whole number that every JSON reader keeps
SUMMARY_SHAPE = (2, 64)

Kind = Literal["hidden", "summary"]
Dtype = Literal["f16", "f32"]
FloatArray = np.ndarray[Any, np.dtype[np.float32]]

_KINDS: tuple[Kind, ...] = get_args(Kind)
_DTYPES: tuple[Dtype, ...] = get_args(Dtype)
_NUMPY: dict[str, str] = {"f16": "<f2", "f32": "<f4"}
_UPLOAD = struct.Struct("<4sBBHIIQ16s32s")
_ANSWER = struct.Struct("<4sBBHHHIQff16s")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class WireError(ServiceError):
    """Bytes that are not an upload or an answer; says what came and what was expected."""

    code = "P506"


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """What a device asks a correction for.

    Attributes:
        model_version: Version of the model on the device, up to 16 letters, digits, ``-`` or ``_``.
        session: A random name of up to 32 of the same characters, so that a device can be told from others.
        seq_no: Items that the device had seen when it made the upload; the answer repeats it.
        values: Hidden states float32 ``[n, D]``, or the two summaries ``[2, 64]``.
        kind: ``hidden`` or ``summary``.
        dtype: How numbers travel, in both directions.
    """

    model_version: str
    session: str
    seq_no: int
    values: FloatArray
    kind: Kind = "hidden"
    dtype: Dtype = "f16"

    def to_bytes(self) -> bytes:
        """Return the binary form.

        Raises:
            WireError: If a name cannot be sent, or a number is not finite in ``dtype``.
        """
        rows, columns = self.values.shape
        head = _UPLOAD.pack(
            b"PCQ1",
            _KINDS.index(self.kind),
            _DTYPES.index(self.dtype),
            0,
            rows,
            columns,
            self.seq_no,
            _packed("model_version", self.model_version, 16),
            _packed("session", self.session, 32),
        )
        return head + bytes_of_array(self.values, self.dtype)

    @classmethod
    def from_bytes(cls, body: bytes) -> Upload:
        """Read the binary form.

        Raises:
            WireError: If it is anything else.
        """
        magic, kind, dtype, spare, rows, columns, seq_no, version, session = _header(_UPLOAD, body, "An upload")
        if magic != b"PCQ1" or kind >= len(_KINDS) or dtype >= len(_DTYPES) or spare:
            raise WireError(
                "The body does not begin like an upload.", remedy="See the protocol: magic PCQ1, version 1."
            )
        if seq_no > MAX_SEQ_NO:
            raise WireError(f"seq_no is {seq_no}; it must be at most {MAX_SEQ_NO}.")
        if rows > MAX_ITEMS:  # before the product, which a hostile header could make large
            raise WireError(
                f"The upload has {rows} rows; at most {MAX_ITEMS} are allowed.", remedy="Send the last ones."
            )
        return cls(
            model_version=_unpacked("model_version", version),
            session=_unpacked("session", session),
            seq_no=seq_no,
            values=array_of_bytes(body[_UPLOAD.size :], _DTYPES[dtype], (rows, columns)),
            kind=_KINDS[kind],
            dtype=_DTYPES[dtype],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The correction of one upload.

    Attributes:
        model_version: Version of the model that answers.
        seq_no: That of the upload.
        ttl_steps: Clicks after the upload during which the correction may be used.
        attention: dA, float32 ``[h, m, m]``.
        bias: db, float32 ``[h, m, d]``.
        attention_weight: P.
        bias_weight: Q.
        dtype: How numbers travel.
    """

    model_version: str
    seq_no: int
    ttl_steps: int
    attention: FloatArray
    bias: FloatArray
    attention_weight: float
    bias_weight: float
    dtype: Dtype = "f16"

    def to_bytes(self) -> bytes:
        """Return the binary form."""
        heads, tokens, width = self.bias.shape
        head = _ANSWER.pack(
            b"PCA1",
            0,
            _DTYPES.index(self.dtype),
            heads,
            tokens,
            width,
            self.ttl_steps,
            self.seq_no,
            self.attention_weight,
            self.bias_weight,
            _packed("model_version", self.model_version, 16),
        )
        return head + bytes_of_array(self.attention, self.dtype) + bytes_of_array(self.bias, self.dtype)

    @classmethod
    def from_bytes(cls, body: bytes) -> Answer:
        """Read the binary form.

        Raises:
            WireError: If it is anything else, or a number is not finite.
        """
        fields = _header(_ANSWER, body, "An answer")
        magic, spare, dtype, heads, tokens, width, ttl_steps, seq_no, p, q, version = fields
        if magic != b"PCA1" or spare or dtype >= len(_DTYPES):
            raise WireError("The body does not begin like an answer.")
        if not (math.isfinite(p) and math.isfinite(q)):
            raise WireError(f"The weights of the correction are {p} and {q}; finite numbers are expected.")
        kind = _DTYPES[dtype]
        arrays, cut = body[_ANSWER.size :], heads * tokens * tokens * _size(kind)
        return cls(
            model_version=_unpacked("model_version", version),
            seq_no=seq_no,
            ttl_steps=ttl_steps,
            attention=array_of_bytes(arrays[:cut], kind, (heads, tokens, tokens)),
            bias=array_of_bytes(arrays[cut:], kind, (heads, tokens, width)),
            attention_weight=p,
            bias_weight=q,
            dtype=kind,
        )


def bytes_of_array(values: FloatArray, dtype: Dtype) -> bytes:
    """Return the little-endian bytes of ``values``.

    Raises:
        WireError: If a number is not finite in ``dtype``.
    """
    with np.errstate(over="ignore"):
        sent = np.ascontiguousarray(values, dtype=_NUMPY[dtype])
    if not np.isfinite(sent).all():
        raise WireError(f"A number is not finite in {dtype}.", remedy="Look for NaN, infinity and very large states.")
    return sent.tobytes()


def array_of_bytes(data: bytes, dtype: Dtype, shape: tuple[int, ...]) -> FloatArray:
    """Return little-endian bytes as float32 of ``shape``.

    Raises:
        WireError: If the length does not fit the shape, or a number is not finite.

    Example:
        >>> array_of_bytes(bytes_of_array(np.ones((1, 2), np.float32), "f16"), "f16", (1, 2))
        array([[1., 1.]], dtype=float32)
    """
    expected = math.prod(shape) * _size(dtype)
    if len(data) != expected:
        raise WireError(f"The array has {len(data)} bytes; {list(shape)} in {dtype} are {expected}.")
    values = np.frombuffer(data, dtype=_NUMPY[dtype]).astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise WireError("The array has numbers that are NaN or infinite.", remedy="Send finite numbers.")
    return values


def _size(dtype: Dtype) -> int:
    return 2 if dtype == "f16" else 4


def _header(form: struct.Struct, body: bytes, what: str) -> tuple[Any, ...]:
    if len(body) < form.size:
        raise WireError(f"{what} has {len(body)} bytes; its header alone has {form.size}.")
    return form.unpack_from(body)


def _packed(what: str, name: str, room: int) -> bytes:
    if len(name) > room or not _NAME.fullmatch(name):
        raise WireError(f"{what} is not 1 to {room} letters, digits, - or _.")
    return name.encode("ascii")


def _unpacked(what: str, data: bytes) -> str:
    name = data.rstrip(b"\0").decode("ascii", "replace")
    if not _NAME.fullmatch(name):
        raise WireError(f"{what} is not made of letters, digits, - and _.")
    return name
