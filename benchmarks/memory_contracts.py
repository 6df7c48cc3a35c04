"""Hold the memories of other libraries to the laws of a memory, each in an environment of its own.

    OMP_NUM_THREADS=1 python benchmarks/memory_contracts.py mem0 langmem memengine

These libraries ask for versions that ours does not go with, so the tests cannot run them; this command does. It ends
with an error when a law is broken.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from peers import peer_environment

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {
    "mem0": ["mem0ai==2.2.1"],
    "langmem": ["langmem==0.0.30"],
    "memengine": ["memengine==1.1.0", "langchain==0.3.27"],
}
CORE = ("numpy", "polars", "pyarrow", "pydantic", "safetensors", "rich", "cyclopts", "scipy", "scikit-learn", "Jinja2")
CHECK = "from palate.testing import check_memory; print(check_memory({name!r}))"


def main() -> None:
    """Check the named libraries, all by default."""
    pins = dict(re.findall(r"(?m)^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8")))
    core = [f"{name}=={pins[name]}" for name in CORE]
    failed = False
    for name in sys.argv[1:] or LIBRARIES:
        python = peer_environment(f"{name}-contract", [*LIBRARIES[name], *core], first=[f"torch=={pins['torch']}"])
        settings = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        failed |= bool(
            subprocess.run([str(python), "-c", CHECK.format(name=name)], env=settings, check=False).returncode
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
