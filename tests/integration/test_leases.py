"""One load for all processes, which two Engines stand for: who waits, and what may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from millpond.errors import WaitTimeoutError
from tests.integration.leases import LEASE, MARGIN, Place, patient
from tests.integration.servers import PostgresServer, RedisServer
from tests.waiting import wait_until


class Gate:
    """A function whose calls wait until they are let through."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.opened = threading.Event()

    def body(self, name: str, x: Any) -> Any:
        self.calls.append(name)
        assert self.opened.wait(30)
        return f"{name}:{x}"


class Pair:
    """Two Engines, and a function of each that is the same for the tiers."""

    def __init__(self, where: str, seconds: float = 10.0, connections: int = 100) -> None:
        self.gate = Gate()
        self.mills = [patient(where, seconds, connections) for _ in range(2)]
        self.pool = ThreadPoolExecutor(16)
        wait_until(lambda: all(self.stats(i)["coherence"]["heard"] for i in (0, 1)), "feeds")

    def stats(self, i: int) -> Any:
        [stage] = self.mills[i]._stages
        return self.mills[i].stats()[stage.tier.name]

    def function(self, i: int, **given: Any) -> Any:
        def load(x: Any) -> Any:
            return self.gate.body("AB"[i], x)

        load.__qualname__ = "load"
        return self.mills[i].with_cache(namespace="test", **given)(load)

    def afunction(self, i: int, **given: Any) -> Any:
        async def load(x: Any) -> Any:
            return await asyncio.to_thread(self.gate.body, "AB"[i], x)

        load.__qualname__ = "load"
        return self.mills[i].with_cache(namespace="test", **given)(load)

    def both(self, *args: Any, **given: Any) -> tuple[Future[Any], Future[Any]]:
        """The first loads, the second waits for it."""
        first = self.pool.submit(self.function(0, **given), *args)
        wait_until(lambda: self.gate.calls == ["A"], "the first loads")
        second = self.pool.submit(self.function(1, **given), *args)
        wait_until(lambda: self.stats(1)["leases"]["waited"] == 1, "the second waits")
        return first, second

    def close(self) -> None:
        self.gate.opened.set()
        for mill in self.mills:
            mill.close()
        self.pool.shutdown()


everywhere = pytest.mark.parametrize("place", ["redis", "postgresql", "pgbouncer"], indirect=True)


@pytest.fixture
def pair(place: Place) -> Iterator[Pair]:
    made = Pair(place.where)
    yield made
    made.close()


@everywhere
def test_a_lease_is_renewed_while_the_function_runs(pair: Pair, place: Place) -> None:
    first, second = pair.both(1)
    started = time.monotonic()
    assert len(place.standing()) == 1
    wait_until(lambda: time.monotonic() - started > 1.5 * LEASE, "longer than a lease")
    assert len(place.standing()) == 1
    pair.gate.opened.set()
    assert (first.result(10), second.result(10)) == ("A:1", "A:1")
    assert pair.stats(1)["leases"] == {
        "taken": 0,
        "lost": 0,
        "waited": 1,
        "landed": 1,
        "failed": 0,
        "expired": 0,
    }


@everywhere
def test_without_a_lock_everybody_loads(pair: Pair, place: Place) -> None:
    first = pair.pool.submit(pair.function(0, lock=False), 1)
    second = pair.pool.submit(pair.function(1, lock=False), 1)
    wait_until(lambda: sorted(pair.gate.calls) == ["A", "B"], "both load")
    assert not place.standing()
    pair.gate.opened.set()
    assert (first.result(10), second.result(10)) == ("A:1", "B:1")


@everywhere
def test_an_invalidation_wins_over_the_load_that_others_wait_for(pair: Pair) -> None:
    first, second = pair.both(1, tags=("every",))
    assert pair.mills[0].invalidate(tags="every").done
    pair.gate.opened.set()
    assert first.result(10) == "A:1"
    assert second.result(10) == "B:1"
    assert pair.gate.calls == ["A", "B"]


@everywhere
def test_after_an_invalidation_one_loads_for_all(pair: Pair) -> None:
    pair.gate.opened.set()
    given = {"tags": ("every",)}
    functions = [pair.function(0, **given), pair.function(1, **given)]
    assert [function(1) for function in functions] == ["A:1", "A:1"]
    pair.gate.opened.clear()
    assert pair.mills[1].invalidate(tags="every").done
    wait_until(lambda: not functions[0].cache_contains(1), "the first forgets it")
    second = pair.pool.submit(functions[1], 1)
    wait_until(lambda: pair.gate.calls == ["A", "B"], "the second loads")
    first = pair.pool.submit(functions[0], 1)
    wait_until(lambda: pair.stats(0)["leases"]["waited"] == 1, "the first waits")
    pair.gate.opened.set()
    assert (first.result(10), second.result(10)) == ("B:1", "B:1")
    assert pair.gate.calls == ["A", "B"]


