"""The contract of a ranker: will this user take this item?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as functional
from torch import Tensor, nn

from palate.config import ModelConfig
from palate.data.features import FeatureSpec, RankBatch

__all__ = ["Ranker"]


class Ranker(nn.Module, ABC):
    """A model that gives one logit per row; the probability is its sigmoid.

    A subclass sets ``Config`` (a frozen :class:`~palate.config.ModelConfig`), is built from a
    :class:`~palate.data.features.FeatureSpec`, its config and, where the spec has vector fields, the pretrained
    matrices by field name, and writes ``forward``. The loop, calibration, saving, serving and export belong to
    the toolkit.

    Shapes:
        forward: ``RankBatch`` of ``B`` rows -> logits float32 ``[B]``.
        loss: ``RankBatch`` with labels -> scalar, the mean over rows (weighted where weights are given).
    """

    Config: ClassVar[type[ModelConfig]]

    def __init__(self, spec: FeatureSpec, config: ModelConfig, *, vectors: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.config = config

    @abstractmethod
    def forward(self, batch: RankBatch) -> Tensor:
        """Return logits ``[B]``."""

    def loss(self, batch: RankBatch) -> Tensor:
        """Return the mean binary cross-entropy of the logits against the labels.

        Models with a loss of their own override this; evaluation never uses it.
        """
        assert batch.labels is not None, "a batch for training carries labels"
        return functional.binary_cross_entropy_with_logits(self(batch).float(), batch.labels, weight=batch.weights)
