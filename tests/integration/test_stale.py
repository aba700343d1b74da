"""Values past their life in real tiers: two Engines on one tier stand for two processes.

Nobody waits for a life to end: an entry is put back as if it had been stored so much earlier.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from millpond import Engine, _engine
from millpond.io.codecs import Codec
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry
from millpond.tiers.redis import RedisTier
from millpond.tiers.sqlite import SQLiteTier
from tests.integration.leases import patient
from tests.integration.mills import Async, Sync, counted, settle
from tests.waiting import wait_until

LIFE = 100
OFF = 5  # seconds that a server's clock may seem to be off where its answers take long
RULES = {"ttl": LIFE, "stale_while_revalidate": 300, "stale_if_error": 600}


def at(tier: str, request: pytest.FixtureRequest, folder: Any) -> str:
    named = {"redis": "redis_url", "postgresql": "postgres_url"}
    return str(request.getfixturevalue(named[tier]) if tier in named else folder / "data")


@pytest.fixture
def mills(tier: str, request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    where = at(tier, request, tmp_path)
    with patient(where) as one, patient(where) as two:
        yield one, two


def hear(mill: Engine) -> None:
    """Until memory may keep what it is given for as long as that lives."""
    mill.open()
    tiers = [name for name in mill.stats() if name != "memory"]
    wait_until(lambda: all(mill.stats()[name]["coherence"]["heard"] for name in tiers))


def keys_of(mill: Engine) -> list[str]:
    """The names of the calls, but for those of `settle`."""
    return [key for key in mill.cache.scan("test:") if "marker" not in key]


def age(mill: Engine, tier: str, seconds: float) -> None:
    """As if all values had been stored so much earlier."""
    store = mill.tier(tier)
    for key in keys_of(mill):
        held = store.inspect(key, Deadline.after(5))
        assert held is not None
        head = Codec().head(held.data)
        assert head.codec == "tagged"
        earlier = int(seconds * 1e6)
        data = _engine.make_entry(
            1,
            0,
            head.content_size,
            head.schema,
            head.stored_us - earlier,
            head.expires_us - earlier,
            head.fresh_us - earlier,
            head.cost,
            head.load_seconds,
            head.stamps,
            _engine.payload_of(head),
        )
        guards = store.fetch([key], [], Deadline.after(5)).guards
        entry = Entry(key, data, held.ttl - seconds, guards[0])
        assert store.store([entry], Deadline.after(5)) == [True]


def call(face: Any, function: Any, *args: Any) -> Any:
    """A call, and the loads that it begins and does not wait for."""
    if isinstance(face, Sync):
        return function(*args)

    async def main() -> Any:
        value = await function(*args)
        while loads := [one for one in asyncio.all_tasks() if is_load(one)]:
            await asyncio.wait(loads)
        return value

    return asyncio.run(main())


def waited(mill: Engine) -> int:
    """How many loads have waited for those of other processes."""
    [stage] = mill._stages
    return int(mill.stats()[stage.tier.name]["leases"]["waited"])


def is_load(task: Any) -> bool:
    return type(task.get_coro()).__name__ == "Load"


def test_an_entry_stays_for_its_life_and_the_longer_rule(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    _, body = counted()
    hear(mills[0])
    function = face.function(mills[0], body, **RULES)
    face.call(function, 1)
    [key] = keys_of(mills[0])
    memory, stored = mills[0].cache.inspect(key)
    assert stored.tier == tier
    assert stored.ttl is not None
    assert stored.fresh is not None
    assert LIFE + 600 - 2 * OFF < stored.ttl <= LIFE + 600 + OFF
    assert LIFE - 2 * OFF < stored.fresh <= LIFE + OFF
    assert memory.fresh is not None
    assert LIFE - 2 * OFF < memory.fresh <= LIFE + OFF
    age(mills[0], tier, LIFE + 20)
    stored = mills[0].cache.inspect(key)[-1]
    assert stored.fresh is not None
    assert -20 - 2 * OFF < stored.fresh < -20 + OFF
    assert stored.state == "past"


def test_it_is_served_and_loaded_once(face: Any, mills: tuple[Engine, Engine], tier: str) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body, **RULES) for mill in mills)
    call(face, first, 1)
    settle(mills)
    age(mills[0], tier, LIFE + 20)
    at_once = isinstance(face, Async)
    assert call(face, second, 1)["call"] == (1 if at_once else 2)
    assert calls == [1, 1]
    assert call(face, second, 1)["call"] == 2
    assert calls == [1, 1]
    assert second.cache_info().stale_hits == (1 if at_once else 0)
    assert second.cache_info().loads == 1
    assert mills[1].stats()[tier]["stale_hits"] == 1


def test_a_failure_is_hidden_by_it(face: Any, mills: tuple[Engine, Engine], tier: str) -> None:
    calls, body = counted()

    def fails(x: Any) -> Any:
        calls.append(x)
        raise LookupError(x)

    fails.__module__, fails.__qualname__ = body.__module__, body.__qualname__
    rules = {"ttl": LIFE, "stale_if_error": 600}
    first = face.function(mills[0], body, **rules)
    second = face.function(mills[1], fails, **rules)
    call(face, first, 1)
    settle(mills)
    age(mills[0], tier, LIFE + 20)
    assert call(face, second, 1)["call"] == 1
    assert call(face, second, 1)["call"] == 1
    assert calls == [1, 1, 1]
    info = second.cache_info()
    assert (info.stale_hits, info.load_errors, info.misses) == (2, 2, 2)
    assert mills[1].stats()[tier]["stale_hits"] == 2
    strict = face.function(mills[1], fails, ttl=LIFE, stale_if_error=1)
    with pytest.raises(LookupError):
        call(face, strict, 1)


@pytest.mark.parametrize("how", ["tags", "namespace", "function", "call"])
def test_what_was_invalidated_is_not(
    face: Any, mills: tuple[Engine, Engine], tier: str, how: str
) -> None:
    calls, body = counted()
    rules = {**RULES, "tags": ("user:{x}",)}
    first, second = (face.function(mill, body, **rules) for mill in mills)
    call(face, first, 1)
    settle(mills)
    age(mills[0], tier, LIFE + 20)
    if how == "call":
        face.do(first, "cache_invalidate", 1)
    else:
        given = {"tags": "user:1", "namespace": "test", "function": first}[how]
        assert face.invalidate(mills[0], **{how: given}).done
    settle(mills)  # It is told within milliseconds.
    assert call(face, second, 1)["call"] == 2
    assert second.cache_info().stale_hits == 0
    assert calls == [1, 1]


def test_nor_what_is_invalidated_while_the_load_fails(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    _, body = counted()

    def fails(x: Any) -> Any:
        assert mills[1].invalidate(tags="user:1").done
        raise LookupError(x)

    fails.__module__, fails.__qualname__ = body.__module__, body.__qualname__
    rules = {"ttl": LIFE, "stale_if_error": 600, "tags": ("user:{x}",)}
    first = face.function(mills[0], body, **rules)
    second = face.function(mills[1], fails, **rules)
    call(face, first, 1)
    settle(mills)
    age(mills[0], tier, LIFE + 20)
    with pytest.raises(LookupError):
        call(face, second, 1)


class Gate:
    """A function whose calls after the first wait until they may go on."""

    def __init__(self, fails: bool = False) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.calls, body = counted()

        def waits(x: Any) -> Any:
            if self.calls:
                self.calls.append(x)
                self.inside.set()
                assert self.go_on.wait(20)
                self.calls.pop()
                if fails:
                    self.calls.append(x)
                    raise LookupError(x)
            return body(x)

        waits.__module__, waits.__qualname__ = body.__module__, body.__qualname__
        self.body = waits


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def leasing(request: pytest.FixtureRequest) -> str:
    """A tier that has leases."""
    return str(request.param)


@pytest.fixture
def three(leasing: str, request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[list[Engine]]:
    with contextlib.ExitStack() as stack:
        where = at(leasing, request, tmp_path)
        yield [stack.enter_context(patient(where)) for _ in range(3)]


def stale(face: Any, three: list[Engine], gate: Gate, **options: Any) -> list[Any]:
    """A function in each of them, whose value all have to have from the tier, past its life."""
    functions = [face.function(mill, gate.body, **RULES, **options) for mill in three]
    call(face, functions[0], 1)
    for other in three[1:]:
        settle((three[0], other))
    [stage] = three[0]._stages
    age(three[0], stage.tier.name, LIFE + 20)
    return functions


@contextlib.contextmanager
def loading(gate: Gate, face: Any, function: Any) -> Iterator[Future[Any]]:
    """A call that is inside, on a thread, until the end of the block at the latest."""
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(call, face, function, 1)
        try:
            assert gate.inside.wait(20)
            yield load
        finally:
            gate.go_on.set()


@pytest.mark.parametrize("options", [{}, {"max_entries": 0}], ids=["memory", "none"])
def test_while_one_process_loads_the_others_have_the_old_value(
    face: Any, three: list[Engine], options: dict[str, Any]
) -> None:
    gate = Gate()
    _, second, third = stale(face, three, gate, **options)
    with loading(gate, face, second) as load:
        for _ in range(3):
            assert face.call(third, 1)["call"] == 1
    at_once = isinstance(face, Async)
    assert load.result()["call"] == (1 if at_once else 2)
    # What memory has of it is replaced by a task, after the call that finds it there.
    later = at_once and not options
    assert call(face, third, 1)["call"] == (1 if later else 2)
    assert call(face, third, 1)["call"] == 2
    assert len(gate.calls) == 2
    assert (third.cache_info().stale_hits, third.cache_info().loads) == (4 if later else 3, 0)
    if not at_once:
        assert waited(three[2]) == 0


def test_a_task_that_nobody_waits_for_brings_what_the_other_process_loads(
    three: list[Engine], leasing: str
) -> None:
    gate, face = Gate(), Async()
    _, second, third = stale(face, three, gate)

    async def main() -> None:
        assert (await third(1))["call"] == 1
        await asyncio.to_thread(wait_until, lambda: waited(three[2]))
        for _ in range(50):
            assert (await third(1))["call"] == 1
        assert waited(three[2]) == 1
        gate.go_on.set()
        while loads := [one for one in asyncio.all_tasks() if is_load(one)]:
            await asyncio.wait(loads)
        assert (await third(1))["call"] == 2

    with loading(gate, face, second):
        asyncio.run(main())
    assert len(gate.calls) == 2
    assert third.cache_info().hits_by_tier == {"memory": third.cache_info().hits - 1, leasing: 1}


def test_nor_does_it_load_after_the_other_has_failed(three: list[Engine]) -> None:
    gate, face = Gate(fails=True), Async()
    _, second, third = stale(face, three, gate)

    async def main() -> None:
        assert (await third(1))["call"] == 1
        await asyncio.to_thread(wait_until, lambda: waited(three[2]))
        gate.go_on.set()
        while loads := [one for one in asyncio.all_tasks() if is_load(one)]:
            await asyncio.wait(loads)

    with loading(gate, face, second) as load:
        asyncio.run(main())
    assert load.result()["call"] == 1
    assert len(gate.calls) == 2
    assert third.cache_info().loads == 0
    assert third.cache_contains(1) is False


def test_a_process_that_dies_while_it_loads_is_replaced(
    face: Any, three: list[Engine], leasing: str
) -> None:
    gate = Gate()
    gate.go_on.set()
    _, second, _ = stale(face, three, gate)
    store: Any = three[0].tier(leasing)
    [key] = keys_of(three[0])
    seen = store.inspect(key, Deadline.after(5)).data[:64]
    # Another takes the lease, and is never heard of again.
    assert store.acquire(key, 7, 0.5, seen, Deadline.after(5)).state == "held"
    assert call(face, second, 1)["call"] == 1
    wait_until(lambda: call(face, second, 1)["call"] == 2)
    assert gate.calls == [1, 1]


def test_a_faster_tier_gets_the_ends_that_the_slower_has(
    face: Any, redis_url: str, tmp_path: Any
) -> None:
    calls, body = counted()
    folder = str(tmp_path / "data")
    redis = RedisTier(redis_url, timeout=10)
    file = SQLiteTier(folder, timeout=10)
    with (
        patient(folder) as one,
        Engine(redis=redis, database=file, budget=20) as two,
    ):
        hear(two)
        first, second = (face.function(mill, body, **RULES) for mill in (one, two))
        call(face, first, 1)
        age(one, "sqlite", 60)
        assert call(face, second, 1)["call"] == 1
        [key] = keys_of(two)
        views = {view.tier: view for view in two.cache.inspect(key)}
        assert views.keys() == {"memory", "redis", "sqlite"}
        for view in views.values():
            assert view.fresh is not None
            assert view.ttl is not None
            assert LIFE - 60 - 2 * OFF < view.fresh <= LIFE - 60 + OFF
            assert LIFE + 540 - 2 * OFF < view.ttl <= LIFE + 540 + OFF
        # And what the slower has past its life is no life for the faster.
        two.tier("redis").erase([key], Deadline.after(5))
        second._drop_entries()
        age(one, "sqlite", 45)
        assert call(face, second, 1)["call"] == (1 if isinstance(face, Async) else 2)
        assert call(face, second, 1)["call"] == 2
        fresh = two.cache.inspect(key)[1].fresh
        assert fresh is not None
        assert fresh > LIFE - 10
        assert calls == [1, 1]


def test_a_tier_keeps_it_no_longer_than_it_keeps_anything(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    _, body = counted()
    mill = mills[0]
    most = mill.tier(tier).max_ttl
    call(face, face.function(mill, body, ttl=most - 50, stale_if_error=200), 1)
    call(face, face.function(mill, body, ttl=most + 50, stale_if_error=200, version=2), 1)
    views = [mill.cache.inspect(key)[-1] for key in sorted(keys_of(mill))]
    for view, fresh in zip(views, (most - 50, most), strict=True):
        assert view.ttl is not None
        assert view.fresh is not None
        assert most - 2 * OFF < view.ttl <= most + OFF
        assert fresh - 2 * OFF < view.fresh <= fresh + OFF
