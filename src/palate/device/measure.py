"""What an export costs here: bytes on disk, the time of a click and of a list, and their work."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palate.device.device_model import DeviceModel
from palate.device.state_file import pack_state

__all__ = ["DeviceCost", "measure_export"]


@dataclass(frozen=True, slots=True)
class DeviceCost:
    """The cost of one export on this machine, in one thread.

    Attributes:
        bytes_on_disk: By file.
        step_state_bytes: What a click reads and writes.
        state_file_bytes: One user on disk; the same after any number of clicks.
        click_milliseconds: Median time of the step alone, without saving.
        list_milliseconds: Median time of ranking the catalogue.
        flops_per_click: Work of a step.
        flops_per_ranking: Work of ranking the catalogue.
        clicks: Clicks behind the medians.
    """

    bytes_on_disk: dict[str, int]
    step_state_bytes: int
    state_file_bytes: int
    click_milliseconds: float
    list_milliseconds: float
    flops_per_click: int
    flops_per_ranking: int
    clicks: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


def measure_export(path: str | Path, *, clicks: int = 200, seed: int = 0) -> DeviceCost:
    """Play random clicks on an export and return what it costs.

    Args:
        path: Folder of the export.
        clicks: Clicks to time, after a tenth of them to warm up.
        seed: Seed of the items.

    Raises:
        SavedFolderError: If the export cannot be used.
    """
    model = DeviceModel.open(path)
    items = np.random.default_rng(seed).integers(1, model.manifest.num_items + 1, clicks + clicks // 10 + 1).tolist()
    state, steps, lists = model.initial(), [], []
    for item in items:
        start = time.perf_counter()
        state = model.after(state, item)
        middle = time.perf_counter()
        model.rank(state)
        steps.append(middle - start)
        lists.append(time.perf_counter() - middle)
    saved = pack_state(state.to_arrays(), user="0" * 32, model_version=model.manifest.model_version)
    warm = len(items) - clicks
    return DeviceCost(
        bytes_on_disk={file.name: file.stat().st_size for file in sorted(Path(path).iterdir())},
        step_state_bytes=state.nbytes,
        state_file_bytes=len(saved),
        click_milliseconds=1e3 * statistics.median(steps[warm:]),
        list_milliseconds=1e3 * statistics.median(lists[warm:]),
        flops_per_click=model.manifest.flops_per_click,
        flops_per_ranking=model.manifest.flops_per_ranking,
        clicks=clicks,
    )
