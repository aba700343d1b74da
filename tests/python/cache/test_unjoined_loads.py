"""A synchronous load has no flight until somebody joins it: whenever that is, nothing changes."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

import millpond as mp
from tests.python.flights.flight_store import until

PATIENCE = 60


def follower(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that makes the call, and what comes of it."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(call())
        except BaseException as failure:
            got.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


def test_who_joins_while_the_value_is_being_stored_gets_it() -> None:
    joined: list[Any] = []

    def price(value: object) -> float:
        joined.append(follower(lambda: load("k")))
        until(lambda: load.cache_info().coalesced == 1)
        return 1.0

    @mp.with_cache(cost=price)
    def load(key: str) -> str:
        made.append(key)
        return key * 2

    made: list[str] = []
    assert load("k") == "kk"
    thread, got = joined[0]
    thread.join(PATIENCE)
    assert (got, made) == (["kk"], ["k"])


def test_who_joins_a_load_that_is_interrupted_loads_again() -> None:
    joined: list[Any] = []
    made: list[str] = []

    @mp.with_cache
    def load(key: str) -> str:
        made.append(key)
        if len(made) == 1:
            joined.append(follower(lambda: load(key)))
            until(lambda: load.cache_info().coalesced == 1)
            raise KeyboardInterrupt
        return key * 2

    with pytest.raises(KeyboardInterrupt):
        load("k")
    thread, got = joined[0]
    thread.join(PATIENCE)
    assert (got, made) == (["kk"], ["k", "k"])
    assert load("k") == "kk"
    assert len(made) == 2, "the second load stored its value"


def test_an_interrupted_load_that_nobody_joined_leaves_nothing() -> None:
    made: list[int] = []

    @mp.with_cache
    def load(key: int) -> int:
        made.append(key)
        if len(made) % 2:
            raise KeyboardInterrupt
        return key

    for key in range(50):
        with pytest.raises(KeyboardInterrupt):
            load(key)
        assert load(key) == key
    info = load.cache_info()
    assert (info.loads, info.currsize, len(made)) == (50, 50, 100)


def test_loads_of_two_threads_that_ask_for_each_other_both_end() -> None:
    barrier = threading.Barrier(2)
    made: list[str] = []

    @mp.with_cache
    def load(key: str) -> str:
        first = len(made) < 2
        made.append(key)
        if not first:
            return key
        barrier.wait(PATIENCE)
        return key + load("b" if key == "a" else "a")

    threads = [follower(lambda key=key: load(key)) for key in "ab"]  # type: ignore[misc]
    for thread, _ in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    results = sorted(got[0] for _, got in threads)
    assert results in (["ab", "ba"], ["ab", "bab"], ["aba", "ba"])


@pytest.mark.parametrize("depth", [1, 2, 30])
def test_a_thread_that_a_load_waits_for_does_not_wait_for_that_load(depth: int) -> None:
    """However deep the loads are nested, each of them without a flight until then."""

    @mp.with_cache
    def load(level: int) -> int:
        if level < depth:
            return load(level + 1)
        if threading.current_thread() is not threading.main_thread():
            return level  # The call that ran uncoalesced, in the thread.
        context = contextvars.copy_context()
        thread, got = follower(lambda: context.run(load, 1))
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert got == [depth]
        return level

    assert load(1) == depth
    assert load.cache_info().coalesced >= 1


def test_a_failed_load_that_somebody_joined_fails_for_both() -> None:
    joined: list[Any] = []

    @mp.with_cache
    def load(key: str) -> str:
        joined.append(follower(lambda: load(key)))
        until(lambda: load.cache_info().coalesced == 1)
        raise LookupError(key)

    with pytest.raises(LookupError) as raised:
        load("k")
    thread, got = joined[0]
    thread.join(PATIENCE)
    assert got == [raised.value]
    assert load.cache_info().currsize == 0


class Payload:
    """Something that can be counted."""


@pytest.mark.parametrize("outcome", ["value", "error", "interrupt"])
def test_loads_keep_nothing_alive_when_they_are_over(outcome: str) -> None:
    def load(key: int) -> Payload:
        if outcome == "error":
            raise LookupError(key)
        if outcome == "interrupt":
            raise KeyboardInterrupt
        return Payload()

    cached = mp.with_cache(max_entries=0)(load)
    for key in range(100):
        with contextlib.suppress(LookupError, KeyboardInterrupt):
            cached(key)
    del cached, load
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Payload)]
