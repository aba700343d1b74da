"""One load for all processes: leases, those who wait for them, and what may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import redis

from millpond.errors import WaitTimeoutError
from millpond.io.redis_url import RedisSettings
from millpond.tiers.base import Entry, Lease
from millpond.tiers.redis import RedisTier
from tests.integration.faces import Face
from tests.integration.lease_process import patient
from tests.integration.servers import RedisCluster, RedisServer
from tests.waiting import wait_until

LEASE = 2.0  # seconds, as in cache/leases.py
MARGIN = 5.0  # for machines that are busy


# ---- Processes


class Worker:
    """A process of lease_process.py."""

    def __init__(self, url: str, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.lease_process", url, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        timer = threading.Timer(30, self.process.kill)
        timer.start()
        try:
            return self.process.stdout.readline()
        finally:
            timer.cancel()

    def answer(self) -> Any:
        return json.loads(self.line())

    def stats(self) -> Any:
        self.tell(stats=True)
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[[int], list[Worker]]


@pytest.fixture
def start(redis_url: str) -> Iterator[Start]:
    workers: list[Worker] = []

    def started(number: int) -> list[Worker]:
        new = [Worker(redis_url, ("threads", "tasks")[i % 2]) for i in range(number)]
        workers.extend(new)
        for worker in new:
            assert worker.line() == "ready\n"
        for worker in new:
            # The stamps of the function are made now. To others that is told as an invalidation,
            # and callers that come after one do not share the load that began before it.
            worker.tell(call=["plain:first"])
            assert worker.answer()[0]["key"] == "plain:first"
        return new

    yield started
    for worker in workers:
        worker.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


def calls(client: redis.Redis) -> list[str]:
    found: Any = client.lrange("calls", 0, -1)
    return [call for call in found if not call.startswith("plain:first")]


def callers(client: redis.Redis, key: str) -> list[int]:
    return [int(call.split()[1]) for call in calls(client) if call.split()[0] == key]


def waiting(client: redis.Redis) -> int:
    """How many workers wait, by the leases that there are."""
    leases: Any = list(client.scan_iter("~l:*"))
    values: Any = client.mget(leases) if leases else []
    return sum(len(value.split()) - 1 for value in values if value)


def open_gate(client: redis.Redis, key: str, times: int) -> None:
    client.rpush(f"gate:{key}", *["open"] * times)


def led(client: redis.Redis, workers: list[Worker], key: str) -> Worker:
    """All workers call; when one loads and the others wait: the one."""
    for worker in workers:
        worker.tell(call=[key])
    wait_until(lambda: waiting(client) == len(workers) - 1, "the others wait")
    wait_until(lambda: callers(client, key), "the first loads")
    [pid] = callers(client, key)
    return next(worker for worker in workers if worker.pid == pid)


def test_each_value_is_computed_once(start: Start, client: redis.Redis) -> None:
    workers = start(4)
    keys = [f"plain:{i}" for i in range(8)]
    for round_ in range(4):
        named = [f"{key}.{round_}" for key in keys]
        for worker in workers:
            worker.tell(call=named * 3)
        answers = [worker.answer() for worker in workers]
        assert [value["key"] for value in answers[0]] == named * 3
        assert all(answer == answers[0] for answer in answers)
    assert sorted(call.split()[0] for call in calls(client)) == sorted(
        f"{key}.{round_}" for key in keys for round_ in range(4)
    )
    counts = [worker.stats()["leases"] for worker in workers]
    assert sum(count["taken"] for count in counts) == 32 + 1
    assert all(count["failed"] == count["expired"] == count["lost"] == 0 for count in counts)
    assert sum(count["waited"] for count in counts) == sum(count["landed"] for count in counts)
    assert not list(client.scan_iter("~l:*"))


def test_those_who_wait_get_the_value_at_once(start: Start, client: redis.Redis) -> None:
    workers = start(4)
    leader = led(client, workers, "gate:1")
    open_gate(client, "gate:1", 1)
    assert [worker.answer()[0]["by"] for worker in workers] == [leader.pid] * 4
    assert len(calls(client)) == 1


@pytest.mark.parametrize("key", ["raise:1", "refuse:1"])
def test_a_load_that_helps_nobody_makes_no_queue(
    start: Start, client: redis.Redis, key: str
) -> None:
    workers = start(4)
    leader = led(client, workers, key)
    open_gate(client, key, 1)
    # The others are all in their functions before any of these is allowed to end.
    wait_until(lambda: len(callers(client, key)) == 4, "all others call their functions")
    assert sorted(callers(client, key)) == sorted(worker.pid for worker in workers)
    open_gate(client, key, 3)
    answers = [worker.answer()[0] for worker in workers]
    if key == "raise:1":
        assert answers == [{"error": key}] * 4
    else:
        assert [answer["by"] for answer in answers] == [worker.pid for worker in workers]
    for worker in workers:
        counts = worker.stats()["leases"]
        assert counts["waited"] == counts["failed"] + counts["expired"] == (worker is not leader)
        assert counts["landed"] == 0
    wait_until(lambda: not list(client.scan_iter("~l:*")), "no lease is left")


def test_a_holder_that_is_killed_is_replaced_once(start: Start, client: redis.Redis) -> None:
    workers = start(4)
    leader = led(client, workers, "gate:1")
    killed = time.monotonic()
    leader.process.kill()
    leader.process.wait()
    workers.remove(leader)
    wait_until(lambda: len(callers(client, "gate:1")) == 2, "another loads", LEASE + MARGIN)
    open_gate(client, "gate:1", 10)  # The server may not know yet that the first has gone.
    successor = callers(client, "gate:1")[1]
    assert [worker.answer()[0]["by"] for worker in workers] == [successor] * 3
    assert time.monotonic() - killed < LEASE + MARGIN
    assert len(calls(client)) == 2
    leader.process.communicate()


def test_a_holder_whose_lease_was_renewed_is_waited_for_no_longer(
    start: Start, client: redis.Redis
) -> None:
    """A load of minutes that is killed: the others wait for what was left of its lease."""
    workers = start(4)
    leader = led(client, workers, "gate:1")
    taken = time.monotonic()
    [lease] = client.scan_iter("~l:*")
    wait_until(lambda: time.monotonic() - taken > LEASE + 1, "no lease lasts as long as that")
    assert len(callers(client, "gate:1")) == 1, "it was renewed"
    leader.process.kill()
    leader.process.wait()
    left = client.pttl(lease) / 1000
    killed = time.monotonic()
    assert 0 < left <= LEASE
    workers.remove(leader)
    wait_until(lambda: len(callers(client, "gate:1")) == 2, "another loads", left + MARGIN)
    assert time.monotonic() - killed > left - 0.5, "nobody knew before that it had died"
    open_gate(client, "gate:1", 10)
    successor = callers(client, "gate:1")[1]
    assert [worker.answer()[0]["by"] for worker in workers] == [successor] * 3
    assert len(calls(client)) == 2
    leader.process.communicate()


def test_a_holder_that_was_frozen_overwrites_nothing(start: Start, client: redis.Redis) -> None:
    workers = start(3)
    leader = led(client, workers, "gate:1")
    os.kill(leader.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: len(callers(client, "gate:1")) == 2, "another loads", LEASE + MARGIN)
        successor = callers(client, "gate:1")[1]
        open_gate(client, "gate:1", 2)
        others = [worker for worker in workers if worker is not leader]
        assert [worker.answer()[0]["by"] for worker in others] == [successor] * 2
    finally:
        os.kill(leader.pid, signal.SIGCONT)
    open_gate(client, "gate:1", 2)
    assert leader.answer()[0]["by"] == leader.pid
    assert leader.stats()["fills_refused"] == 1
    # Whoever asks now gets what the successor stored.
    [newcomer] = start(1)
    newcomer.tell(call=["gate:1"])
    assert newcomer.answer()[0]["by"] == successor


# ---- Two Engines of one process, which stand for two processes


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

    def __init__(self, url: str, seconds: float = 10.0, connections: int = 100) -> None:
        self.gate = Gate()
        self.mills = [patient(url, seconds, connections) for _ in range(2)]
        self.pool = ThreadPoolExecutor(16)
        wait_until(lambda: all(self.stats(i)["coherence"]["heard"] for i in (0, 1)), "feeds")

    def stats(self, i: int) -> Any:
        return self.mills[i].stats()["redis"]

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


@pytest.fixture
def pair(redis_url: str) -> Iterator[Pair]:
    made = Pair(redis_url)
    yield made
    made.close()


def test_a_lease_is_renewed_while_the_function_runs(pair: Pair, client: redis.Redis) -> None:
    first, second = pair.both(1)
    started = time.monotonic()
    [lease] = client.scan_iter("~l:*")
    wait_until(lambda: time.monotonic() - started > 1.5 * LEASE, "longer than a lease")
    assert client.exists(lease)
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


def test_without_a_lock_everybody_loads(pair: Pair, client: redis.Redis) -> None:
    first = pair.pool.submit(pair.function(0, lock=False), 1)
    second = pair.pool.submit(pair.function(1, lock=False), 1)
    wait_until(lambda: sorted(pair.gate.calls) == ["A", "B"], "both load")
    assert not list(client.scan_iter("~l:*"))
    pair.gate.opened.set()
    assert (first.result(10), second.result(10)) == ("A:1", "B:1")


def test_an_invalidation_wins_over_the_load_that_others_wait_for(pair: Pair) -> None:
    first, second = pair.both(1, tags=("every",))
    assert pair.mills[0].invalidate(tags="every").done
    pair.gate.opened.set()
    assert first.result(10) == "A:1"
    assert second.result(10) == "B:1"
    assert pair.gate.calls == ["A", "B"]


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


def test_a_load_that_needs_its_own_value_does_not_wait_for_itself(pair: Pair) -> None:
    @pair.mills[0].with_cache(namespace="test", key=lambda depth: "same")
    def nested(depth: int) -> int:
        return 1 + nested(depth - 1) if depth else 1

    assert pair.pool.submit(nested, 3).result(LEASE + MARGIN) == 4


def test_two_loads_that_wait_for_each_other_go_on(pair: Pair) -> None:
    barrier = threading.Barrier(2)

    def crossed(i: int) -> Any:
        def load(x: int, inner: bool = False) -> Any:
            if inner or x != i:
                return x
            barrier.wait(10)
            return x + function(1 - x)

        load.__qualname__ = "crossed"
        function = pair.mills[i].with_cache(namespace="test")(load)
        return function

    both = [pair.pool.submit(crossed(i), i) for i in (0, 1)]
    assert [one.result(LEASE + MARGIN) for one in both] == [1, 1]


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


def test_a_load_of_its_own_may_take_longer(pair: Pair) -> None:
    first = pair.pool.submit(pair.function(0, wait_timeout=0.01), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "it loads")
    started = time.monotonic()
    wait_until(lambda: time.monotonic() - started > 0.05, "longer than it would wait")
    pair.gate.opened.set()
    assert first.result(10) == "A:1"


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


def test_a_get_takes_no_lease(pair: Pair) -> None:
    cache = pair.mills[0].cache("things")
    assert cache.get(1) is None
    assert pair.stats(0)["leases"]["taken"] == 0
    assert cache.get_or_load(1, lambda key: key + 1) == 2
    assert pair.stats(0)["leases"]["taken"] == 1


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


def test_without_notices_it_is_asked_now_and_then(pair: Pair) -> None:
    keeper = pair.mills[1]._stages[0].keeper
    assert keeper is not None
    pair.mills[1]._stages[0].tier.unwatch()  # type: ignore[attr-defined]
    wait_until(lambda: not keeper.told, "nothing is told")
    first, second = pair.both(1)
    pair.gate.opened.set()
    assert (first.result(10), second.result(1)) == ("A:1", "A:1")


def test_a_redis_that_dies_while_others_wait(own_redis: RedisServer) -> None:
    pair = Pair(own_redis.url, 0.5)
    try:
        first, second = pair.both(1)
        own_redis.kill()
        wait_until(lambda: pair.gate.calls == ["A", "B"], "the second loads for itself", MARGIN)
        pair.gate.opened.set()
        assert (first.result(10), second.result(10)) == ("A:1", "B:1")
    finally:
        pair.close()


def test_a_frozen_redis_while_others_wait(own_redis: RedisServer) -> None:
    pair = Pair(own_redis.url, 0.5)
    try:
        first, second = pair.both(1)
        own_redis.freeze()
        wait_until(lambda: pair.gate.calls == ["A", "B"], "the second loads for itself", MARGIN)
        pair.gate.opened.set()
        assert (first.result(10), second.result(10)) == ("A:1", "B:1")
    finally:
        own_redis.thaw()
        pair.close()


def test_a_cancelled_load_lets_the_others_go_on(pair: Pair, client: redis.Redis) -> None:
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


def test_a_child_of_a_fork_leaves_leases_to_its_parent(pair: Pair, client: redis.Redis) -> None:
    keeper: Any = pair.mills[0]._stages[0].keeper
    first = pair.pool.submit(pair.function(0), 1)
    wait_until(lambda: pair.gate.calls == ["A"], "the first loads")
    child = os.fork()
    if child == 0:
        forgotten = not keeper._held and not keeper._turns
        keeper.close()
        os._exit(0 if forgotten else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(client.scan_iter("~l:*"))) == 1
    pair.gate.opened.set()
    assert first.result(10) == "A:1"
    assert pair.function(1)(1) == "A:1"


def test_those_who_wait_hold_no_connections(redis_url: str) -> None:
    pair = Pair(redis_url, connections=2)
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


# ---- The tier


@pytest.fixture(params=["one server", "cluster"], scope="module")
def where(request: pytest.FixtureRequest) -> Iterator[str | RedisSettings]:
    if request.param == "cluster":
        with RedisCluster(replicas=0) as cluster:
            yield RedisSettings(nodes=tuple(cluster.addresses))
    else:
        with RedisServer() as server:
            yield server.url


@pytest.fixture(params=["sync", "async"])
def faces(request: pytest.FixtureRequest, where: str | RedisSettings) -> Iterator[list[Face]]:
    runner = asyncio.Runner() if request.param == "async" else None
    made = [Face(RedisTier(where), runner) for _ in range(2)]
    yield made
    for face in made:
        if runner:
            runner.run(face.tier.aclose())
        else:
            face.tier.close()
    if runner:
        runner.close()


def fresh() -> str:
    return f"lease:f:1:{secrets.token_hex(8)}"


def test_a_lease_is_one_workers_at_a_time(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    assert one.acquire(key, 1, 60.0, b"") == Lease("held", 1, 60.0)
    assert one.acquire(key, 1, 60.0, b"") == Lease("held", 1, 60.0)
    taken = two.acquire(key, 2, 60.0, b"")
    assert (taken.state, taken.fence) == ("taken", 1)
    assert 50 < taken.left <= 60
    assert two.renew([(key, 2)], 60.0) == [False]
    assert two.release([(key, 2)], "failed") == [False]
    assert one.renew([(key, 1)], 90.0) == [True]
    assert 80 < two.acquire(key, 2, 60.0, b"").left <= 90
    assert one.release([(key, 1)], "failed") == [True]
    assert one.renew([(key, 1)], 60.0) == [False]
    assert two.acquire(key, 2, 60.0, b"").state == "held"


def test_a_lease_ends_by_itself(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    one.acquire(key, 1, 0.05, b"")
    wait_until(lambda: two.acquire(key, 2, 60.0, b"").state == "held", "the lease ends")
    assert one.renew([(key, 1)], 60.0) == [False]


def test_only_its_holder_stores(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    one.acquire(key, 1, 60.0, b"")
    assert two.store([Entry(key, b"two", 60.0, 0, 2)]) == [False]
    assert one.store([Entry(key, b"one", 60.0, 0, 1)]) == [True]
    assert one.store([Entry(key, b"late", 60.0, 0, 1)]) == [False]
    assert two.fetch([key], []).data == [b"one"]
    assert two.acquire(key, 2, 60.0, b"").state == "landed"


def test_a_store_that_an_invalidation_refuses_ends_the_lease(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    [guard] = one.fetch([key], []).guards
    one.acquire(key, 1, 60.0, b"")
    two.delete([key])
    assert one.store([Entry(key, b"one", 60.0, guard, 1)]) == [False]
    assert two.acquire(key, 2, 60.0, b"").state == "held"


def test_an_entry_that_was_seen_has_not_landed(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    one.store([Entry(key, b"old entry", 60.0)])
    assert one.acquire(key, 1, 60.0, b"").state == "landed"
    assert one.acquire(key, 1, 60.0, b"old").state == "held"
    assert two.acquire(key, 2, 60.0, b"old").state == "taken"
    assert one.store([Entry(key, b"new entry", 60.0, 0, 1)]) == [True]
    assert two.acquire(key, 2, 60.0, b"old").state == "landed"
    one.delete([key])
    assert two.acquire(key, 2, 60.0, b"new").state == "held"
