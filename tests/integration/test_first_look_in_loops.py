"""The first look of a task into a tier that has to be awaited."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

import millpond as mp
from millpond import Engine
from tests.integration.servers import RedisServer
from tests.waiting import wait_until


def steps_of(call: Any) -> list[str]:
    """Which generators of the flow are entered while an awaitable is awaited."""
    entered: list[str] = []

    def note(frame: Any, event: str, _arg: Any) -> None:
        if event == "call" and frame.f_code.co_qualname in ("Flow._one", "Looks.look", "adrive"):
            entered.append(frame.f_code.co_qualname)

    async def main() -> Any:
        sys.setprofile(note)
        try:
            return await call()
        finally:
            sys.setprofile(None)

    asyncio.run(main())
    return entered


def made(mill: Engine, calls: list[int], **given: Any) -> Any:
    @mill.with_cache(namespace="test", max_entries=0, **given)
    async def cached(x: int) -> str:
        calls.append(x)
        return f"{x}:{len(calls)}"

    return cached


def fetches(mill: Engine) -> int:
    count: int = mill.stats()["redis"]["operations"]["fetch"]["calls"]
    return count


def in_flight(mill: Engine) -> int:
    count: int = mill.stats()["redis"]["in_flight"]
    return count


def heard(mill: Engine) -> None:
    wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"], "it hears of others")


@pytest.fixture
def mill(own_redis: RedisServer) -> Any:
    with Engine(redis=own_redis.url, database=False, budget="30s") as mill:
        yield mill


def test_a_hit_takes_none_of_the_steps(mill: Engine) -> None:
    calls: list[int] = []
    cached = made(mill, calls)
    assert asyncio.run(cached.cache_many([1])) == ["1:1"]
    heard(mill)
    hits, before = mill.stats()["redis"]["hits"], fetches(mill)
    assert steps_of(lambda: cached(1)) == []
    assert (mill.stats()["redis"]["hits"], fetches(mill)) == (hits + 1, before + 1)
    assert calls == [1]


def test_a_miss_goes_on_from_it_with_one_look(mill: Engine) -> None:
    calls: list[int] = []
    cached = made(mill, calls, lock=False)
    asyncio.run(cached.cache_many([0]))
    heard(mill)
    before = fetches(mill)

    async def twice() -> list[str]:
        return [await cached(1), await cached(1)]

    assert asyncio.run(twice()) == ["1:2", "1:2"]
    assert fetches(mill) == before + 2
    assert mill.stats()["redis"]["misses"]["absent"] == 2
    assert calls == [0, 1]


def test_what_was_invalidated_is_no_hit_and_a_refresh_looks_at_nothing(mill: Engine) -> None:
    calls: list[int] = []
    cached = made(mill, calls, tags=("pair",))

    async def scenario() -> list[str]:
        got = [await cached(1), await cached(1)]
        await mill.ainvalidate(tags="pair")
        got += [await cached(1)]
        with mp.cache_control(no_cache=True):
            got += [await cached(1)]
        return [*got, await cached(1)]

    assert asyncio.run(scenario()) == ["1:1", "1:1", "1:2", "1:3", "1:3"]


def test_a_task_that_is_cancelled_says_nothing_about_the_tier(
    mill: Engine, own_redis: RedisServer
) -> None:
    calls: list[int] = []
    cached = made(mill, calls)
    mill._stages[0].tier.timeout = 30.0

    async def scenario() -> None:
        assert await cached(1) == "1:1"
        own_redis.freeze()
        try:
            task = asyncio.ensure_future(cached(1))
            await asyncio.to_thread(wait_until, lambda: in_flight(mill) == 1, "it is asked")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            own_redis.thaw()
        assert await cached(1) == "1:1"

    asyncio.run(scenario())
    stats = mill.stats()["redis"]
    assert (stats["state"], stats["in_flight"]) == ("closed", 0)
    assert calls == [1]


def test_a_server_that_is_gone_is_counted_and_then_not_asked(own_redis: RedisServer) -> None:
    with Engine(redis=own_redis.url, database=False) as mill:
        calls: list[int] = []
        cached = made(mill, calls)

        async def scenario() -> None:
            await cached(0)
            own_redis.stop()
            for x in range(1, 40):
                assert await cached(x) == f"{x}:{x + 1}"

        asyncio.run(scenario())
        stats = mill.stats()["redis"]
        assert stats["state"] != "closed"
        assert sum(stats["errors"].values()) > 0
        assert stats["refused"] > 0
        assert stats["in_flight"] == 0
        assert calls == list(range(40))
