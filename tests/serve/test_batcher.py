"""Batches: who is answered with whom, what is dropped, and that every call gets its own result."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from palate.errors import ServiceError
from palate.serve.batcher import Batcher
from palate.serve.gate import BusyError, TooSlowError


class Work:
    """Squares numbers, remembers batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.door = threading.Event()
        self.door.set()

    def __call__(self, numbers: list[int]) -> list[int | Exception]:
        self.batches.append(list(numbers))
        self.door.wait(5)
        if 13 in numbers:
            raise RuntimeError(f"the whole batch fails, and says {numbers}")
        return [ValueError("odd") if number < 0 else number * number for number in numbers]


def run(scenario):
    return asyncio.run(scenario())


def test_calls_that_come_together_are_answered_together_each_with_its_own():
    work = Work()

    async def scenario():
        batcher = Batcher(work, max_batch=4, max_wait=0.05)
        results = await asyncio.gather(*(batcher.run(number) for number in range(10)))
        batcher.close()
        return results

    assert run(scenario) == [number * number for number in range(10)]
    assert work.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_lonely_call_waits_so_long_and_no_longer():
    async def scenario():
        batcher = Batcher(Work(), max_batch=4, max_wait=0.05)
        start = time.monotonic()
        await batcher.run(2)
        batcher.close()
        return time.monotonic() - start

    assert 0.05 <= run(scenario) < 0.5


def test_without_a_wait_a_call_starts_at_once_and_the_next_collect_meanwhile():
    work = Work()
    work.door.clear()

    async def scenario():
        batcher = Batcher(work, max_batch=8, max_wait=0.0, seconds=5)
        calls = [asyncio.create_task(batcher.run(number)) for number in range(5)]
        await asyncio.sleep(0.02)
        assert batcher.waiting == 4
        work.door.set()
        return await asyncio.gather(*calls)

    assert run(scenario) == [0, 1, 4, 9, 16]
    assert work.batches == [[0], [1, 2, 3, 4]]


def test_a_full_queue_says_so_at_once():
    work = Work()
    work.door.clear()

    async def scenario():
        batcher = Batcher(work, max_batch=1, max_wait=0.0, max_queue=2, seconds=5)
        calls = [asyncio.create_task(batcher.run(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        assert batcher.is_full
        with pytest.raises(BusyError):
            await batcher.run(3)
        work.door.set()
        assert await asyncio.gather(*calls) == [0, 1, 4]
        assert not batcher.is_full

    run(scenario)


def test_a_call_that_waited_too_long_ends_and_is_not_computed():
    work = Work()
    work.door.clear()

    async def scenario():
        batcher = Batcher(work, max_batch=1, max_wait=0.0, seconds=0.05)
        first = asyncio.create_task(batcher.run(1))
        await asyncio.sleep(0)
        with pytest.raises(TooSlowError):
            await batcher.run(2)
        with pytest.raises(TooSlowError):
            await first
        work.door.set()
        assert await batcher.run(3) == 9

    run(scenario)
    assert work.batches == [[1], [3]]


def test_calls_given_up_make_room_in_the_queue():
    work = Work()
    work.door.clear()

    async def scenario():
        batcher = Batcher(work, max_batch=1, max_wait=0.0, max_queue=1, seconds=5)
        first = asyncio.create_task(batcher.run(1))
        await asyncio.sleep(0)
        second = asyncio.create_task(batcher.run(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        third = asyncio.create_task(batcher.run(3))
        await asyncio.sleep(0)
        work.door.set()
        return await asyncio.gather(first, third)

    assert run(scenario) == [1, 9]


def test_an_error_of_one_call_is_its_own():
    async def scenario():
        batcher = Batcher(Work(), max_batch=3, max_wait=0.01)
        return await asyncio.gather(*(batcher.run(number) for number in (1, -1, 2)), return_exceptions=True)

    first, second, third = run(scenario)
    assert (first, third) == (1, 4)
    assert isinstance(second, ValueError)


def test_a_batch_that_fails_tells_its_calls_and_the_next_goes_on(caplog):
    async def scenario():
        batcher = Batcher(Work(), max_batch=2, max_wait=0.01)
        failed = await asyncio.gather(batcher.run(13), batcher.run(1), return_exceptions=True)
        return failed, await batcher.run(4)

    failed, later = run(scenario)
    assert all(isinstance(error, ServiceError) for error in failed)
    assert later == 16
    assert "RuntimeError" in caplog.text
    assert "[13, 1]" not in caplog.text


def test_closing_turns_waiting_calls_away():
    async def scenario():
        batcher = Batcher(Work(), max_wait=10.0, seconds=20)
        call = asyncio.create_task(batcher.run(1))
        await asyncio.sleep(0)
        batcher.close()
        with pytest.raises(BusyError, match="stopping"):
            await call

    run(scenario)
