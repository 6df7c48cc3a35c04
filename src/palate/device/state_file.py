"""One saved state as bytes: checked as a whole, and bound to its user and its model.

Layout: ``PLTS``, format (u32, little-endian), SHA-256 of the rest (32 bytes), then a safetensors file whose metadata
name the model version and a digest of the user.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from palate.errors import SavedFolderError

__all__ = ["OtherModelError", "pack_state", "unpack_state"]

AnyArray = np.ndarray[Any, np.dtype[Any]]

FORMAT = 1
_HEAD = struct.Struct("<4sI32s")


class OtherModelError(SavedFolderError):
    """A state was made by another model than the one that is asked to go on with it."""

    code = "P402"


def pack_state(arrays: Mapping[str, AnyArray], *, user: str, model_version: str) -> bytes:
    """Return the bytes of a state file.

    Args:
        arrays: The state.
        user: Digest of the user.
        model_version: Version of the model whose state it is.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    body = save(whole, metadata={"user": user, "model_version": model_version})
    return _HEAD.pack(b"PLTS", FORMAT, hashlib.sha256(body).digest()) + body


def unpack_state(content: bytes, *, user: str, model_version: str) -> dict[str, AnyArray]:
    """Return the arrays of a state file.

    Raises:
        OtherModelError: If the state is whole, and another model's.
        SavedFolderError: If it was altered or cut short, is of a newer format, or belongs to another user.
    """
    if len(content) < _HEAD.size or content[:4] != b"PLTS":
        raise SavedFolderError("This is not a state that a device saved, or its beginning was lost.")
    _, found_format, digest = _HEAD.unpack_from(content)
    if found_format > FORMAT:
        raise SavedFolderError(
            f"The state has format {found_format}; this Palate reads up to {FORMAT}.",
            remedy="Update Palate: pip install -U palate",
        )
    body = content[_HEAD.size :]
    if hashlib.sha256(body).digest() != digest:
        raise SavedFolderError("The state was altered or cut short.")
    facts = _metadata(body)
    if facts.get("user") != user:
        raise SavedFolderError("The state belongs to another user.", remedy="Do not copy states between users.")
    if facts.get("model_version") != model_version:
        raise OtherModelError(
            f"The state was made by model {facts.get('model_version')}; this export is {model_version}.",
            remedy="Forget the user and begin anew, or go on with the export that made it.",
        )
    try:
        return load(body)
    except SafetensorError as error:
        raise SavedFolderError(f"The state cannot be read: {error}.") from None


def _metadata(body: bytes) -> dict[str, str]:
    try:
        (length,) = struct.unpack_from("<Q", body)
        facts: dict[str, str] = dict(json.loads(body[8 : 8 + length])["__metadata__"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise SavedFolderError(f"The state cannot be read: {error}.") from None
    return facts