@everywhere
def test_a_load_that_needs_its_own_value_does_not_wait_for_itself(pair: Pair) -> None:
    @pair.mills[0].with_cache(namespace="test", key=lambda depth: "same")
    def nested(depth: int) -> int:
        return 1 + nested(depth - 1) if depth else 1

    assert pair.pool.submit(nested, 3).result(LEASE + MARGIN) == 4


@everywhere
def test_two_loads_that_wait_for_each_other_go_on(pair: Pair) -> None:
    barrier = threading.Barrier(2)

    def crossed(i: int) -> Any:
        def load(x: int) -> Any:
            if x == i:
                barrier.wait(10)
                # From its own load, or from the other's, if that has gone on a little earlier.
                assert function(1 - x) == 1 - x
            return x

        load.__qualname__ = "crossed"
        function = pair.mills[i].with_cache(namespace="test")(load)
        return function

    both = [pair.pool.submit(crossed(i), i) for i in (0, 1)]
    assert [one.result(LEASE + MARGIN) for one in both] == [0, 1]


@everywhere
def test_who_waits_longer_than_it_wants_gives_up(pair: Pair) -> None:
    given = {"wait_timeout": 0.3, "negative_ttl": 60}
    first, second = pair.both(1, **given)
    message = (
        r"^another process's load of test:.*load:1 took longer than wait_timeout=0.3 s; it goes"
    )
    with pytest.raises(WaitTimeoutError, match=message):
        second.result(10)
    assert pair.gate.calls == ["A"]
    assert pair.stats(1)["leases"]["expired"] == 1
    pair.gate.opened.set()
    assert first.result(10) == "A:1"
    # The failure is not kept: it says nothing of the value.
    assert pair.function(1, **given)(1) == "A:1"


@everywhere
def test_who_waits_in_the_same_process_gives_up_with_it(pair: Pair) -> None:
    function = pair.function(1, wait_timeout=0.3)
    first = pair.pool.submit(pair.function(0), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "the first loads")
    others = [pair.pool.submit(function, 1) for _ in range(4)]
    for other in others:
        with pytest.raises(WaitTimeoutError, match=r"wait_timeout=0.3 s"):
            other.result(10)
    pair.gate.opened.set()
    assert first.result(10) == "A:1"
    assert function(1) == "A:1"


@everywhere
def test_a_load_of_its_own_may_take_longer(pair: Pair) -> None:
    first = pair.pool.submit(pair.function(0, wait_timeout=0.01), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "it loads")
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started > 0.05, "longer than it would wait")
    pair.gate.opened.set()
    assert first.result(10) == "A:1"


@everywhere
def test_tasks_have_timeouts_of_their_own(pair: Pair) -> None:
    async def main() -> Any:
        function = pair.afunction(1, wait_timeout=0.01)
        waiting = asyncio.create_task(function(1))
        waits = partial(wait_until, lambda: pair.stats(1)["leases"]["waited"], "it waits")
        await asyncio.to_thread(waits)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(waiting)
        pair.gate.opened.set()
        return await waiting

    first = pair.pool.submit(pair.function(0), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "the first loads")
    assert asyncio.run(main()) == first.result(10) == "A:1"


@everywhere
def test_a_get_takes_no_lease(pair: Pair) -> None:
    cache = pair.mills[0].cache("things")
    assert cache.get(1) is None
    assert pair.stats(0)["leases"]["taken"] == 0
    assert cache.get_or_load(1, lambda key: key + 1) == 2
    assert pair.stats(0)["leases"]["taken"] == 1


@everywhere
def test_caches_load_once_too(pair: Pair) -> None:
    pair.gate.opened.set()
    pair.gate.opened.clear()

    def load(i: int) -> Any:
        return pair.mills[i].cache("things").get_or_load(1, lambda x: pair.gate.body("AB"[i], x))

    first = pair.pool.submit(load, 0)
    wait_until(lambda: pair.gate.calls == ["A"], "the first loads")
    second = pair.pool.submit(load, 1)
    wait_until(lambda: pair.stats(1)["leases"]["waited"] == 1, "the second waits")
    pair.gate.opened.set()
    assert (first.result(10), second.result(10)) == ("A:1", "A:1")


@everywhere
def test_without_notices_it_is_asked_now_and_then(pair: Pair) -> None:
    keeper = pair.mills[1]._stages[0].keeper
    assert keeper is not None
    pair.mills[1]._stages[0].tier.unwatch()  # type: ignore[attr-defined]
    wait_until(lambda: not keeper.told, "nothing is told")
    first, second = pair.both(1)
    pair.gate.opened.set()
    assert (first.result(10), second.result(1)) == ("A:1", "A:1")


