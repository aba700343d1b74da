"""Values past their life in tiers: served by processes that never had them, and never for too long.

Each process has a memory of its own, and all share one file.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import millpond as mp
from millpond import Engine
from millpond.cache import freshness
from millpond.io.deadline import Deadline
from tests.python.cache.faces import ASYNC, SYNC
from tests.python.cache.stale_fleet import LIFE, Fleet, rest
from tests.python.tiers.memory_tier import MemoryTier
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def unsaid() -> None:
    freshness._said.clear()


@pytest.fixture(params=[SYNC, ASYNC])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def tasks(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(ASYNC, tmp_path)
    yield made
    made.close()


@pytest.fixture
def threads(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(SYNC, tmp_path)
    yield made
    made.close()


WHILE = {"stale_while_revalidate": 50}
IF = {"stale_if_error": 50}
MEMORY = [{}, {"max_entries": 0}]  # with a memory, and with none that holds anything


@pytest.mark.parametrize("memory", MEMORY, ids=["memory", "none"])
def test_who_comes_first_after_its_life_has_it_loaded_once(
    fleet: Fleet, memory: dict[str, Any]
) -> None:
    first, second, third = (fleet.process(**WHILE, **memory) for _ in range(3))
    assert first() == 1
    fleet.pass_by(LIFE + 20)
    # A plain function is called in line; of an async one the caller has the old value, and the task
    # that loads the new one ends soon after.
    assert second() == (2 if fleet.kind == SYNC else 1)
    assert fleet.made == [1, 1]
    assert [second(), third(), third()] == [2, 2, 2]
    assert fleet.made == [1, 1]
    assert second.info.stale_hits == (0 if fleet.kind == SYNC else 1)
    assert second.info.loads == 1
    assert second.info.hits + second.info.misses == 2
    assert second.file["stale_hits"] == 1
    fleet.pass_by(LIFE - 1)
    assert third() == 2  # Its life began anew.


def test_tasks_that_come_together_have_it_loaded_once(tasks: Fleet) -> None:
    first, second = tasks.process(**WHILE), tasks.process(**WHILE)
    first()
    tasks.pass_by(LIFE + 20)
    assert second.together(5) == [1] * 5
    assert tasks.made == [1, 1]
    assert second.together(5) == [2] * 5
    assert tasks.made == [1, 1]
    assert second.info.stale_hits == 5


@pytest.mark.parametrize("memory", MEMORY, ids=["memory", "none"])
def test_others_get_it_while_one_thread_loads(threads: Fleet, memory: dict[str, Any]) -> None:
    first, second = threads.process(**WHILE, **memory), threads.process(**WHILE, **memory)
    first()
    threads.pass_by(LIFE + 20)
    calls: list[Any] = []
    with (
        ThreadPoolExecutor(1) as pool,
        threads.held(lambda: calls.append(pool.submit(second))),
    ):
        assert [second() for _ in range(3)] == [1, 1, 1]
    assert calls[0].result() == 2
    assert threads.made == [1, 1]
    assert second.info.stale_hits == 3
    assert second() == 2


def test_who_waits_for_the_look_up_gets_it_with_its_leader() -> None:
    looks, look, loads, load = (threading.Event() for _ in range(4))

    class Slow(MemoryTier):
        def fetch(self, *args: Any) -> Any:
            if self.entries:
                looks.set()
                assert look.wait(10)
            return super().fetch(*args)

    tier, calls = Slow(), []

    def body(x: int) -> int:
        calls.append(x)
        if len(calls) > 1:
            loads.set()
            assert load.wait(10)
        return len(calls)

    with Engine(database=tier, namespace="fleet") as one, Engine(database=tier) as two:
        rules = {"namespace": "fleet", "ttl": 100, "stale_while_revalidate": 100}
        assert one.with_cache(**rules)(body)(1) == 1
        tier.ahead = 150
        function = two.with_cache(**rules)(body)
        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(function, 1)
            assert looks.wait(10)
            other = pool.submit(function, 1)
            wait_until(lambda: function.cache_info().coalesced == 1)
            look.set()
            assert other.result(10) == 1  # It does not wait for the load.
            assert loads.wait(10)
            assert not leader.done()
            load.set()
            assert leader.result(10) == 2
        assert function(1) == 2
        info = function.cache_info()
        assert (info.stale_hits, info.hits, info.misses) == (1, 2, 1)


def test_an_executor_makes_the_call(threads: Fleet) -> None:
    first = threads.process(**WHILE)
    first()
    threads.pass_by(LIFE + 20)
    with ThreadPoolExecutor(1) as pool:
        second = threads.process(**WHILE, executor=pool)
        assert second() == 1
    assert second() == 2
    assert threads.made == [1, 1]
    assert (second.info.stale_hits, second.info.loads) == (1, 1)


def test_past_what_is_allowed_it_is_a_miss(fleet: Fleet) -> None:
    first, second = fleet.process(**WHILE, **IF), fleet.process(**WHILE, **IF)
    first()
    fleet.pass_by(LIFE + 50)
    fleet.fails = {2}
    with pytest.raises(LookupError):
        second()
    assert second() == 3
    assert second.info.stale_hits == 0
    assert second.file == {"absent": 2}


def test_a_function_that_allows_less_takes_less(fleet: Fleet) -> None:
    first = fleet.process(stale_while_revalidate=50)
    none, some = fleet.process(), fleet.process(stale_if_error=10)
    first()
    fleet.pass_by(LIFE + 20)
    fleet.fails = {2}
    with pytest.raises(LookupError):
        some()
    assert some.file == {"expired": 1}
    assert none() == 3
    assert none.file == {"expired": 1}


def test_an_error_is_hidden_by_it(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    first, second = fleet.process(**IF), fleet.process(**IF)
    first()
    fleet.fails = {2, 3, 4}
    fleet.pass_by(LIFE + 20)
    assert [second(), second()] == [1, 1]
    assert (second.info.stale_hits, second.info.load_errors, second.info.loads) == (2, 2, 2)
    assert second.info.misses == 2
    assert second.file["stale_hits"] == 2
    assert second.file["stale"] >= 2
    [record] = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "millpond")
    assert isinstance((record.exc_info or ())[1], LookupError)
    fleet.pass_by(30)
    with pytest.raises(LookupError, match="4"):
        second()
    assert second() == 5


def test_without_a_failure_it_is_not_served(fleet: Fleet) -> None:
    first, second = fleet.process(**IF), fleet.process(**IF)
    first()
    fleet.pass_by(LIFE + 20)
    assert second() == 2
    assert second.info.stale_hits == 0
    assert second.file == {"stale": 1}


def test_both_rules_together(fleet: Fleet) -> None:
    rules = {"stale_while_revalidate": 10, "stale_if_error": 50}
    first, second = fleet.process(**rules), fleet.process(**rules)
    first()
    fleet.fails = {2, 3}
    fleet.pass_by(LIFE + 5)
    assert second() == 1
    fleet.pass_by(10)
    assert second() == 1
    assert fleet.made == [1, 1, 1]
    assert second() == 4


def test_ctrl_c_is_no_error_to_be_hidden(threads: Fleet) -> None:
    first, second = threads.process(**IF), threads.process(**IF)
    first()
    threads.pass_by(LIFE + 20)

    def interrupt() -> None:
        raise KeyboardInterrupt

    threads.inside = interrupt
    with pytest.raises(KeyboardInterrupt):
        second()


@pytest.mark.parametrize("how", ["key", "tag", "function", "delete"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("memory", MEMORY, ids=["memory", "none"])
def test_what_was_invalidated_is_never_served(
    fleet: Fleet, how: str, when: str, memory: dict[str, Any]
) -> None:
    first, second = fleet.process(**IF, **memory), fleet.process(**IF, **memory)

    def invalidate() -> None:
        if how == "key":
            assert first.cached.cache_invalidate(1)
        elif how == "tag":
            assert first.mill.invalidate(tags="n:1").done
        elif how == "function":
            assert first.mill.invalidate(function=first.cached).done
        else:
            keys = [*first.mill.cache.scan("fleet:")]
            first.mill.tier("sqlite").delete(keys, Deadline.after(5))

    first()
    fleet.pass_by(LIFE + 20)
    fleet.fails = {2}
    if when == "before":
        invalidate()
    else:
        fleet.inside = invalidate
    with pytest.raises(LookupError):
        second()
    fleet.inside = lambda: None
    assert second() == 3


def test_invalidated_before_it_is_loaded_anew(fleet: Fleet) -> None:
    first, second = fleet.process(**WHILE), fleet.process(**WHILE)
    first()
    fleet.pass_by(LIFE + 20)
    assert first.mill.invalidate(tags="n:1").done
    assert second() == 2
    assert second.info.stale_hits == 0


def test_an_invalidation_wins_over_the_load_that_it_met(fleet: Fleet) -> None:
    first, second = fleet.process(**WHILE), fleet.process(**WHILE)
    first()
    fleet.pass_by(LIFE + 20)
    fleet.inside = lambda: first.mill.invalidate(tags="n:1")
    second()
    fleet.inside = lambda: None
    assert [second(), first()] == [3, 3]


def test_memory_has_it_no_longer_than_the_file(fleet: Fleet) -> None:
    first, second = fleet.process(**IF), fleet.process(**IF)
    first()
    fleet.pass_by(LIFE - 10)
    assert second() == 1
    memory, file = second.views()["memory"], second.views()["sqlite"]
    assert (memory.ttl, memory.fresh, memory.state) == (60, 10, "live")
    assert (file.ttl, file.fresh, file.state) == (60, 10, "live")
    fleet.pass_by(15)
    fleet.fails = {2, 3}
    assert second() == 1
    memory, file = second.views()["memory"], second.views()["sqlite"]
    assert (memory.ttl, memory.fresh, memory.state) == (45, -5, "past")
    assert (file.ttl, file.fresh, file.state) == (45, -5, "past")
    fleet.pass_by(45)
    with pytest.raises(LookupError):
        second()


def test_what_memory_got_past_its_life_it_has_no_longer(tasks: Fleet) -> None:
    first, second = tasks.process(**WHILE), tasks.process(**WHILE)
    first()
    tasks.pass_by(LIFE + 20)
    tasks.fails = {2, 3}
    assert second() == 1  # Its load fails, so memory keeps what it has.
    memory = second.views()["memory"]
    assert (memory.ttl, memory.fresh) == (30, -20)
    tasks.pass_by(20)
    assert second() == 1
    tasks.pass_by(10)
    assert second() == 4


def test_entries_of_before_are_read_and_not_served_past_their_life(fleet: Fleet) -> None:
    plain, second = fleet.process(), fleet.process(**WHILE, **IF)
    plain()
    assert second() == 1
    fleet.pass_by(LIFE + 1)
    assert second() == 2


def test_a_scope_that_stores_nothing_stores_nothing_anew(fleet: Fleet) -> None:
    first, second = fleet.process(**WHILE), fleet.process(**WHILE)
    first()
    fleet.pass_by(LIFE + 20)
    with mp.cache_control(no_store=True):
        assert second() == (2 if fleet.kind == SYNC else 1)
    assert fleet.made == [1, 1]
    assert second.views()["sqlite"].state == "past"
    assert "memory" not in second.views()


def test_observers_see_what_was_served(fleet: Fleet) -> None:
    first, second = fleet.process(**WHILE), fleet.process(**WHILE)
    first()
    fleet.pass_by(LIFE + 20)
    with mp.observe() as calls:
        second()
        second()
    if fleet.kind == SYNC:
        assert [(call.hit, call.tier) for call in calls] == [(False, None), (True, "memory")]
    else:
        assert [(call.hit, call.tier) for call in calls] == [(True, "sqlite"), (True, "memory")]
        assert calls[0].age == LIFE + 20


def test_a_list_of_calls_gets_what_single_ones_get(fleet: Fleet) -> None:
    first, second = fleet.process(**WHILE, **IF), fleet.process(**WHILE, **IF)
    assert [first(1), first(2), first(3)] == [1, 2, 3]
    fleet.pass_by(LIFE + 20)

    def many() -> list[Any]:
        if fleet.kind == SYNC:
            return list(second.cached.cache_many([1, 2, 3]))

        async def run() -> list[Any]:
            got = await second.cached.cache_many([1, 2, 3])
            await rest()
            return list(got)

        return asyncio.run(run())

    assert sorted(many()) == ([4, 5, 6] if fleet.kind == SYNC else [1, 2, 3])
    assert sorted(fleet.made) == [1, 1, 2, 2, 3, 3]
    assert sorted(many()) == [4, 5, 6]
    assert second.info.stale_hits == (0 if fleet.kind == SYNC else 3)


def test_a_value_that_was_set_is_kept_past_its_life_too(fleet: Fleet) -> None:
    first, second = fleet.process(**IF), fleet.process(**IF)
    first.cached.cache_set("set", 1)
    fleet.fails = {1}
    fleet.pass_by(LIFE + 20)
    assert second() == "set"


def test_a_task_that_gives_up_does_not_keep_it_from_being_loaded(tasks: Fleet) -> None:
    first, second = tasks.process(**WHILE), tasks.process(**WHILE)
    first()
    tasks.pass_by(LIFE + 20)

    async def main() -> None:
        call = asyncio.ensure_future(second.cached(1))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await second.cached(1)
        await rest()

    asyncio.run(main())
    assert second() == 2
    assert tasks.made == [1, 1]
