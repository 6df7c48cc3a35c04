"""What a reproduction ran on, as its document says it."""

from __future__ import annotations

import os
import platform
from typing import Any

__all__ = ["environment_of"]


def environment_of(workers: int) -> dict[str, Any]:
    """Return the versions, the cores at hand and the number of processes."""
    import numpy
    import torch

    from palate import __version__

    return {
        "palate": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "workers": workers,
    }
