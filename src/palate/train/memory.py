"""Lets glibc keep freed memory while a model trains.

A step of training asks for the same large tensors again and again. By default glibc hands memory above 128 KiB, and
the emptied heaps of a thread, back to the kernel at once, and every step pays for getting it back page by page: a
tenth of the time of a network of a few hundred units per layer. Other allocators keep it themselves; nothing is done
there.
"""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["keep_freed_memory"]

# Numbers of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20
# 32 MiB is the most that glibc takes, and what its own rule comes to after a tensor of that size was freed; a heap of
# a thread has 64 MiB, and one that is smaller than the pad is never given back.
_WHILE = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 * _MIB}
_AFTER = {_TRIM_THRESHOLD: 64 * _MIB, _TOP_PAD: 128 << 10}

_lock = threading.Lock()
_users = 0


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep what is freed inside for what is asked for next; the last one to leave gives it back to the system.

    Example:
        >>> with keep_freed_memory():
        ...     pass
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(library, _WHILE)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _set(library, _AFTER)
                library.malloc_trim(0)


def _set(library: Any, options: dict[int, int]) -> None:
    for option, value in options.items():
        library.mallopt(option, value)


def _glibc() -> Any:
    """Return the C library when it is glibc."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
