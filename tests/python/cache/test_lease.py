"""The alarm of a cache: what came from a tier is dropped before it is served too late."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from typing import Any

import pytest

import millpond as mp
from millpond.testing import ManualClock
from tests.python.cache.faces import ASYNC, SYNC, Counted
from tests.python.cache.lease_calls import Calls

both = pytest.mark.parametrize("kind", [SYNC, ASYNC])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> mp.Cache:
    return mp.Cache(clock=clock)


def test_it_goes_off_once_at_its_moment_before_the_look_up_answers(
    cache: mp.Cache, clock: ManualClock
) -> None:
    cache["a"] = 1
    calls = Calls(cache.clear)
    cache._set_alarm(5, calls)
    clock.advance(4.999)
    assert cache.get("a") == 1
    assert calls.count == 0
    clock.advance(0.001)
    assert cache.get("a") is None
    assert calls.count == 1
    cache["a"] = 2
    clock.advance(100)
    assert cache.get("a") == 2
    assert calls.count == 1


@both
@pytest.mark.parametrize(
    "arguments", [((1,), {}), ((1, 2), {}), ((), {"x": 1}), (((1, "deep"),), {"y": [2]})]
)
def test_a_function_that_is_cleared_by_it_is_called_anew(
    kind: str, arguments: tuple[tuple[Any, ...], dict[str, Any]], clock: ManualClock
) -> None:
    args, kwargs = arguments
    cache = mp.Cache(clock=clock)
    function = Counted(kind, cache=cache, ttl="1h")
    function(*args, **kwargs)
    cache._set_alarm(5, function.cached.cache_clear)
    clock.advance(1)
    function(*args, **kwargs)
    assert function.calls == 1
    clock.advance(4)
    function(*args, **kwargs)
    assert function.calls == 2
    function(*args, **kwargs)
    assert function.calls == 2


@both
def test_a_function_with_key_and_one_without_ttl(kind: str, clock: ManualClock) -> None:
    cache = mp.Cache(clock=clock)
    for options in ({"key": lambda x, y=0: x}, {"ttl": None}, {"tti": "1h"}, {"typed": False}):
        function = Counted(kind, cache=cache, **options)  # type: ignore[arg-type]
        function(1)
        cache._set_alarm(5, function.cached.cache_clear)
        clock.advance(5)
        function(1)
        assert function.calls == 2


def test_methods_and_scopes(clock: ManualClock) -> None:
    cache = mp.Cache(clock=clock)
    calls: list[int] = []

    class Service:
        @mp.with_cache(cache=cache)
        def load(self, x: int) -> int:
            calls.append(x)
            return x

    service = Service()
    assert service.load(1) == 1
    cache._set_alarm(5, Service.load.cache_clear)
    clock.advance(5)
    assert service.load(1) == 1
    assert calls == [1, 1]

    cache._set_alarm(5, Service.load.cache_clear)
    clock.advance(5)
    with mp.observe() as seen:
        assert service.load(1) == 1
    assert calls == [1, 1, 1]
    assert [each.hit for each in seen] == [False]


def test_every_way_to_look_into_a_mapping(cache: mp.Cache, clock: ManualClock) -> None:
    ways: list[Any] = [
        lambda: cache.get("a"),
        lambda: "a" in cache or None,
        lambda: cache.ttl("a"),
        lambda: cache.pop("a", None),
        lambda: cache.get_many(["a"]).get("a"),
        lambda: cache.get_or_set("a", None),
        lambda: cache.get_or_load("a", lambda _: None),
        lambda: cache.touch("a") or None,
        lambda: cache.delete("a") or None,
        lambda: cache.keys() or None,
        lambda: list(cache) or None,
        lambda: cache.values() or None,
        lambda: cache.items() or None,
        lambda: len(cache) or None,
        lambda: cache.stats().currsize or None,
    ]
    for number, way in enumerate(ways):
        cache["a"] = "old"
        calls = Calls(cache.clear)
        cache._set_alarm(5, calls)
        clock.advance(5)
        assert way() is None, number
        assert calls.count == 1


def test_a_snapshot_does_not_hold_what_is_dropped(clock: ManualClock) -> None:
    cache = mp.Cache(clock=clock)
    cache[b"a"] = b"old"
    cache._set_alarm(5, cache.clear)
    clock.advance(5)
    other = mp.Cache(clock=clock)
    assert other.restore(cache.dump()) == 0


@both
def test_what_is_asked_of_a_function_lets_it_go_off(kind: str, clock: ManualClock) -> None:
    cache = mp.Cache(clock=clock)
    function = Counted(kind, cache=cache)
    for ask in (
        lambda: function.cached.cache_contains(1),
        lambda: function.cached.cache_invalidate(1),
        lambda: function.cached.cache_info().currsize,
    ):
        function(1)
        cache._set_alarm(5, function.cached.cache_clear)
        clock.advance(5)
        assert not ask()


def test_it_can_be_put_off_and_called_off(cache: mp.Cache, clock: ManualClock) -> None:
    calls = Calls()
    cache["a"] = 1
    for _ in range(10):
        cache._set_alarm(5, calls)
        clock.advance(4)
        assert cache.get("a") == 1
    cache._set_alarm(None, None)
    clock.advance(1000)
    assert cache.get("a") == 1
    assert calls.count == 0


def test_it_can_be_set_again_by_the_function_itself(cache: mp.Cache, clock: ManualClock) -> None:
    calls = Calls(lambda: cache._set_alarm(5, calls))
    cache._set_alarm(5, calls)
    for _ in range(3):
        clock.advance(5)
        cache.get("a")
        cache.get("a")
    assert calls.count == 3


def test_zero_is_at_the_next_look_up(clock: ManualClock) -> None:
    for cache in (mp.Cache(), mp.Cache(clock=clock)):
        cache["a"] = 1
        cache._set_alarm(0, cache.clear)
        assert cache.get("a") is None


def test_with_the_system_clock_it_is_never_late_and_hardly_early() -> None:
    cache = mp.Cache()
    cache["a"] = 1
    gone: list[float] = []

    def drop() -> None:
        gone.append(time.monotonic())
        cache.clear()

    start = time.monotonic()
    cache._set_alarm(0.2, drop)
    served = start
    while not gone and time.monotonic() < start + 60:
        before = time.monotonic()
        if cache.get("a") == 1:
            served = before
    assert served < start + 0.201
    assert gone[0] > start + 0.15


def test_look_ups_of_the_function_itself_do_not_call_it_again(
    cache: mp.Cache, clock: ManualClock
) -> None:
    cache["a"] = 1
    seen: list[Any] = []
    calls = Calls(lambda: seen.append((cache.get("a"), cache.get("b"), len(cache))))
    cache._set_alarm(1, calls)
    clock.advance(1)
    assert cache.get("a") == 1
    assert (calls.count, seen) == (1, [(1, None, 1)])


def test_the_last_reference_to_the_cache_may_go_in_it(clock: ManualClock) -> None:
    caches = [mp.Cache(clock=clock)]
    caches[0]["a"] = 1
    caches[0]._set_alarm(1, caches.clear)
    clock.advance(1)
    assert caches[0].get("a") == 1
    assert caches == []


def test_it_may_put_another_function_in_its_place(cache: mp.Cache, clock: ManualClock) -> None:
    later = Calls()
    cache._set_alarm(1, lambda: cache._set_alarm(1, later))
    clock.advance(1)
    cache.get("a")
    gc.collect()
    clock.advance(1)
    cache.get("a")
    assert later.count == 1


@both
def test_if_it_raises_everything_is_dropped_and_the_error_is_reported(
    kind: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_value))
    cache = mp.Cache(clock=clock)
    function = Counted(kind, cache=cache)
    other = Counted(kind, cache=cache)
    function(1)
    other(1)
    cache.set("a", 1, tags=("t",))
    error = RuntimeError("no")

    def fail() -> None:
        raise error

    cache._set_alarm(5, fail)
    clock.advance(5)
    assert cache.get("a") is None
    assert reported == [error]
    function(1)
    other(1)
    assert (function.calls, other.calls) == (2, 2)
    assert cache.stats().currsize == 2
    clock.advance(5)
    function(1)
    assert function.calls == 2
    assert reported == [error]


def test_if_it_raises_a_load_under_way_is_not_stored(
    cache: mp.Cache, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda report: None)
    calls: list[int] = []

    @mp.with_cache(cache=cache)
    def load(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            cache._set_alarm(1, lambda: 1 / 0)
            clock.advance(1)
            cache.get("something")
        return x

    assert load(1) == load(1) == 1
    assert calls == [1, 1]


def test_other_threads_do_not_get_what_it_is_about_to_drop(
    cache: mp.Cache, clock: ManualClock
) -> None:
    cache["a"] = "old"
    inside = threading.Event()
    go_on = threading.Event()
    calls: list[int] = []

    def drop() -> None:
        calls.append(1)
        if len(calls) == 1:
            cache.get("a")
            inside.set()
            assert go_on.wait(60)
        cache.clear()

    cache._set_alarm(1, drop)
    clock.advance(1)
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(cache.get("a")))
    thread.start()
    assert inside.wait(60)
    assert cache.get("a") is None
    assert len(calls) == 2
    cache["a"] = "new"
    go_on.set()
    thread.join(60)
    # The first one dropped what was stored meanwhile: too much, and never too little.
    assert first == [None]
    assert cache.get("a") is None
    cache["a"] = "newer"
    assert cache.get("a") == "newer"
    assert len(calls) == 2


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_that_it_has_not_got() -> None:
    cache = mp.Cache()
    cache["a"] = "old"
    inside = threading.Event()
    go_on = threading.Event()

    def block() -> None:
        inside.set()
        go_on.wait(60)

    cache._set_alarm(0, block)
    thread = threading.Thread(target=lambda: cache.get("a"))
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        cache._set_alarm(0, cache.clear)
        os._exit(7 if cache.get("a") is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    go_on.set()
    thread.join(60)
