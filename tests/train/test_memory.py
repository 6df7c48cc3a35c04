from __future__ import annotations

import sys
import threading

import pytest
import torch

from palate.train import memory
from palate.train.memory import keep_freed_memory


class Recorded:
    """Takes the place of the C library and writes down what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append((pad,))
        return 1


def test_the_first_in_sets_and_the_last_out_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorded()
    monkeypatch.setattr(memory, "_glibc", lambda: library)
    with keep_freed_memory():
        entered = list(library.calls)
        with keep_freed_memory():
            pass
        assert library.calls == entered
        with pytest.raises(ZeroDivisionError), keep_freed_memory():
            raise ZeroDivisionError
        assert library.calls == entered
    assert [option for option, *_ in entered] == [-3, -1, -2]
    assert library.calls[len(entered) :] == [(-1, 64 << 20), (-2, 128 << 10), (0,)]


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert memory._glibc() is None
    with keep_freed_memory():
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the page faults of glibc's allocator")
def test_memory_is_used_again_instead_of_fetched_page_by_page() -> None:
    import resource

    if memory._glibc() is None:
        pytest.skip("the allocator is not glibc's")

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    counts = []

    def steps() -> None:
        for _ in range(8):
            before = faults()
            tensors = [torch.empty(15 << 20, dtype=torch.uint8).fill_(1) for _ in range(8)]
            del tensors
            counts.append(faults() - before)

    with keep_freed_memory():
        thread = threading.Thread(target=steps)
        thread.start()
        thread.join()
    # The first steps lay out the heaps of the thread. What is in use, 120 MiB, are 30,720 pages of 4 KiB; without
    # keeping, two thirds of them are fetched again at every step.
    assert max(counts[-3:]) < 300
