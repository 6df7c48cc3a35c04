"""One file per system: the paper's claims at a reduced size, with the failures left in.

A module of this package that has ``SYSTEM`` (its public name) and ``run`` is a reproduction::

    SYSTEM = "qnn-alpha"
    def run(out: Path, *, smoke: bool, workers: int, progress: Progress) -> dict[str, Any]: ...

``run`` keeps finished cells under ``out/cells/SYSTEM`` so that an interrupted run goes on, and returns the document
that :func:`run` of this package writes as ``out/SYSTEM.json``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from palate.errors import UnknownNameError
from palate.saving import write_json

if TYPE_CHECKING:
    from palate.train.progress import Progress

__all__ = ["run", "systems"]


def systems() -> dict[str, str]:
    """Return the reproductions that there are: name -> what is checked, in one line."""
    return {name: (module.__doc__ or "").strip().split("\n")[0] for name, module in _modules().items()}


def run(name: str, out: str | Path, *, smoke: bool = False, workers: int = 1, progress: Progress) -> dict[str, Any]:
    """Run the reproduction ``name``, write ``out/NAME.json`` and return what was written.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    modules = _modules()
    if name not in modules:
        raise UnknownNameError.among("reproduction", name, modules)
    document: dict[str, Any] = modules[name].run(Path(out), smoke=smoke, workers=workers, progress=progress)
    write_json(Path(out) / f"{name}.json", document)
    return document


def _modules() -> dict[str, ModuleType]:
    found = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return {module.SYSTEM: module for module in found if hasattr(module, "SYSTEM")}
