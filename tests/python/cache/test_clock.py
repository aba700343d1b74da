"""Lives under a second, on a clock of the test and on the real one; clocks that step back."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest

import millpond as mp
from millpond._engine import ManualClock
from tests.python.cache.faces import ASYNC, SYNC, Counted

both = pytest.mark.parametrize("kind", [SYNC, ASYNC])
# The coarse clock ticks every 4 ms on Linux; a kernel may be built to tick every 10.
TICK = 0.010


@both
@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        (0.25, 0.25),
        ("250ms", 0.25),
        (datetime.timedelta(milliseconds=40), 0.04),
        (0.002, 0.002),
        ("5us", 5e-6),
        (1e-8, 1e-8),
    ],
)
def test_a_life_of_less_than_a_second_ends_to_the_nanosecond(
    kind: str, ttl: Any, seconds: float
) -> None:
    clock = ManualClock()
    f = Counted(kind, cache=mp.Cache(clock=clock), ttl=ttl)
    f(1)
    clock.advance(seconds - 1e-9)
    f(1)
    assert f.calls == 1
    clock.advance(1e-9)
    f(1)
    assert f.calls == 2


@pytest.mark.parametrize("ttl", [0.001, 0.03, 0.06])
def test_on_the_real_clock_a_value_is_gone_neither_early_nor_a_tick_late(ttl: float) -> None:
    cache = mp.Cache()
    late = 0.0 if ttl < 0.04 else TICK
    seen = False
    while not seen:  # Once as a rule; more often where the machine stands still for a life.
        began = time.monotonic()
        cache.set("a", 1, ttl=ttl)
        stored = time.monotonic()
        before = began
        while before <= stored + ttl + late:
            before = time.monotonic()
            there = "a" in cache
            after = time.monotonic()
            if after < began + ttl:
                assert there, "it is gone before its time"
                seen = True
            if before > stored + ttl + late:
                assert not there, "it is there after its time"
    assert cache.get("a") is None


@both
def test_a_clock_that_steps_back_neither_revives_nor_kills(kind: str) -> None:
    clock = ManualClock()
    cache = mp.Cache(clock=clock)
    f = Counted(kind, cache=cache, ttl=10)
    f("expired")
    clock.advance(8)
    f("young")
    clock.advance(3)
    f("expired")
    assert f.calls == 3  # The first of its two results is gone,
    clock.advance(-8)
    assert [f("expired"), f("young")] == [("expired", 0), ("young", 0)]
    assert f.calls == 3  # and the clock that went back brought the second no harm.
    clock.advance(8 + 6.99)
    f("young")
    assert f.calls == 3
    clock.advance(0.01)
    f("young")
    assert f.calls == 4


@both
def test_an_age_seen_from_before_is_none_at_all(kind: str) -> None:
    clock = ManualClock()
    f = Counted(kind, cache=mp.Cache(clock=clock), ttl=100)
    f(1)
    clock.advance(-50)
    with mp.cache_control(max_age=1), mp.observe() as calls:
        f(1)
    assert (f.calls, calls[0].hit, calls[0].age) == (1, True, 0)


def test_idle_time_is_not_shortened_by_a_clock_that_steps_back() -> None:
    clock = ManualClock()
    cache = mp.Cache(clock=clock, tti=10)
    cache["a"] = 1
    clock.advance(8)
    assert cache.get("a") == 1  # Until 18, then.
    clock.advance(-8)
    assert cache.get("a") == 1
    clock.advance(17.9)
    assert cache.get("a") == 1
    clock.advance(10)
    assert cache.get("a") is None
