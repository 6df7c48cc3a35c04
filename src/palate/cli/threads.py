"""How threads wait for one another on a machine that is busy with other things."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["wait_briefly"]

_TURNS = "1000"  # some tens of microseconds


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of one operation give their core away soon while they wait; call it before torch is imported.

    By default a thread that is done with its share of an operation spins for milliseconds until the others are. When
    other processes want the cores, it spins away the very time that the others need: a request of a small model was
    seen to take 400 ms with two threads beside two busy processes, 6 ms with one thread, and 10 ms with this. What
    the environment says already stays.

    Example:
        >>> given = {"OMP_WAIT_POLICY": "ACTIVE"}
        >>> wait_briefly(given)
        >>> given
        {'OMP_WAIT_POLICY': 'ACTIVE'}
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", _TURNS)
