"""Which device and which cloud belong together: a version that follows from the weights."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from palate.sequence.cocorrrec import CoCorrRec

__all__ = ["ModelVersions", "model_versions"]

# What else a device computes with; the rest of the settings is about training or about the cloud.
_SETTINGS = ("embedding_size", "num_heads", "mini_batch_size", "inner_rate", "rope_base", "residual")


class ModelVersions(NamedTuple):
    """The version that an upload must carry, by its kind.

    Attributes:
        hidden: Of the device's part; a cloud trained around the same device has the same.
        summary: Of the device's part and the recurrences that it runs for the cloud.
    """

    hidden: str
    summary: str


def model_versions(model: CoCorrRec) -> ModelVersions:
    """Return the versions of a model: the first 16 hexadecimal digits of the SHA-256 of settings and weights.

    The weights of the cloud's heads and P and Q are not part of either: they may be replaced at any time, devices
    get them with the next answer.

    Example:
        >>> len(model_versions(CoCorrRec(10)).hidden)
        16
    """
    state = model.state_dict()
    device = [name for name in state if not name.startswith(("gcn.", "attention_weight", "bias_weight"))]
    recurrent = [name for name in state if name.startswith("gcn.") and ".gru." in name]
    settings = {name: getattr(model.config, name) for name in _SETTINGS}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    versions = []
    for names in (device, recurrent):
        for name in sorted(names):
            tensor = state[name].detach().float().cpu().contiguous()
            digest.update(f"{name}{list(tensor.shape)}".encode() + tensor.numpy().astype("<f4").tobytes())
        versions.append(digest.hexdigest()[:16])
    return ModelVersions(*versions)
