"""Texts to vectors for memories that search by meaning: hashed words, and a cache around any encoder."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from palate.errors import DataError
from palate.memory.contract import FloatMatrix, TextEncoder
from palate.memory.words import terms

__all__ = ["CachedEncoder", "hashed_words", "unit_rows"]

_WIDTH = 512


def hashed_words(texts: Sequence[str]) -> FloatMatrix:
    """Return unit vectors ``[N, 512]`` of hashed words and word pairs: no weights, the same on every machine.

    A sentence encoder understands synonyms and this does not; it lets every memory run with nothing to load.
    """
    found = np.zeros((len(texts), _WIDTH), dtype=np.float32)
    for row, text in enumerate(texts):
        words = terms(text)
        for feature in [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))]:
            digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
            code = int.from_bytes(digest, "little")
            found[row, code % _WIDTH] += 1.0 if code >> 63 else -1.0
    return unit_rows(found)


class CachedEncoder:
    """Remembers the vectors of the last ``size`` texts, so that the same text is encoded once across memories."""

    def __init__(self, encoder: TextEncoder, size: int = 200_000) -> None:
        self.encoder, self.size = encoder, size
        self._known: OrderedDict[str, FloatMatrix] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> FloatMatrix:
        """Return unit vectors ``[N, D]``."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            made = unit_rows(np.asarray(self.encoder(missing), dtype=np.float32))
            if len(made) != len(missing) or not np.isfinite(made).all():
                raise DataError(f"The encoder returned {made.shape} for {len(missing)} texts, or values not finite.")
            self._known.update(zip(missing, made, strict=True))
        found = np.stack([self._known[text] for text in texts])
        while len(self._known) > self.size:
            self._known.popitem(last=False)
        return found


def unit_rows(vectors: FloatMatrix) -> FloatMatrix:
    """Return rows of length one (zero rows stay zero)."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms == 0, 1.0, norms), dtype=np.float32)
