"""Values past their life: served while they are loaded anew, or because that failed."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

import millpond as mp
from millpond.cache import freshness
from millpond.errors import ConfigurationError, OptionTypeError
from millpond.testing import ManualClock
from tests.python.cache.faces import ASYNC, SYNC, settled
from tests.python.cache.numbered import Numbered


class Cached(Numbered):
    """A function that is kept for 10 s."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.cache = mp.Cache(clock=self.clock)
        self.kind = kind
        self.cached = mp.with_cache(cache=self.cache, ttl=10, **options)(self.function(kind))

    def __call__(self, x: Any = 1) -> Any:
        """A call, and the end of what it has begun."""

        async def run() -> Any:
            result = await self.cached(x)
            for _ in range(10):
                await asyncio.sleep(0)
            return result

        return self.cached(x) if self.kind == SYNC else asyncio.run(run())

    def pass_by(self, seconds: float) -> None:
        self.clock.advance(seconds)


@pytest.fixture(params=[SYNC, ASYNC])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def unsaid() -> None:
    freshness._said.clear()


KEYS = [1, "text", (1, "two"), 2.5, frozenset([1]), b"bytes"]


@pytest.mark.parametrize("x", KEYS, ids=repr)
def test_the_first_past_its_life_loads_and_it_is_fresh_again(kind: str, x: Any) -> None:
    function = Cached(kind, stale_while_revalidate=5)
    assert [function(x), function(x)] == [1, 1]
    function.pass_by(12)
    assert not function.cached.cache_contains(x)
    # A plain function is called in line; of an async one the caller has the old value, and the task
    # that loads the new one ends soon after.
    assert function(x) == (2 if kind == SYNC else 1)
    assert function.cached.cache_contains(x)
    assert [function(x), len(function.made)] == [2, 2]
    info = function.cached.cache_info()
    assert info.stale_hits == (0 if kind == SYNC else 1)
    assert info.hits + info.misses == 4
    assert info.miss_reasons["stale"] == (1 if kind == SYNC else 0)
    assert (info.currsize, info.loads, info.replacements) == (1, 2, 1)
    function.pass_by(9)
    assert function(x) == 2  # Its life began anew.


def test_past_that_too_it_is_a_miss(kind: str) -> None:
    function = Cached(kind, stale_while_revalidate=5)
    function()
    function.pass_by(15)
    assert function() == 2
    assert function.cached.cache_info().stale_hits == 0
    assert function.cached.cache_info().miss_reasons["expired"] == 1
    function.pass_by(15)
    assert len(function.cache) == 0
    function("another")
    assert function.cached.cache_info().currsize == 1


def test_others_get_the_old_value_while_one_thread_loads() -> None:
    function = Cached(SYNC, stale_while_revalidate=5)
    function()
    function.pass_by(11)
    calls: list[Future[Any]] = []
    with (
        ThreadPoolExecutor(1) as pool,
        function.held(lambda: calls.append(pool.submit(function))),
    ):
        assert [function() for _ in range(3)] == [1, 1, 1]
    assert calls[0].result() == 2
    assert function() == 2
    info = function.cached.cache_info()
    assert (info.stale_hits, info.loads, info.coalesced) == (3, 2, 0)


def test_others_get_the_old_value_while_a_task_loads() -> None:
    function = Cached(ASYNC, stale_while_revalidate=5)
    function()
    function.pass_by(11)

    async def main() -> list[int]:
        calls = await asyncio.gather(*(function.cached(1) for _ in range(5)))
        for _ in range(10):
            await asyncio.sleep(0)
        return [*calls, await function.cached(1)]

    assert asyncio.run(main()) == [1] * 5 + [2]
    assert function.made == [1, 1]
    assert function.cached.cache_info().stale_hits == 5


def test_a_function_that_needs_its_own_old_value_gets_it() -> None:
    function = Cached(SYNC, stale_while_revalidate=5)
    function()
    function.pass_by(11)
    seen: list[int] = []
    function.inside = lambda: seen.append(function())
    assert function() == 2
    assert seen == [1]


