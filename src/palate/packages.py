"""Where a package keeps its files, found without importing the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["package_folder"]


def package_folder(package: str) -> Path | None:
    """Return the folder of an installed package, or ``None``; nothing of the package runs.

    Example:
        >>> package_folder("no_such_package") is None
        True
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))
