"""Seeds: one number fixes a run, and every other seed is derived from it by hashing."""

from __future__ import annotations

import hashlib
import random
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

__all__ = ["capture_randomness", "derive", "restore_randomness", "seed_everything"]


def derive(seed: int, *labels: str | int) -> int:
    """Return a seed in ``[0, 2^63)`` for a purpose, independent of all seeds derived with other labels.

    ``derive = BLAKE2b(seed, labels) mod 2^63``. The labels are length-prefixed and typed, so that ``("ab", "c")``
    differs from ``("a", "bc")`` and ``1`` from ``"1"``. The value depends on nothing but its arguments: not on the
    platform, the process or the order of calls.

    Example:
        >>> derive(0, "order", 3) == derive(0, "order", 3), derive(0, "order", 3) == derive(0, "order", 4)
        (True, False)
    """
    digest = hashlib.blake2b(digest_size=8)
    for label in (seed, *labels):
        text = f"{type(label).__name__}:{label}".encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest(), "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices), each with a seed of its own.

    Example:
        >>> seed_everything(7); first = torch.rand(3)
        >>> seed_everything(7); bool((torch.rand(3) == first).all())
        True
    """
    random.seed(derive(seed, "python"))
    np.random.seed(derive(seed, "numpy") % 2**32)  # noqa: NPY002 - the global generator is what users' code draws from
    torch.manual_seed(derive(seed, "torch"))


def capture_randomness(device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the states of the global generators as tensors (no pickle), for :func:`restore_randomness`."""
    _, words, gauss = random.getstate()
    # The legacy form is a tuple of plain values, whatever the stubs allow.
    _, keys, position, has_gauss, cached = cast(tuple[Any, ...], np.random.get_state(legacy=True))  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(words, dtype=torch.int64),
        "python.gauss": torch.tensor([gauss is not None, gauss or 0.0], dtype=torch.float64),
        "numpy": torch.from_numpy(keys.astype(np.int64)),
        "numpy.gauss": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
    }
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_randomness(state: dict[str, Tensor], device: torch.device | str = "cpu") -> None:
    """Set the global generators to what :func:`capture_randomness` returned."""
    torch.set_rng_state(state["torch"])
    has_gauss, gauss = state["python.gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), gauss if has_gauss else None))
    position, has_cached, cached = state["numpy.gauss"].tolist()
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_cached), cached))  # noqa: NPY002
    if torch.device(device).type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