def test_a_load_that_nobody_waits_for_says_once_that_it_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    function = Cached(ASYNC, stale_while_revalidate=5)
    function()
    function.fails = {2, 3}
    function.pass_by(11)
    assert [function(), function(), function(), function()] == [1, 1, 1, 4]
    [record] = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "millpond")
    assert "Numbered" in record.getMessage()
    assert isinstance((record.exc_info or ())[1], LookupError)
    assert function.cached.cache_info().load_errors == 2


def test_who_loads_in_line_gets_the_error_and_the_next_tries_again() -> None:
    function = Cached(SYNC, stale_while_revalidate=5)
    function()
    function.fails = {2}
    function.pass_by(11)
    with pytest.raises(LookupError):
        function()
    assert function() == 3


@pytest.mark.parametrize("also", [{}, {"stale_while_revalidate": 5}], ids=["alone", "both"])
def test_an_error_is_hidden_by_the_old_value(
    kind: str, also: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    function = Cached(kind, stale_if_error=60, negative_ttl=1, **also)
    function()
    function.fails = {2, 3, 4}
    function.pass_by(11)
    assert function() == 1
    function.pass_by(40)
    assert function() == 1
    assert function.cached.cache_info().stale_hits == 2
    assert function.cached.cache_info().load_errors == 2
    assert len(caplog.records) == 1
    function.pass_by(20)  # Past that, the error is the function's, and kept as such.
    for _ in range(2):
        with pytest.raises(LookupError, match="4"):
            function()
    function.pass_by(2)
    assert function() == 5


def test_without_a_failure_an_old_value_is_not_served(kind: str) -> None:
    function = Cached(kind, stale_if_error=60)
    function()
    function.pass_by(11)
    assert function() == 2
    assert function.cached.cache_info().stale_hits == 0


def test_all_who_wait_for_a_load_that_fails_get_the_old_value() -> None:
    function = Cached(ASYNC, stale_if_error=60)
    function()
    function.fails = {2}
    function.pass_by(11)

    async def main() -> list[int]:
        return await asyncio.gather(*(function.cached(1) for _ in range(4)))

    assert asyncio.run(main()) == [1] * 4
    info = function.cached.cache_info()
    assert (info.stale_hits, info.coalesced, info.loads, len(function.made)) == (4, 3, 2, 2)


def test_threads_wait_for_a_load_that_fails_too() -> None:
    function = Cached(SYNC, stale_if_error=60)
    function()
    function.fails = {2}
    function.pass_by(11)
    calls: list[Future[Any]] = []
    with (
        ThreadPoolExecutor(3) as pool,
        function.held(lambda: calls.append(pool.submit(function))),
    ):
        calls += [pool.submit(function) for _ in range(2)]
        while function.cached.cache_info().coalesced < 2:
            time.sleep(0.001)
    assert [call.result() for call in calls] == [1, 1, 1]
    assert function.cached.cache_info().stale_hits == 3
    assert len(function.made) == 2


@pytest.mark.parametrize("how", ["one", "tag", "all", "drop"])
def test_what_was_invalidated_is_never_served(kind: str, how: str) -> None:
    function = Cached(kind, stale_while_revalidate=60, stale_if_error=60, tags=("n:{x}",))

    def invalidate() -> None:
        if how == "one":
            assert function.cached.cache_invalidate(1)
        elif how == "tag":
            assert function.cache.invalidate(tags="n:1") == 1
        elif how == "all":
            function.cached.cache_clear()
        else:
            function.cached._drop_entries()

    function()
    function.fails = {2}
    function.pass_by(11)
    invalidate()
    with pytest.raises(LookupError):
        function()
    assert function() == 3
    # While its load is under way.
    function.fails = {4}
    function.pass_by(11)
    function.inside = invalidate
    if kind == SYNC:
        with pytest.raises(LookupError):
            function()
    else:
        assert function() == 3  # It had that before.
    function.inside = lambda: None
    assert function() == 5
    # And what that load brings is not stored.
    function.pass_by(11)
    function.inside = invalidate
    function()
    function.inside = lambda: None
    assert function() == 7


def test_a_value_that_was_set_meanwhile_stays(kind: str) -> None:
    function = Cached(kind, stale_while_revalidate=60)
    function()
    function.pass_by(11)
    function.inside = lambda: function.cached.cache_set("set", 1)
    function()
    assert function() == "set"


def test_ctrl_c_is_no_error_to_be_hidden() -> None:
    function = Cached(SYNC, stale_while_revalidate=5, stale_if_error=60)
    function()
    function.pass_by(11)

    def interrupt() -> None:
        raise KeyboardInterrupt

    function.inside = interrupt
    with pytest.raises(KeyboardInterrupt):
        function()
    function.inside = lambda: None
    assert function() == 3


def test_an_executor_makes_the_call() -> None:
    class Later(Executor):
        def __init__(self) -> None:
            self.tasks: list[tuple[Future[Any], Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            self.tasks.append((future, lambda: fn(*args, **kwargs)))
            return future

        def run(self) -> None:
            future, task = self.tasks.pop()
            try:
                future.set_result(task())
            except Exception as error:
                future.set_exception(error)

    later = Later()
    function = Cached(SYNC, stale_while_revalidate=20, executor=later)
    function.fails = {3}
    function()
    function.pass_by(11)
    assert [function(), function(), function.cached(x=1)] == [1, 1, 1]
    assert len(later.tasks) == 1
    later.run()
    assert [function(), len(function.made)] == [2, 2]
    function.pass_by(11)
    assert function() == 2
    later.run()
    assert function() == 2
    assert len(later.tasks) == 1  # What failed is tried again.
    assert function.cached.cache_info().stale_hits == 5
    later.run()
    assert function() == 4


def test_an_executor_that_takes_nothing_more_fails_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    function = Cached(SYNC, stale_while_revalidate=20, executor=pool)
    function()
    function.pass_by(11)
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hint: told.append(hint.exc_value))
    assert function() == 1
    assert "after shutdown" in str(told)
    assert not freshness._loading


def test_observers_see_what_was_served(kind: str) -> None:
    function = Cached(kind, stale_while_revalidate=5)
    function()
    function.pass_by(11)
    with mp.observe() as calls:
        function()
        function()
    first, second = calls
    assert (first.hit, first.reason) == ((False, "stale") if kind == SYNC else (True, None))
    assert second.hit
    function.pass_by(11)
    with mp.cache_control(max_age=1):
        assert function() == 3


def test_copies_are_served_as_ever(kind: str) -> None:
    clock = ManualClock()

    def make(x: int) -> list[int]:
        return [x]

    async def amake(x: int) -> list[int]:
        return [x]

    options: Any = {"cache": mp.Cache(clock=clock), "ttl": 10, "copy": True}
    function: Any = mp.with_cache(stale_while_revalidate=5, **options)(
        make if kind == SYNC else amake
    )
    settled(function(1)).append(2)
    clock.advance(11)
    settled(function(1)).append(3)
    assert settled(function(1)) == [1]


def test_options_that_do_not_go_together_are_refused() -> None:
    def body(x: int) -> int:
        return x

    async def abody(x: int) -> int:
        return x

    with pytest.raises(
        ConfigurationError, match=r"stale_if_error= is for values .* leave out tti="
    ):
        mp.with_cache(stale_if_error=5, tti=3)(body)
    with pytest.raises(ConfigurationError, match="ttl=None has no end"):
        mp.with_cache(stale_while_revalidate=5, ttl=None)(body)
    with pytest.raises(ConfigurationError, match='stale_while_revalidate: "1 hour" is not'):
        mp.with_cache(stale_while_revalidate="1 hour")(body)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ConfigurationError, match="give that too"):
            mp.with_cache(executor=pool)(body)
        with pytest.raises(ConfigurationError, match="executor= is for plain functions"):
            mp.with_cache(executor=pool, stale_while_revalidate=5)(abody)
    with pytest.raises(OptionTypeError, match=r"executor=7: give a concurrent\.futures\.Executor"):
        mp.with_cache(executor=7, stale_while_revalidate=5)(body)  # type: ignore[call-overload]
