"""Thin commands over the public functions."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (see :mod:`palate.cli.app`)."""
    import sys

    from palate.cli.threads import wait_briefly

    wait_briefly()  # read by the OpenMP runtime once, when torch is imported

    from palate.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
