"""`Cache.get_or_load`: one load for many callers, into the mapping itself."""

import asyncio
import threading
import time

import pytest

import millpond as mp
from millpond._engine import ManualClock


def test_a_value_is_loaded_once_and_is_in_the_mapping() -> None:
    cache = mp.Cache(max_entries=10)
    made: list[str] = []

    def load(key: str) -> str:
        made.append(key)
        return key.upper()

    assert [cache.get_or_load("a", load), cache["a"], cache.get_or_load("a", load)] == ["A"] * 3
    assert made == ["a"]


def test_tasks_share_one_load_and_threads_join_it() -> None:
    cache = mp.Cache(max_entries=10)
    made: list[str] = []

    async def load(key: str) -> str:
        made.append(key)
        await asyncio.sleep(0)
        return key.upper()

    async def main() -> list[str]:
        return await asyncio.gather(*(cache.get_or_load("a", load) for _ in range(20)))

    assert asyncio.run(main()) == ["A"] * 20
    assert made == ["a"]


def test_threads_wait_for_the_thread_that_loads() -> None:
    cache = mp.Cache(max_entries=10)
    started, finish = threading.Event(), threading.Event()
    made: list[str] = []
    results: list[str] = []

    def load(key: str) -> str:
        made.append(key)
        started.set()
        assert finish.wait(60)
        return key.upper()

    threads = [
        threading.Thread(target=lambda: results.append(cache.get_or_load("a", load)))
        for _ in range(8)
    ]
    threads[0].start()
    assert started.wait(60)
    for thread in threads[1:]:
        thread.start()
    give_up = time.monotonic() + 60
    while cache.stats().coalesced < 7 and time.monotonic() < give_up:
        pass  # Each of the others has yet to join; the load goes on once all have.
    assert cache.stats().coalesced == 7
    finish.set()
    for thread in threads:
        thread.join()
    assert results == ["A"] * 8
    assert made == ["a"]


def test_a_load_has_its_own_life_tags_and_cost() -> None:
    clock = ManualClock()
    cache = mp.Cache(max_entries=10, ttl=60, clock=clock)
    assert cache.get_or_load("a", str.upper, ttl=1, tags="letters", cost=0.25) == "A"
    assert cache.stats().cost_spent == 0.25
    clock.advance(1.0)
    assert cache.get("a") is None
    cache.get_or_load("a", str.upper, tags=("letters",))
    clock.advance(59.0)
    assert cache.get("a") == "A"
    assert cache.invalidate(tags="letters") == 1


def test_a_clear_in_mid_load_wins_over_it() -> None:
    cache = mp.Cache(max_entries=10)

    def load(key: str) -> str:
        cache.clear()
        return key.upper()

    assert cache.get_or_load("a", load) == "A"
    assert "a" not in cache
    assert cache.stats().currsize == 0


def test_a_failed_load_is_raised_and_not_stored() -> None:
    cache = mp.Cache(max_entries=10)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load(0, lambda key: 1 // key)
    assert cache.get_or_load(0, lambda key: key) == 0


def test_the_missing_of_many_are_loaded_in_one_call() -> None:
    cache = mp.Cache(max_entries=10)
    cache["a"] = 1
    asked: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, int]:
        asked.append(keys)
        return {key: 2 for key in keys if key != "c"}

    assert cache.get_or_load_many("abc", load) == {"a": 1, "b": 2}
    assert asked == [["b", "c"]]
