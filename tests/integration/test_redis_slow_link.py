"""A Redis that is far away: to connect takes longer than any one call may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from millpond import Engine
from millpond.io.deadline import Deadline
from millpond.tiers.redis import RedisTier
from tests.integration.faults import FaultProxy
from tests.integration.redis_server import RedisServer
from tests.integration.servers import wait_until

ONE_WAY = 0.02
TIMEOUT = 0.07  # Less than connecting takes, and more than an answer.
VALUES = 4000


def body(x: int) -> int:
    return x


async def abody(x: int) -> int:
    return x


abody.__qualname__ = body.__qualname__


@pytest.fixture
def far(own_redis: RedisServer) -> Iterator[Engine]:
    """An Engine at some distance, with a password and a database of its own."""
    with own_redis.client() as client:
        client.acl_setuser(
            "app", enabled=True, passwords=["+s"], keys=["*"], channels=["*"], commands=["+@all"]
        )
    with Engine(redis=f"{own_redis.url}/1", database=False) as near:
        function = near.with_cache(namespace="test", ttl="10m")(body)
        for x in range(VALUES):
            function(x)
    with FaultProxy(own_redis) as proxy:
        proxy.set("latency", seconds=ONE_WAY)
        tier = RedisTier(f"redis://app:s@127.0.0.1:{proxy.port}/1", timeout=TIMEOUT)
        mill = Engine(redis=tier, database=False)
        yield mill
        mill.close()


@pytest.fixture(params=["threads", "loop"])
def call(request: pytest.FixtureRequest, far: Engine) -> Iterator[Callable[[int], Any]]:
    """Calls the function, in a thread or in one event loop; and the function."""
    if request.param == "threads":
        yield far.with_cache(namespace="test", ttl="10m")(body)
        return
    function = far.with_cache(namespace="test", ttl="10m")(abody)
    with asyncio.Runner() as runner:

        def run(x: int) -> Any:
            async def main() -> int:
                return await function(x)

            return runner.run(main())

        run.cache_info = function.cache_info  # type: ignore[attr-defined]
        yield run
        runner.run(far.aclose())


def test_calls_are_answered_once_it_is_connected(call: Any, far: Engine) -> None:
    xs = iter(range(VALUES))
    longest = 0.0

    def answered() -> bool:
        nonlocal longest
        before = call.cache_info().hits_by_tier.get("redis", 0)
        started = time.monotonic()
        x = next(xs)
        assert call(x) == x
        longest = max(longest, time.monotonic() - started)
        return bool(call.cache_info().hits_by_tier.get("redis", 0) > before)

    wait_until(
        lambda: all(answered() for _ in range(10)), "Redis answers call after call", every=0.01
    )
    assert longest < 0.3


def test_as_many_as_call_at_once_get_connections(far: Engine) -> None:
    function = far.with_cache(namespace="test", ttl="10m")(body)
    xs = iter(range(VALUES))

    def all_answered() -> bool:
        before = function.cache_info().hits_by_tier.get("redis", 0)
        wanted = [next(xs) for _ in range(8)]
        assert list(pool.map(function, wanted)) == wanted
        return function.cache_info().hits_by_tier.get("redis", 0) == before + 8

    with ThreadPoolExecutor(8) as pool:
        wait_until(all_answered, "Redis answers all of them", every=0.05)
    tier: Any = far.tier("redis")
    assert tier._single.pool.size <= 32


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_to_connect_takes_no_round_trip_for_each_command(
    own_redis: RedisServer, asynchronous: bool
) -> None:
    with FaultProxy(own_redis) as proxy, own_redis.client() as client:
        client.acl_setuser(
            "app", enabled=True, passwords=["+s"], keys=["*"], channels=["*"], commands=["+@all"]
        )
        proxy.set("latency", seconds=ONE_WAY)
        address = f"redis://app:s@127.0.0.1:{proxy.port}/1?client_name=me"
        seconds: list[float] = []
        for _ in range(5):
            tier = RedisTier(address, timeout=5.0)
            started = time.monotonic()
            if asynchronous:
                asyncio.run(tier.afetch(["k"], [], Deadline.after(5)))
            else:
                tier.fetch(["k"], [], Deadline.after(5))
            seconds.append(time.monotonic() - started)
            tier.close()
    # Who we are, what time it is there, and the look-up.
    assert 5 * ONE_WAY < min(seconds) < 8 * ONE_WAY
