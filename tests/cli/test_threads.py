from __future__ import annotations

import subprocess
import sys

from palate.cli.threads import wait_briefly


def test_what_the_environment_says_stays() -> None:
    for given in ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "PASSIVE"}):
        changed = dict(given)
        wait_briefly(changed)
        assert changed == given


def test_the_command_line_sets_it_before_torch_is_there() -> None:
    code = (
        "import os, sys, palate.cli.app as app\n"
        "app.run = lambda arguments: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules) or 0\n"
        "from palate.cli import main\n"
        "main([])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["1000", "False"]
