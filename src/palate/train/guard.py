"""When a loss or a gradient is not finite: name the batch and the parameters, and keep a reproduction."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palate.errors import NonFiniteError
from palate.saving import save_folder
from palate.train.batches import named_tensors

__all__ = ["non_finite_error"]

logger = logging.getLogger(__name__)
SHOWN = 6


def non_finite_error(
    model: nn.Module,
    batch: Any,
    *,
    epoch: int,
    step: int,
    loss: float,
    norm: float,
    folder: Path | None,
    rank: int | None = None,
) -> NonFiniteError:
    """Build the error for a step whose loss or gradient is NaN or infinite; the update was *not* applied.

    With a ``folder``, the batch, the weights that met it and the findings are saved there as
    ``non-finite-EPOCH-STEP``: ``batch.safetensors``, ``weights.safetensors`` and ``report.json``.

    Args:
        model: The model with its gradients still in place.
        batch: The batch.
        epoch: Index of the epoch, as the batch source counts.
        step: Index of the batch in its epoch.
        loss: Value of the loss.
        norm: Norm of the gradient.
        folder: Folder of the run, or ``None``.
        rank: Number of this process when several train together: each saves its own batch.
    """
    bad_weights = _bad((name, weight) for name, weight in model.named_parameters())
    bad_gradients = _bad((name, weight.grad) for name, weight in model.named_parameters())
    bad_inputs = _bad(named_tensors(batch))
    what = f"the loss is {loss}" if not _finite(loss) else f"the norm of the gradient is {norm} (loss {loss:.6g})"
    findings = [
        f"{kind}: {_listed(names)}"
        for kind, names in (
            ("inputs that are not finite", bad_inputs),
            ("weights that are not finite", bad_weights),
            ("gradients that are not finite", bad_gradients),
        )
        if names
    ]
    where = f"epoch {epoch}, step {step}"
    message = f"At {where} (source.batch({epoch}, {step})) {what}; " + "; ".join(findings or ["all weights are finite"])
    remedy = "Lower the learning rate, check the inputs, or use float32."
    if folder is not None:
        path = folder / (f"non-finite-{epoch}-{step}" + ("" if rank is None else f"-rank-{rank}"))
        report = {
            "epoch": epoch,
            "step": step,
            "loss": str(loss),
            "gradient_norm": str(norm),
            "model": type(model).__qualname__,
            "batch": f"{type(batch).__module__}.{type(batch).__qualname__}",
            "inputs": bad_inputs,
            "weights": bad_weights,
            "gradients": bad_gradients,
        }
        tensors = {"batch": dict(named_tensors(batch)), "weights": model.state_dict()}
        save_folder(path, kind="reproduction", name=type(model).__name__, documents={"report": report}, tensors=tensors)
        remedy += f" The batch and the weights are in {path}."
    return NonFiniteError(message + ".", remedy=remedy)


def _bad(tensors: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    found = []
    for name, tensor in tensors:
        values = tensor._values() if tensor is not None and tensor.is_sparse else tensor
        if values is not None and values.is_floating_point() and not bool(values.detach().isfinite().all()):
            found.append(name)
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _finite(value: float) -> bool:
    return bool(torch.isfinite(torch.tensor(value)))
