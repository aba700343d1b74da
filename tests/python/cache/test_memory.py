"""A million operations of each kind leave memory as it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest

import millpond as mp
from millpond._engine import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 1_000_000


class Owner:
    @mp.with_cache
    def called(self, x: int) -> int:
        return x


def hits() -> Callable[[int], object]:
    f: Any = mp.with_cache(lambda x: x)
    return lambda n: f(n % 100)


def misses() -> Callable[[int], object]:
    f: Any = mp.with_cache(max_entries=100)(lambda x: [x])
    return lambda n: f(n)


def opaque_misses() -> Callable[[int], object]:
    f: Any = mp.with_cache(max_entries=100, tags=("t{x}",))(lambda x, y: [x])
    return lambda n: f(n, object())


def failures() -> Callable[[int], object]:
    clock = ManualClock()

    @mp.with_cache(cache=mp.Cache(clock=clock, max_entries=50), negative_ttl=1)
    def broken(x: int) -> int:
        raise KeyError(x)

    def turn(n: int) -> None:
        clock.advance(0.01)
        with contextlib.suppress(KeyError):
            broken(n % 70)

    return turn


def instances() -> Callable[[int], object]:
    return lambda n: Owner().called(n)


def writes() -> Callable[[int], object]:
    cache = mp.Cache(max_entries=100)

    def turn(n: int) -> None:
        cache.set(str(n % 300), [n], ttl=10, tags=(f"t{n % 50}",))
        if n % 10 == 0:
            cache.invalidate(tags=f"t{n % 50}")
        cache.delete(str((n * 7) % 300))

    return turn


def mapping() -> Callable[[int], object]:
    clock = ManualClock()
    cache = mp.Cache(max_bytes=20_000, clock=clock, on_removal=lambda *_: None)

    def turn(n: int) -> None:
        key = f"k{n % 200}"
        clock.advance(0.001)
        cache.add(key, [n], ttl=0.1)
        cache.touch(key, ttl=0.2)
        cache.get_or_set(f"k{n % 77}", n)
        cache.get_or_load(f"l{n % 300}", str.upper, ttl=0.05)
        if n % 10 == 0:
            cache.set_many({f"m{n % 30}": n, f"m{n % 7}": [n]})
            cache.get_many(["m1", "m2", key])
            cache.delete_many(["m1", key])
            cache.pop("m3", None)
        if n % 1000 == 0:
            cache.invalidate(prefix="k1")
            cache.invalidate(predicate=lambda key: key.endswith("7"))

    return turn


def snapshots() -> Callable[[int], object]:
    cache = mp.Cache(max_entries=50)
    for n in range(50):
        cache.set(b"%d" % n, b"x" * n, tags="all")

    def turn(n: int) -> None:
        if n % 500 == 0:
            assert cache.restore(cache.dump()) == 50

    return turn


def counting() -> Callable[[int], object]:
    cache = mp.Cache(max_entries=100)
    return lambda n: cache.incr((n % 150, "n"), 2**70)


def clears() -> Callable[[int], object]:
    cache = mp.Cache()
    f: Any = mp.with_cache(cache=cache)(lambda x: [x])

    def turn(n: int) -> None:
        cache[n] = [n]
        f(n)
        if n % 20 == 0:
            cache.clear()
            f.cache_clear()

    return turn


def functions() -> Callable[[int], object]:
    cache = mp.Cache()

    def turn(n: int) -> None:
        if n % 20 == 0:
            mp.with_cache(cache=cache)(lambda x: [x])(n)

    return turn


def refreshes() -> Callable[[int], object]:
    f: Any = mp.with_cache(lambda x: [x])

    def turn(n: int) -> None:
        f.cache_refresh(n % 10)
        f.cache_set([n], n % 10)
        f.cache_invalidate(n % 7)
        f.cache_contains(n % 10)

    return turn


def scopes() -> Callable[[int], object]:
    f: Any = mp.with_cache(lambda x: [x])

    def turn(n: int) -> None:
        if n % 10 == 0:
            with mp.observe(), mp.cache_control(no_store=n % 20 == 0):
                f(n % 100)

    return turn


def awaited() -> Callable[[int], object]:
    @mp.with_cache(max_entries=100)
    async def later(x: int) -> list[int]:
        return [x]

    loop = asyncio.new_event_loop()

    async def many(n: int) -> None:
        for x in range(20):
            await later(n + x % 7)
            await later(x)

    def turn(n: int) -> None:
        if n % 40 == 0:
            loop.run_until_complete(many(n))
        if n == -1:
            loop.close()

    return turn


def shared() -> Callable[[int], object]:
    """Loads with followers that land, fail, are left by some and by all."""

    @mp.with_cache(max_entries=100)
    async def later(x: int) -> list[int]:
        await asyncio.sleep(0)
        if x % 3 == 0:
            raise KeyError(x)
        return [x]

    loop = asyncio.new_event_loop()

    async def many(n: int) -> None:
        tasks = [asyncio.ensure_future(later(n + x % 4)) for x in range(12)]
        await asyncio.sleep(0)
        for task in tasks[n % 3 :: 3] if n % 400 else tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def turn(n: int) -> None:
        if n % 40 == 0:
            loop.run_until_complete(many(n))
        if n == -1:
            loop.close()

    return turn


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        hits,
        misses,
        opaque_misses,
        failures,
        instances,
        writes,
        mapping,
        snapshots,
        counting,
        clears,
        functions,
        refreshes,
        scopes,
        awaited,
        shared,
    ],
)
def test_memory_is_flat(make: Callable[[], Callable[[int], object]]) -> None:
    turn = make()
    for n in range(TURNS // 10):
        turn(n)
    gc.collect()
    before = sys.getallocatedblocks()
    for n in range(TURNS // 10, TURNS):
        turn(n)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    turn(-1)
    # A block more for every hundred operations would be nine thousand.
    assert grown < 3000
