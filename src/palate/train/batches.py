"""What the loop does with batches of any kind: move them, count their rows, take a part, name their tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from palate.errors import TrainingError

__all__ = ["move", "named_tensors", "num_rows", "take_rows"]


def move(batch: Any, device: torch.device) -> Any:
    """Return ``batch`` on ``device``: by its own ``to``, or tensor by tensor in tuples, lists and mappings."""
    if device.type == "cpu":
        return batch
    if hasattr(batch, "to"):
        return batch.to(device)
    return _map(batch, lambda tensor: tensor.to(device))


def num_rows(batch: Any) -> int:
    """Return the number of rows: of the first tensor of a tuple, list or mapping, otherwise ``len(batch)``."""
    if isinstance(batch, tuple | list | Mapping):
        for _, tensor in named_tensors(batch):
            return int(tensor.shape[0])
        raise _unknown(batch)
    try:
        return len(batch)
    except TypeError:
        raise _unknown(batch) from None


def take_rows(batch: Any, start: int, stop: int) -> Any:
    """Return rows ``start`` to ``stop``: by the batch's own ``rows``, or by slicing each tensor."""
    if hasattr(batch, "rows"):
        return batch.rows(start, stop)
    return _map(batch, lambda tensor: tensor[start:stop])


def named_tensors(batch: Any, name: str = "batch") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of a batch (a tensor, a dataclass, or any nesting of tuples, lists, mappings) with its path.

    Example:
        >>> [name for name, _ in named_tensors((torch.zeros(2), {"y": torch.ones(2)}))]
        ['batch.0', 'batch.1.y']
    """
    if isinstance(batch, Tensor):
        yield name, batch
    elif isinstance(batch, Mapping):
        for key, entry in batch.items():
            yield from named_tensors(entry, f"{name}.{key}")
    elif isinstance(batch, tuple | list):
        for place, entry in enumerate(batch):
            yield from named_tensors(entry, f"{name}.{place}")
    elif dataclasses.is_dataclass(batch):
        for field in dataclasses.fields(batch):
            yield from named_tensors(getattr(batch, field.name), f"{name}.{field.name}")


def _map(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: _map(entry, change) for key, entry in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(_map(entry, change) for entry in batch)
    if batch is None or isinstance(batch, int | float | str):
        return batch
    raise _unknown(batch)


def _unknown(batch: Any) -> TrainingError:
    return TrainingError(
        f"The loop cannot take rows from a batch of type {type(batch).__name__}.",
        remedy="Give it __len__, to(device) and rows(start, stop), or use tensors in a tuple, list or mapping.",
    )
