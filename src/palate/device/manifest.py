"""What an export says of itself: ``device.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from palate.config import Config
from palate.device.item_rows import Precision

__all__ = ["KIND", "DeviceManifest", "DeviceRuntimeName"]

KIND = "device"

DeviceRuntimeName = Literal["onnx", "executorch"]


class DeviceManifest(Config):
    """Everything that a device must know before it opens the other files of an export.

    The checksums of those files stand in ``palate.json`` (:mod:`palate.saving`).

    Attributes:
        format: Version of this form.
        runtime: What runs the step: ONNX Runtime or ExecuTorch.
        step: File of the step model.
        model_version: Which device part this is; the cloud must have the same (see
            :func:`palate.sequence.model_version.model_versions`).
        summary_version: The version for uploads of summaries; ``None`` without corrections.
        data: Name of the log that the model learned from.
        precision: Of item rows; ``int8`` is also that of the step's four matrices. The state is always float32.
        corrected: Whether the step takes corrections from the cloud.
        num_items: ``V``.
        embedding_size: ``D``.
        num_heads: ``h``.
        mini_batch_size: ``m``.
        sync_every: Clicks between two uploads.
        upload_items: Items that an upload is made of, at most: the longest history of training.
        parameters: Learned numbers of the step, item rows left out.
        flops_per_click: Floating-point operations of one step, two per multiply-add.
        flops_per_ranking: The same for scoring the whole catalogue.
    """

    format: Literal[1] = 1
    runtime: DeviceRuntimeName
    step: Literal["step.onnx", "step.pte"]
    model_version: str = Field(min_length=1, max_length=16)
    summary_version: str | None = None
    data: str
    precision: Precision
    corrected: bool
    num_items: int = Field(ge=1)
    embedding_size: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    mini_batch_size: int = Field(ge=1)
    sync_every: int = Field(ge=1)
    upload_items: int = Field(ge=1, le=1000)
    parameters: int = Field(ge=1)
    flops_per_click: int = Field(ge=1)
    flops_per_ranking: int = Field(ge=1)

    @property
    def head_width(self) -> int:
        """``d = D / h``."""
        return self.embedding_size // self.num_heads
