"""`Cache.get_or_load_many`: one call of a loader for many keys, each shared like any other load."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

import millpond as mp
from millpond._engine import ManualClock
from tests.python.cache.faces import ASYNC, SYNC, settled
from tests.python.flights.flight_store import until

KINDS = pytest.mark.parametrize("kind", [SYNC, ASYNC])


class Many:
    """A loader of many keys, plain or async, and what it was asked for."""

    def __init__(self, kind: str, body: Callable[[list[Any]], Any]) -> None:
        self.asked: list[list[Any]] = []
        self.kind = kind
        self.body = body

    def __call__(self, cache: mp.Cache, keys: Any, **options: Any) -> Any:
        loader = self.plain if self.kind == SYNC else self.coroutine
        return settled(cache.get_or_load_many(keys, loader, **options))

    def plain(self, keys: list[Any]) -> Any:
        self.asked.append(list(keys))
        return self.body(keys)

    async def coroutine(self, keys: list[Any]) -> Any:
        self.asked.append(list(keys))
        await asyncio.sleep(0)
        return self.body(keys)


def doubled(keys: list[Any]) -> dict[Any, Any]:
    return {key: key * 2 for key in keys}


def fresh() -> mp.Cache:
    return mp.Cache(max_entries=100)


def in_thread(results: dict[str, Any], name: str, call: Callable[[], Any]) -> threading.Thread:
    """Runs `call()` in a thread that notes what it returned or raised."""

    def run() -> None:
        try:
            results[name] = call()
        except BaseException as error:
            results[name] = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class Gate:
    """A loader that says when it has begun and goes on when it may."""

    def __init__(self, body: Callable[[list[Any]], Any] = doubled) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.asked: list[list[Any]] = []
        self.body = body

    def __call__(self, keys: list[Any]) -> Any:
        self.asked.append(list(keys))
        self.begun.set()
        assert self.go_on.wait(60)
        return self.body(keys)


@KINDS
def test_the_missing_are_loaded_in_one_call_and_stored(kind: str) -> None:
    cache = fresh()
    cache[2] = "two"
    load = Many(kind, lambda keys: {key: key * 2 for key in keys if key != 4})
    assert load(cache, [1, 2, 3, 4, 3]) == {1: 2, 2: "two", 3: 6}
    assert load.asked == [[1, 3, 4]]
    assert dict(cache.items()) == {1: 2, 2: "two", 3: 6}
    assert load(cache, [1, 3, 4]) == {1: 2, 3: 6}
    assert load.asked == [[1, 3, 4], [4]]
    info = cache.stats()
    assert (info.loads, info.hits, info.not_stored) == (4, 3, 0)


@KINDS
def test_nothing_is_asked_for_when_all_is_there(kind: str) -> None:
    cache = fresh()
    cache["a"] = 1
    load = Many(kind, doubled)
    assert (load(cache, ["a"]), load(cache, [])) == ({"a": 1}, {})
    assert load.asked == []


@KINDS
def test_what_is_loaded_has_its_own_life_and_tags(kind: str) -> None:
    clock = ManualClock()
    cache = mp.Cache(max_entries=100, ttl=60, clock=clock)
    load = Many(kind, doubled)
    load(cache, [1, 2], ttl=1, tags=("pair",))
    assert (cache.ttl(1), cache.ttl(2)) == (1, 1)
    assert cache.invalidate(tags="pair") == 2


@KINDS
def test_one_too_many_is_not_stored(kind: str) -> None:
    cache = fresh()
    assert Many(kind, lambda keys: {1: 1, 9: 9})(cache, [1]) == {1: 1}
    assert list(cache) == [1]


@KINDS
@pytest.mark.parametrize(
    ("undo", "left"),
    [
        (lambda cache: cache.delete(1), {2: 4}),
        (lambda cache: cache.invalidate(tags="pair"), {}),
        (lambda cache: cache.invalidate(predicate=lambda key: key == 2), {1: 2}),
        (lambda cache: cache.clear(), {}),
        (lambda cache: cache.set(1, "newer"), {1: "newer", 2: 4}),
    ],
    ids=["delete", "tags", "predicate", "clear", "set"],
)
def test_what_happens_in_mid_load_wins_over_it(
    kind: str, undo: Callable[[mp.Cache], Any], left: dict[int, Any]
) -> None:
    cache = fresh()

    def body(keys: list[int]) -> dict[int, int]:
        undo(cache)
        return doubled(keys)

    assert Many(kind, body)(cache, [1, 2], tags="pair") == {1: 2, 2: 4}
    assert dict(cache.items()) == left


@KINDS
def test_a_loader_that_raises_leaves_nothing_behind(kind: str) -> None:
    cache = fresh()
    with pytest.raises(ZeroDivisionError):
        Many(kind, lambda keys: dict.fromkeys(keys, 1 // 0))(cache, [1, 2])
    assert Many(kind, doubled)(cache, [1, 2]) == {1: 2, 2: 4}


@KINDS
@pytest.mark.parametrize("result", [None, 7, [(1, 2)]])
def test_a_loader_must_return_a_mapping(kind: str, result: object) -> None:
    cache = fresh()
    with pytest.raises(mp.errors.OptionTypeError, match=f"returned a {type(result).__name__};"):
        Many(kind, lambda _keys: result)(cache, [1, 2])
    assert Many(kind, lambda keys: MappingProxyType(doubled(keys)))(cache, [1]) == {1: 2}


@KINDS
def test_a_value_that_is_refused_fails_its_own_key_alone(kind: str) -> None:
    cache = fresh()
    with pytest.raises(mp.errors.ValueRefusedError):
        Many(kind, lambda _keys: {1: iter("ab"), 2: "two"})(cache, [1, 2])
    assert dict(cache.items()) == {2: "two"}


@KINDS
def test_a_key_that_cannot_be_one_is_an_error_and_others_stay_loadable(kind: str) -> None:
    class Odd:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    cache = fresh()
    cache[Odd()] = 1
    with pytest.raises(ZeroDivisionError):
        Many(kind, doubled)(cache, [1, Odd(), 2])
    assert Many(kind, doubled)(cache, [1, 2]) == {1: 2, 2: 4}


@KINDS
def test_a_loader_that_asks_for_its_own_keys_does_not_wait_for_itself(kind: str) -> None:
    cache = fresh()
    inner: list[Any] = []
    if kind == SYNC:

        def load(keys: list[int]) -> dict[int, Any]:
            inner.append(cache.get_or_load(1, lambda key: key * 10))
            inner.append(cache.get_or_load_many([2, 1], lambda keys: dict.fromkeys(keys, 0)))
            return doubled(keys)

        assert cache.get_or_load_many([1, 2], load) == {1: 2, 2: 4}
    else:

        async def ten(key: int) -> int:
            return key * 10

        async def none(keys: list[int]) -> dict[int, int]:
            return dict.fromkeys(keys, 0)

        async def load_async(keys: list[int]) -> dict[int, Any]:
            inner.append(await cache.get_or_load(1, ten))
            inner.append(await cache.get_or_load_many([2, 1], none))
            return doubled(keys)

        assert settled(cache.get_or_load_many([1, 2], load_async)) == {1: 2, 2: 4}
    assert inner == [10, {1: 0, 2: 0}]
    assert dict(cache.items()) == {1: 2, 2: 4}


@KINDS
def test_under_disabled_one_call_is_made_and_nothing_stored(kind: str) -> None:
    cache = fresh()
    load = Many(kind, doubled)
    with mp.disabled():
        assert load(cache, [1, 2]) == {1: 2, 2: 4}
    assert (load.asked, len(cache)) == ([[1, 2]], 0)


@KINDS
def test_no_cache_loads_all_anew_in_one_call(kind: str) -> None:
    cache = fresh()
    cache[1] = "old"
    load = Many(kind, doubled)
    with mp.cache_control(no_cache=True):
        assert load(cache, [1, 2]) == {1: 2, 2: 4}
    assert load.asked == [[1, 2]]
    assert dict(cache.items()) == {1: 2, 2: 4}


@KINDS
def test_scopes_hold_inside_the_loader(kind: str) -> None:
    cache = fresh()
    plain = mp.with_cache(lambda key: key)
    load = Many(kind, lambda keys: {key: plain(key) for key in keys})
    with mp.observe() as calls:
        load(cache, [1])
    assert plain in [call.function for call in calls]


# ---- Threads


def test_a_key_that_another_thread_loads_is_waited_for() -> None:
    cache = fresh()
    first = Gate()
    second: list[list[int]] = []
    results: dict[str, Any] = {}

    def load(keys: list[int]) -> dict[int, int]:
        second.append(keys)
        return {key: -key for key in keys}

    threads = [in_thread(results, "a", lambda: cache.get_or_load_many([1, 2], first))]
    assert first.begun.wait(60)
    threads.append(in_thread(results, "b", lambda: cache.get_or_load_many([2, 3], load)))
    threads.append(in_thread(results, "c", lambda: cache.get_or_load(1, lambda key: -key)))
    until(lambda: cache.stats().coalesced == 2 and 3 in cache)
    assert "b" not in results
    first.go_on.set()
    for thread in threads:
        thread.join(60)
    assert results == {"a": {1: 2, 2: 4}, "b": {2: 4, 3: -3}, "c": 2}
    assert (first.asked, second) == ([[1, 2]], [[3]])


def test_two_callers_that_want_each_others_keys_both_end() -> None:
    cache = fresh()
    first, second = Gate(), Gate()
    results: dict[str, Any] = {}
    a = in_thread(results, "a", lambda: cache.get_or_load_many([1, 2], first))
    assert first.begun.wait(60)
    b = in_thread(results, "b", lambda: cache.get_or_load_many([3, 2], second))
    assert second.begun.wait(60)
    c = in_thread(results, "c", lambda: cache.get_or_load_many([3, 1], second))
    until(lambda: cache.stats().coalesced == 3)
    second.go_on.set()
    first.go_on.set()
    for thread in (a, b, c):
        thread.join(60)
    assert results == {"a": {1: 2, 2: 4}, "b": {3: 6, 2: 4}, "c": {3: 6, 1: 2}}
    assert (first.asked, second.asked) == ([[1, 2]], [[3]])


def test_loaders_that_wait_for_each_other_both_end() -> None:
    # Each loader asks for a key of the other's: the second to do so runs the load by itself.
    cache = fresh()
    both = threading.Barrier(2, timeout=60)
    results: dict[str, Any] = {}

    def load(keys: list[int]) -> dict[int, int]:
        both.wait()
        other = 3 if keys == [1, 2] else 1
        return {key: cache.get_or_load(other, lambda key: -key) for key in keys}

    threads = [
        in_thread(results, "a", lambda: cache.get_or_load_many([1, 2], load)),
        in_thread(results, "b", lambda: cache.get_or_load_many([3, 4], load)),
    ]
    for thread in threads:
        thread.join(60)
    assert results in (
        {"a": {1: -3, 2: -3}, "b": {3: -3, 4: -3}},
        {"a": {1: -1, 2: -1}, "b": {3: -1, 4: -1}},
    )


def test_the_loaders_exception_reaches_those_who_wait() -> None:
    cache = fresh()
    gate = Gate(lambda keys: dict.fromkeys(keys, 1 // 0))
    results: dict[str, Any] = {}
    a = in_thread(results, "a", lambda: cache.get_or_load_many([1, 2], gate))
    assert gate.begun.wait(60)
    b = in_thread(results, "b", lambda: cache.get_or_load_many([2], doubled))
    c = in_thread(results, "c", lambda: cache.get_or_load(1, lambda key: key))
    until(lambda: cache.stats().coalesced == 2)
    gate.go_on.set()
    for thread in (a, b, c):
        thread.join(60)
    assert results["a"] is results["b"] is results["c"]
    assert isinstance(results["a"], ZeroDivisionError)
    assert len(cache) == 0


def test_an_interrupted_load_is_made_again_by_those_who_wait() -> None:
    def interrupted(_keys: list[int]) -> dict[int, int]:
        raise KeyboardInterrupt

    cache = fresh()
    gate = Gate(interrupted)
    results: dict[str, Any] = {}
    a = in_thread(results, "a", lambda: cache.get_or_load_many([1, 2], gate))
    assert gate.begun.wait(60)
    b = in_thread(results, "b", lambda: cache.get_or_load_many([2, 3], doubled))
    c = in_thread(results, "c", lambda: cache.get_or_load(1, lambda key: -key))
    until(lambda: cache.stats().coalesced == 2 and 3 in cache)
    gate.go_on.set()
    for thread in (a, b, c):
        thread.join(60)
    assert isinstance(results.pop("a"), KeyboardInterrupt)
    assert results == {"b": {2: 4, 3: 6}, "c": -1}
    assert dict(cache.items()) == {3: 6, 2: 4, 1: -1}


def test_a_load_given_up_before_anybody_waited_is_made_again_and_stored() -> None:
    def interrupted(_keys: list[int]) -> dict[int, int]:
        raise KeyboardInterrupt

    cache = fresh()
    first, second = Gate(interrupted), Gate()
    results: dict[str, Any] = {}
    a = in_thread(results, "a", lambda: cache.get_or_load_many([1], first))
    assert first.begun.wait(60)
    b = in_thread(results, "b", lambda: cache.get_or_load_many([1, 2], second))
    assert second.begun.wait(60)
    first.go_on.set()
    a.join(60)
    second.go_on.set()
    b.join(60)
    assert isinstance(results["a"], KeyboardInterrupt)
    assert results["b"] == {1: 2, 2: 4}
    assert second.asked == [[2], [1]]
    assert dict(cache.items()) == {1: 2, 2: 4}


def test_whoever_waits_for_a_key_that_was_left_out_loads_it() -> None:
    cache = fresh()
    gate = Gate(lambda _keys: {})
    own: list[str] = []
    results: dict[str, Any] = {}

    def load(key: int) -> str:
        own.append("loaded")
        return "own"

    async def load_async(key: int) -> str:
        return load(key)

    threads = [in_thread(results, "a", lambda: cache.get_or_load_many([1], gate))]
    assert gate.begun.wait(60)
    threads.append(in_thread(results, "many", lambda: cache.get_or_load_many([1], doubled)))
    threads.append(in_thread(results, "one", lambda: cache.get_or_load(1, load)))
    threads.append(in_thread(results, "task", lambda: settled(cache.get_or_load(1, load_async))))
    until(lambda: cache.stats().coalesced == 3)
    gate.go_on.set()
    for thread in threads:
        thread.join(60)
    assert results == {"a": {}, "many": {}, "one": "own", "task": "own"}
    assert own == ["loaded"]
    assert cache[1] == "own"


# ---- Tasks


def test_tasks_share_the_keys_that_they_have_in_common() -> None:
    cache = fresh()
    asked: list[list[int]] = []

    async def load(keys: list[int]) -> dict[int, int]:
        asked.append(keys)
        if len(asked) == 2:
            begun.set()
        await go_on.wait()
        return {key: key * 2 for key in keys if key != 7}

    async def one(key: int) -> int:
        return -key

    async def main() -> list[Any]:
        many = asyncio.gather(
            cache.get_or_load_many(range(6), load), cache.get_or_load_many(range(4, 9), load)
        )
        await begun.wait()
        ones = asyncio.gather(cache.get_or_load(5, one), cache.get_or_load(7, one))
        await asyncio.sleep(0)
        go_on.set()
        return [*await many, *await ones]

    begun, go_on = asyncio.Event(), asyncio.Event()
    assert asyncio.run(main()) == [
        {key: key * 2 for key in range(6)},
        {4: 8, 5: 10, 6: 12, 8: 16},
        10,
        -7,
    ]
    assert asked == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]


def test_a_batch_goes_on_for_whoever_waits_and_is_cancelled_when_nobody_does() -> None:
    cache = fresh()
    ended: list[str] = []

    async def load(keys: list[int]) -> dict[int, int]:
        try:
            await release.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        ended.append("landed")
        return doubled(keys)

    async def one(key: int) -> int:
        return -key

    async def main() -> int:
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(cache.get_or_load(2, one))
        await asyncio.sleep(0)
        many.cancel()
        await asyncio.gather(many, return_exceptions=True)
        release.set()
        value: int = await waiting
        release.clear()
        alone = asyncio.ensure_future(cache.get_or_load_many([3, 4], load))
        await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.gather(alone, return_exceptions=True)
        await asyncio.sleep(0.01)
        return value

    release = asyncio.Event()
    assert asyncio.run(main()) == 4
    assert ended == ["landed", "cancelled"]
    assert dict(cache.items()) == {1: 2, 2: 4}


def test_a_thread_waits_for_the_batch_of_a_task() -> None:
    cache = fresh()
    gate = Gate()
    results: dict[str, Any] = {}

    async def load(keys: list[int]) -> Any:
        return await asyncio.to_thread(gate, keys)

    a = in_thread(results, "a", lambda: settled(cache.get_or_load_many([1, 2], load)))
    assert gate.begun.wait(60)
    b = in_thread(results, "b", lambda: cache.get_or_load_many([2, 3], doubled))
    until(lambda: 3 in cache)
    gate.go_on.set()
    a.join(60)
    b.join(60)
    assert results == {"a": {1: 2, 2: 4}, "b": {2: 4, 3: 6}}
    assert gate.asked == [[1, 2]]


# ---- The same of a decorated function


@KINDS
def test_cache_many_shares_loads_and_lets_an_invalidation_win(kind: str) -> None:
    made: list[int] = []

    def body(x: int) -> int:
        made.append(x)
        if x == 2:
            cached.cache_invalidate(2)
        return x * 2

    if kind == SYNC:
        cached = mp.with_cache(body, ttl=None)
    else:

        async def body_async(x: int) -> int:
            await asyncio.sleep(0)
            return body(x)

        cached = mp.with_cache(body_async, ttl=None)

    assert settled(cached.cache_many([1, 2, 1])) == [2, 4, 2]
    assert made == [1, 2]
    assert (cached.cache_contains(1), cached.cache_contains(2)) == (True, False)


def test_two_threads_with_overlapping_cache_many_make_each_call_once() -> None:
    made: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    @mp.with_cache(ttl=None)
    def slow(x: int) -> int:
        made.append(x)
        if x == 1:
            begun.set()
            assert go_on.wait(60)
        return x * 2

    results: dict[str, Any] = {}
    a = in_thread(results, "a", lambda: slow.cache_many([1, 2]))
    assert begun.wait(60)
    b = in_thread(results, "b", lambda: slow.cache_many([2, 1]))
    until(lambda: slow.cache_info().coalesced == 1)
    go_on.set()
    a.join(60)
    b.join(60)
    assert results == {"a": [2, 4], "b": [4, 2]}
    assert sorted(made) == [1, 2]


@pytest.fixture(autouse=True)
def no_flight_is_left() -> Iterator[None]:
    """Each test ends with nobody loading and nobody waiting."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before
