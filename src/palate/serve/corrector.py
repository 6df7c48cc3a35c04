"""The cloud's side of CoCorrRec: uploads in, corrections out, many at a time, nothing kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from palate.errors import ConfigError
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.correction_wire import SUMMARY_SHAPE, Answer, FloatArray, Upload, WireError
from palate.sequence.model_version import model_versions
from palate.serve.refusals import VersionError

if TYPE_CHECKING:
    from palate.sequence.ttt_layer import Correction

__all__ = ["Corrector"]

# Longer uploads are computed apart, so that one of a thousand items does not hold up those of ten.
_SHORT = 64


class Corrector:
    """Answers uploads; an answer depends on its upload alone (to rounding, not on what else is in the batch).

    Raw corrections are centred along their last axis before they are sent: the device takes the mean out anyway
    (:func:`palate.sequence.ttt_layer.rescale`), and float16 then spends its digits on what counts.

    Args:
        model: A fitted model with corrections.
        ttl_steps: Clicks during which a correction may be used. By default as old as training has seen it:
            ``2 m + sync_every``.

    Raises:
        ConfigError: If the model has no corrections.
    """

    def __init__(self, model: CoCorrRec, *, ttl_steps: int | None = None) -> None:
        config = model.config
        if config.mode == "base":
            raise ConfigError(
                'A CoCorrRec of mode="base" has no corrections to give.', remedy='Fit one of mode="causal".'
            )
        self.model = model.eval()
        self.versions = model_versions(model)
        self.embedding_size = config.embedding_size
        self.shape = model.gcn.bias_shape
        self.ttl_steps = 2 * config.mini_batch_size + config.sync_every if ttl_steps is None else ttl_steps

    def check(self, upload: Upload) -> None:
        """Refuse an upload that this model cannot answer.

        Raises:
            VersionError: If it comes from another model.
            WireError: If its shape is not that of this model.
        """
        expected = self.versions.summary if upload.kind == "summary" else self.versions.hidden
        if upload.model_version != expected:
            raise VersionError(
                f"The device has model {upload.model_version}; for uploads of kind {upload.kind} this service has "
                f"{expected}.",
                remedy="Go on without corrections, and update the model of the device.",
            )
        rows, columns = upload.values.shape
        if upload.kind == "summary" and (rows, columns) != SUMMARY_SHAPE:
            raise WireError(f"The summaries are {[rows, columns]}; {list(SUMMARY_SHAPE)} is expected.")
        if upload.kind == "hidden" and columns != self.embedding_size:
            raise WireError(f"The hidden states have width {columns}; this model has D = {self.embedding_size}.")
        if rows < 1:
            raise WireError("The upload has no rows.", remedy="Ask after the first click.")

    @torch.inference_mode()
    def answer(self, uploads: Sequence[Upload]) -> list[Answer | Exception]:
        """Return one answer for each upload, all of which must have been checked.

        An upload whose numbers are so large that its answer is not finite gets a :class:`WireError` in its place.
        """
        if not uploads:
            return []
        attention, bias = (torch.zeros(len(uploads), SUMMARY_SHAPE[1]) for _ in range(2))
        for rows in _alike(uploads):
            first, second = self._summaries([uploads[row] for row in rows])
            attention[rows], bias[rows] = first, second
        correction = self.model.answer(attention, bias)
        return self._told(uploads, correction)

    def _summaries(self, uploads: list[Upload]) -> tuple[Tensor, Tensor]:
        values = [torch.from_numpy(np.array(upload.values)) for upload in uploads]
        if uploads[0].kind == "summary":
            first, second = torch.stack(values).unbind(1)
            return first, second
        lengths = torch.tensor([len(value) for value in values])
        hidden = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        rows = torch.arange(len(values))
        # One after the other: for larger batches that is quicker than both as one of twice the width.
        parts = (self.model.gcn.attention, self.model.gcn.bias)
        first, second = (part.summaries(hidden)[rows, lengths - 1] for part in parts)
        return first, second

    def _told(self, uploads: Sequence[Upload], correction: Correction) -> list[Answer | Exception]:
        attention, bias = (_centred(part) for part in (correction.attention, correction.bias))
        p, q = float(correction.attention_weight), float(correction.bias_weight)
        told: list[Answer | Exception] = []
        for upload, one, two in zip(uploads, attention, bias, strict=True):
            if not (np.isfinite(one).all() and np.isfinite(two).all()):
                told.append(WireError("The numbers of the upload are too large to answer."))
                continue
            told.append(
                Answer(
                    model_version=upload.model_version,
                    seq_no=upload.seq_no,
                    ttl_steps=self.ttl_steps,
                    attention=_within(one, upload.dtype),
                    bias=_within(two, upload.dtype),
                    attention_weight=p,
                    bias_weight=q,
                    dtype=upload.dtype,
                )
            )
        return told


def _alike(uploads: Sequence[Upload]) -> list[list[int]]:
    """Return the places of uploads that are computed together: summaries, short histories, long ones."""
    kinds: dict[Any, list[int]] = {}
    for place, upload in enumerate(uploads):
        kinds.setdefault((upload.kind, len(upload.values) > _SHORT), []).append(place)
    return list(kinds.values())


def _centred(raw: Tensor) -> FloatArray:
    return np.asarray((raw - raw.mean(-1, keepdim=True)).numpy(), np.float32)


def _within(raw: FloatArray, dtype: str) -> FloatArray:
    """Return ``raw`` at half its size as often as float16 needs; the device takes scale out like the mean."""
    largest = float(np.abs(raw).max(initial=0.0))
    if dtype == "f32" or largest < 2.0**15:
        return raw
    return np.asarray(raw * 2.0 ** (14 - np.ceil(np.log2(largest))), np.float32)
