"""Buckets that refill, and keys that are forgotten."""

from __future__ import annotations

import pytest

from palate.serve.rate_limit import LimitedError, RateLimit


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_so_many_a_second():
    clock = Clock()
    limit = RateLimit(2.0, burst=3, clock=clock)
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now += 0.5
    assert [limit.wait("a"), limit.wait("a")] == [0, 0.5]
    clock.now += 100  # never more than the burst
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_being_turned_away_costs_nothing():
    clock = Clock()
    limit = RateLimit(1.0, burst=1, clock=clock)
    limit.wait("a")
    assert [limit.wait("a") for _ in range(5)] == [1.0] * 5
    clock.now += 1.0
    assert limit.wait("a") == 0


def test_keys_do_not_share():
    limit = RateLimit(1.0, burst=1, clock=Clock())
    assert [limit.wait("a"), limit.wait("b"), limit.wait("a")] == [0, 0, 1]


def test_the_number_of_keys_is_bounded_and_keys_are_not_kept_in_the_clear():
    limit = RateLimit(1.0, burst=1, max_keys=3, clock=Clock())
    for key in "abcd":
        assert limit.wait(key) == 0
    assert len(limit._buckets) == 3
    assert limit.wait("d") == 1  # remembered
    assert limit.wait("a") == 0  # forgotten: a full bucket
    assert not any(name == b"d" or len(name) != 16 for name in limit._buckets)


def test_no_rate_is_no_limit_and_an_error_says_how_long_to_wait():
    assert [RateLimit(0.0, burst=1).wait("a") for _ in range(100)] == [0.0] * 100
    limit = RateLimit(0.5, burst=1, clock=Clock())
    limit.check("a", "token")
    with pytest.raises(LimitedError, match=r"More than 0\.5 requests a second of one token") as caught:
        limit.check("a", "token")
    assert caught.value.seconds == 2.0
    assert "a" not in caught.value.message.split()[-1:]
