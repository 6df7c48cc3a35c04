"""Training under torchrun: each process takes its part of the joint batch, and gradients are averaged by rows.

The gradient of the mean over a joint batch of ``N`` rows is ``sum_r (n_r / N) grad_r``, so processes with unequal
parts (the last batch of an epoch) still take the step that one process would take with the whole batch. Dense
gradients travel in one flat sum; tables exchange the rows that were touched, never the table.

Layers that look across rows (BatchNorm) see the rows of their own process only.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from palate.errors import TrainingError
from palate.train.batches import num_rows, take_rows
from palate.train.contract import BatchSource
from palate.train.rows import row_gradient

__all__ = ["Shared", "World"]


class Shared(NamedTuple):
    """What the processes know together after a step: mean loss, its total weight, and whether one wants to stop."""

    loss: float
    weight: float
    stop: bool


@dataclass(frozen=True)
class World:
    """The processes that train together; a single process is a world of one, for which everything is a no-op.

    Attributes:
        rank: Number of this process, from 0. Rank 0 validates, and writes checkpoints, trackers and progress.
        size: How many processes.
        device: Where the tensors of collectives live.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Return the world that torchrun set up (``WORLD_SIZE`` above 1), or a world of one.

        The process group lives until the process ends: a second rendezvous at the same address can meet what is left
        of the first one and wait for ever.
        """
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), device)
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls(device=device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def shard(self, source: BatchSource[Any]) -> BatchSource[Any]:
        """Return the part of ``source`` for this process: its own ``shard(rank, size)``, or slices of its batches."""
        if self.size == 1:
            return source
        if hasattr(source, "shard"):
            part: BatchSource[Any] = source.shard(self.rank, self.size)
            return part
        return _Slices(source, self.rank, self.size)

    def align(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of rank 0."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def average(self, parameters: Mapping[str, nn.Parameter], loss: float, weight: float, stop: bool) -> Shared:
        """Replace every gradient by its mean over the joint batch and return the joint loss.

        Args:
            parameters: The trainable parameters, with the gradients of this process (of a mean over its rows).
            loss: Loss of this process.
            weight: Its rows (0: this process had none; its gradients do not count).
            stop: Whether this process wants to stop.
        """
        if self.size == 1:
            return Shared(loss, weight, stop)
        weights = list(parameters.values())
        dense_here = [w.grad is not None and not w.grad.is_sparse for w in weights]
        sparse_here = [w.grad is not None and w.grad.is_sparse for w in weights]
        numbers = [loss * weight if weight else 0.0, weight, stop, *dense_here, *sparse_here]
        head = torch.tensor(numbers, dtype=torch.float64)
        head = head.to(self.device)
        dist.all_reduce(head)
        total, rows, wish, *counts = head.tolist()
        dense = [w for w, count in zip(weights, counts, strict=False) if count]
        sparse = [
            w for w, full, by_rows in zip(weights, counts, counts[len(weights) :], strict=False) if by_rows and not full
        ]
        if rows:
            self._average_dense(dense, weight / rows)
            for table in sparse:
                self._average_rows(table, weight / rows)
        return Shared(total / rows if rows else 0.0, rows, bool(wish))

    def _average_dense(self, weights: list[nn.Parameter], share: float) -> None:
        if not weights:
            return
        parts = [torch.zeros_like(w) if w.grad is None else w.grad.to_dense().mul(share) for w in weights]
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):  # type: ignore[no-untyped-call]
            weight.grad = part.view_as(weight).to(weight.dtype)

    def _average_rows(self, table: nn.Parameter, share: float) -> None:
        empty = torch.zeros(0, dtype=torch.int64, device=table.device), table.new_zeros(0, table.shape[1])
        ids, rows = empty if table.grad is None else row_gradient(table.grad)
        all_ids, all_rows = self._gather(ids), self._gather(rows.detach() * share)
        table.grad = torch.sparse_coo_tensor(
            all_ids.unsqueeze(0), all_rows, table.shape, is_coalesced=False, check_invariants=False
        )

    def _gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, of unequal lengths, one after another in the order of ranks."""
        lengths = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([tensor.shape[0]], device=self.device))
        longest = int(max(length.item() for length in lengths))
        padded = tensor.new_zeros(longest, *tensor.shape[1:])
        padded[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(length.item())] for part, length in zip(parts, lengths, strict=True)])

    def tell(self, message: Any) -> Any:
        """Return the JSON message of rank 0 in every process."""
        if self.size == 1:
            return message
        data = torch.tensor(list(json.dumps(message).encode()), dtype=torch.uint8, device=self.device)
        length = torch.tensor([data.numel()], device=self.device)
        dist.broadcast(length, 0)
        if not self.first:
            data = torch.zeros(int(length.item()), dtype=torch.uint8, device=self.device)
        dist.broadcast(data, 0)
        return json.loads(bytes(data.cpu().tolist()))

    def collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of all processes (same names and shapes everywhere) under ``RANK.name``."""
        if self.size == 1:
            return {f"0.{name}": tensor for name, tensor in tensors.items()}
        gathered: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            parts = [torch.empty_like(tensor, device=self.device) for _ in range(self.size)]
            dist.all_gather(parts, tensor.to(self.device))
            gathered |= {f"{rank}.{name}": part.cpu() for rank, part in enumerate(parts)}
        return gathered


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _Slices:
    """A source whose batches are the equal parts, by rows, of another source's batches."""

    def __init__(self, source: BatchSource[Any], rank: int, size: int) -> None:
        self.source, self.rank, self.size = source, rank, size

    def steps(self, epoch: int) -> int:
        return self.source.steps(epoch)

    def batch(self, epoch: int, step: int) -> Any:
        joint = self.source.batch(epoch, step)
        rows = num_rows(joint)
        if not rows:
            raise TrainingError(f"Batch {step} of epoch {epoch} has no rows.")
        return take_rows(joint, rows * self.rank // self.size, rows * (self.rank + 1) // self.size)
