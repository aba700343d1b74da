"""The first things a user does with `with_cache` and `Cache`."""

import asyncio
import gc

import pytest

import millpond as mp
from millpond.errors import ConfigurationError


def test_a_call_is_made_once_however_its_argument_is_passed() -> None:
    made: list[int] = []

    @mp.with_cache(ttl="10m")
    def double(x: int = 5) -> int:
        made.append(x)
        return 2 * x

    assert [double(5), double(x=5), double()] == [10, 10, 10]
    assert made == [5]
    assert double.cache_info()[:2] == (2, 1)


def test_an_async_call_is_made_once_by_many_tasks() -> None:
    made: list[int] = []

    @mp.with_cache
    async def double(x: int) -> int:
        made.append(x)
        await asyncio.sleep(0)
        return 2 * x

    async def main() -> list[int]:
        return await asyncio.gather(*(double(i % 3) for i in range(30)))

    assert asyncio.run(main()) == [2 * (i % 3) for i in range(30)]
    assert sorted(made) == [0, 1, 2]


def test_a_method_is_cached_for_each_instance_until_it_dies() -> None:
    class Account:
        @mp.with_cache
        def owner(self, x: int) -> tuple[int, int]:
            return id(self), x

    first, second = Account(), Account()
    assert first.owner(1) == first.owner(1) != second.owner(1)
    assert Account.owner.cache_info().currsize == 2
    del first
    gc.collect()
    assert Account.owner.cache_info().currsize == 1


def test_a_cache_keeps_its_bound_and_its_order() -> None:
    cache = mp.Cache(max_entries=3, policy="lru")
    for number in range(5):
        cache[number] = str(number)
    assert sorted(cache) == [2, 3, 4]
    assert cache.get(0, "gone") == "gone"


def test_a_tag_invalidates_what_carries_it() -> None:
    cache = mp.Cache(max_entries=10)
    cache.set("a", 1, tags=("odd",))
    cache.set("b", 2, tags=("even",))
    assert cache.invalidate(tags="odd") == 1
    assert cache.keys() == ["b"]


def test_a_life_that_is_none_is_refused_with_the_grammar() -> None:
    with pytest.raises(ConfigurationError, match="1h30m"):
        mp.with_cache(ttl="soon")(print)


def test_observers_see_hits_and_why_calls_missed() -> None:
    @mp.with_cache
    def double(x: int) -> int:
        return 2 * x

    with mp.observe() as calls:
        double(1)
        double(1)
    assert [(call.hit, call.reason) for call in calls] == [(False, "cold_or_evicted"), (True, None)]