@pytest.fixture(params=["own_redis", "own_postgres"])
def own(request: pytest.FixtureRequest) -> RedisServer | PostgresServer:
    server: RedisServer | PostgresServer = request.getfixturevalue(request.param)
    return server


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_server_that_is_gone_while_others_wait(
    own: RedisServer | PostgresServer, how: str
) -> None:
    pair = Pair(own.url, 0.5)
    try:
        first, second = pair.both(1)
        getattr(own, how)()
        wait_until(lambda: pair.gate.calls == ["A", "B"], "the second loads for itself", MARGIN)
        pair.gate.opened.set()
        assert (first.result(10), second.result(10)) == ("A:1", "B:1")
    finally:
        if how == "freeze":
            own.thaw()
        pair.close()


@everywhere
def test_a_cancelled_load_lets_the_others_go_on(pair: Pair, place: Place) -> None:
    async def main() -> Any:
        began = asyncio.Event()

        async def load(x: Any) -> Any:
            began.set()
            await asyncio.Event().wait()

        load.__qualname__ = "load"
        first = asyncio.ensure_future(pair.mills[0].with_cache(namespace="test")(load)(1))
        await began.wait()
        pair.gate.opened.set()
        second = asyncio.ensure_future(pair.afunction(1)(1))
        await asyncio.to_thread(
            wait_until, lambda: pair.stats(1)["leases"]["waited"] == 1, "the second waits"
        )
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        return await asyncio.wait_for(second, 10)

    cancelled = time.monotonic()
    assert asyncio.run(main()) == "B:1"
    assert time.monotonic() - cancelled < MARGIN
    assert pair.stats(1)["leases"]["failed"] == 1


@everywhere
def test_a_cancelled_wait_leaves_nothing(pair: Pair) -> None:
    first = pair.pool.submit(pair.function(0), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "the first loads")

    async def main() -> None:
        second = asyncio.ensure_future(pair.afunction(1)(1))
        await asyncio.to_thread(
            wait_until, lambda: pair.stats(1)["leases"]["waited"] == 1, "the second waits"
        )
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await second

    asyncio.run(main())
    keeper: Any = pair.mills[1]._stages[0].keeper
    wait_until(lambda: not keeper._turns, "nobody waits")
    pair.gate.opened.set()
    assert first.result(10) == "A:1"


@everywhere
def test_tasks_of_several_loops_wait(pair: Pair) -> None:
    keys = range(4)
    function = pair.function(0)
    first = [pair.pool.submit(function, key) for key in keys]
    wait_until(lambda: len(pair.gate.calls) == 4, "the first loads all")
    waits = pair.afunction(1)

    def loop(key: int) -> Any:
        async def main() -> Any:
            return await waits(key)

        return asyncio.run(main())

    second = [pair.pool.submit(loop, key) for key in keys]
    wait_until(lambda: pair.stats(1)["leases"]["waited"] == 4, "the second waits")
    pair.gate.opened.set()
    expected = [f"A:{key}" for key in keys]
    assert [one.result(10) for one in first] == expected
    assert [one.result(10) for one in second] == expected
    assert len(pair.gate.calls) == 4


@everywhere
def test_a_child_of_a_fork_leaves_leases_to_its_parent(pair: Pair, place: Place) -> None:
    keeper: Any = pair.mills[0]._stages[0].keeper
    first = pair.pool.submit(pair.function(0), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "the first loads")
    child = os.fork()
    if child == 0:
        forgotten = not keeper._held and not keeper._turns
        keeper.close()
        os._exit(0 if forgotten else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(place.standing()) == 1
    pair.gate.opened.set()
    assert first.result(10) == "A:1"
    assert pair.function(1)(1) == "A:1"


@everywhere
def test_those_who_wait_hold_no_connections(place: Place) -> None:
    pair = Pair(place.where, connections=2)
    try:
        function, other = pair.function(0), pair.function(1)
        first = [pair.pool.submit(function, key) for key in range(6)]
        wait_until(lambda: len(pair.gate.calls) == 6, "the first loads all")
        second = [pair.pool.submit(other, key) for key in range(6)]
        wait_until(lambda: pair.stats(1)["leases"]["waited"] == 6, "the second waits")
        cache = pair.mills[1].cache("others")
        cache.set(1, "set")
        assert cache.get_or_load(2, lambda key: key) == 2
        assert pair.stats(1)["errors"] == {}
        pair.gate.opened.set()
        assert [one.result(10) for one in second] == [f"A:{key}" for key in range(6)]
        assert [one.result(10) for one in first] == [f"A:{key}" for key in range(6)]
    finally:
        pair.close()
