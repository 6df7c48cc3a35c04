"""Waits double, end, and are not the same for all devices."""

from __future__ import annotations

from palate.device.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def wait_of(breaker: Breaker, clock: Clock) -> float:
    """Return how long the breaker stays open, to a hundredth."""
    start = clock.now
    while breaker.is_open:
        clock.now += 0.01
    return clock.now - start


def test_waits_double_up_to_the_longest_and_begin_again_after_a_success():
    clock = Clock()
    breaker = Breaker(first=1.0, longest=6.0, clock=clock)
    assert not breaker.is_open
    for most in (1.0, 2.0, 4.0, 6.0, 6.0):
        breaker.failed()
        assert 0.75 * most - 0.02 <= wait_of(breaker, clock) <= most + 0.02
    breaker.succeeded()
    assert not breaker.is_open
    breaker.failed()
    assert wait_of(breaker, clock) <= 1.02


def test_a_wait_that_was_asked_for_is_kept_within_the_longest():
    clock = Clock()
    breaker = Breaker(first=1.0, longest=6.0, clock=clock)
    breaker.failed(at_least=5.0)
    assert 4.98 <= wait_of(breaker, clock) <= 5.02
    breaker.failed(at_least=1e9)
    assert wait_of(breaker, clock) <= 6.02


def test_many_failures_do_not_overflow():
    clock = Clock()
    breaker = Breaker(first=1.0, longest=6.0, clock=clock)
    for _ in range(5000):
        breaker.failed()
    assert breaker.is_open


def test_devices_that_failed_together_return_apart():
    clock = Clock()
    waits = set()
    for _ in range(20):
        breaker = Breaker(first=100.0, clock=clock)
        breaker.failed()
        waits.add(breaker._until)
    assert len(waits) > 10
