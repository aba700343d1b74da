"""Calls that meet: threads on one key, calls within calls, what is forgotten during its load."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import millpond as mp
from millpond.errors import WaitTimeoutError

PATIENCE = 60


def in_threads(count: int, target: Any) -> None:
    """Runs target(number) in threads at once; what one raises is raised here."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            target(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


class Held:
    """A cached function whose calls wait until they are let go."""

    def __init__(self, **options: Any) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.made: list[Any] = []

        def load(x: Any) -> Any:
            self.made.append(x)
            version = len(self.made)
            self.entered.release()
            assert self.go_on.wait(PATIENCE)
            return version

        self.cached: Any = mp.with_cache(**options)(load)

    def start(self, call: Any) -> tuple[threading.Thread, list[Any]]:
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(call()))
        thread.start()
        return thread, got


def test_threads_that_meet_on_a_key_make_one_call() -> None:
    barrier = threading.Barrier(16)
    made: list[int] = []

    @mp.with_cache
    def load(x: int) -> int:
        made.append(x)
        return x * 2

    def work(number: int) -> None:
        for x in range(300):
            if x % 50 == 0:
                barrier.wait(PATIENCE)
            assert load(x) == x * 2

    in_threads(16, work)
    assert sorted(made) == list(range(300))
    info = load.cache_info()
    assert info.hits + info.misses == 16 * 300
    assert info.loads == 300


def test_followers_wait_for_the_load_and_are_counted() -> None:
    held = Held()
    started = [held.start(lambda: held.cached(1)) for _ in range(5)]
    assert held.entered.acquire(timeout=PATIENCE)
    while held.cached.cache_info().coalesced < 4:
        pass
    held.go_on.set()
    for thread, _ in started:
        thread.join(PATIENCE)
    assert [got for _, got in started] == [[1]] * 5
    assert held.made == [1]


def test_a_thread_waits_no_longer_than_its_wait_timeout() -> None:
    held = Held(wait_timeout=0.05)
    thread, got = held.start(lambda: held.cached(1))
    assert held.entered.acquire(timeout=PATIENCE)
    with pytest.raises(WaitTimeoutError):
        held.cached(1)
    held.go_on.set()
    thread.join(PATIENCE)
    assert got == [1]
    assert held.cached(1) == 1


@pytest.mark.parametrize("how", ["tag", "key", "clear", "wholly", "delete"])
def test_an_invalidation_beats_the_load_that_started_before_it(how: str) -> None:
    cache = mp.Cache()
    held = Held(cache=cache, tags=("numbers",))
    thread, got = held.start(lambda: held.cached(1))
    assert held.entered.acquire(timeout=PATIENCE)
    if how == "tag":
        assert cache.invalidate(tags="numbers") == 0
    elif how == "key":
        assert held.cached.cache_invalidate(1) is False
    elif how == "clear":
        held.cached.cache_clear()
    elif how == "wholly":
        held.cached.cache_set("set", 1)
        held.cached.cache_invalidate(1)
    else:
        held.cached.cache_invalidate(x=1)
    assert held.cached.cache_contains(1) is False
    held.go_on.set()
    thread.join(PATIENCE)
    assert got == [1]
    assert held.cached.cache_contains(1) is False
    assert held.cached(1) == 2
    assert held.cached.cache_info().currsize == 1


def test_a_value_set_during_a_load_stays() -> None:
    held = Held()
    thread, got = held.start(lambda: held.cached(1))
    assert held.entered.acquire(timeout=PATIENCE)
    held.cached.cache_set("set", 1)
    assert held.cached(1) == "set"
    held.go_on.set()
    thread.join(PATIENCE)
    assert got == [1]
    assert held.cached(1) == "set"
    assert held.cached.cache_info().currsize == 1


def test_a_refresh_goes_on_beside_hits_and_then_replaces() -> None:
    held = Held()
    held.cached.cache_set("old", 1)
    thread, got = held.start(lambda: held.cached.cache_refresh(1))
    assert held.entered.acquire(timeout=PATIENCE)
    assert held.cached(1) == "old"
    held.go_on.set()
    thread.join(PATIENCE)
    assert (got, held.cached(1)) == ([1], 1)
    assert held.cached.cache_info().currsize == 1


@pytest.mark.parametrize("how", ["key", "clear", "set"])
def test_a_refresh_that_was_invalidated_stores_nothing(how: str) -> None:
    held = Held()
    held.cached.cache_set("old", 1)
    thread, got = held.start(lambda: held.cached.cache_refresh(1))
    assert held.entered.acquire(timeout=PATIENCE)
    if how == "key":
        held.cached.cache_invalidate(1)
    elif how == "clear":
        held.cached.cache_clear()
    else:
        held.cached.cache_set("newer", 1)
    held.go_on.set()
    thread.join(PATIENCE)
    assert got == [1]
    assert held.cached.cache_contains(1) is (how == "set")
    if how == "set":
        assert held.cached(1) == "newer"


def test_a_function_may_call_itself_and_another_may_call_it_back() -> None:
    made: list[int] = []

    @mp.with_cache
    def fib(n: int) -> int:
        made.append(n)
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(60) == 1548008755920
    assert sorted(made) == list(range(61))

    @mp.with_cache
    def there(n: int) -> int:
        return 0 if n > 3 else back(n)

    @mp.with_cache
    def back(n: int) -> int:
        return 0 if len(made) > 100 else (made.append(n) or there(n)) and 0

    assert there(1) == 0

    @mp.with_cache
    async def later(n: int) -> int:
        return n if n < 2 else sum(await asyncio.gather(later(n - 1), later(n - 2)))

    assert asyncio.run(later(20)) == 6765  # type: ignore[arg-type]


def test_a_call_that_would_wait_for_itself_runs_uncoalesced() -> None:
    depth: list[int] = []

    @mp.with_cache
    def again(x: int) -> int:
        depth.append(x)
        return again(x) + 1 if len(depth) < 3 else 0

    assert again(1) == 2
    assert again.cache_info().currsize == 1

    waits: list[int] = []

    @mp.with_cache
    async def later(x: int) -> int:
        waits.append(x)
        return await later(x) + 1 if len(waits) < 3 else 0

    assert asyncio.run(asyncio.wait_for(later(1), PATIENCE)) == 2  # type: ignore[arg-type]


def test_threads_that_store_invalidate_and_read_leave_the_bounds_whole() -> None:
    cache = mp.Cache(max_entries=50, on_removal=lambda *_: None)
    load: Any = mp.with_cache(cache=cache, tags=("t{x}",))(lambda x: [x])

    def work(number: int) -> None:
        for turn in range(2000):
            x = (turn * 7 + number) % 80
            if turn % 13 == 0:
                cache.invalidate(tags=f"t{x}")
            elif turn % 29 == 0:
                load.cache_invalidate(x)
            elif turn % 211 == 0:
                load.cache_clear()
            elif turn % 3 == 0:
                cache.set(x, number)
                cache.incr("n")
            else:
                assert load(x) == [x]
            assert len(cache) <= 50

    in_threads(8, work)
    assert cache.stats().currsize <= 50
    cache.clear()
    load.cache_clear()
    assert cache.stats().currsize == 0
