"""User code that runs in the middle of things: finalizers, comparisons, weighers, listeners."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

import millpond as mp
from millpond._engine import ManualClock
from tests.python.cache.faces import ASYNC, SYNC, Counted

both = pytest.mark.parametrize("kind", [SYNC, ASYNC])


class Meddler:
    """A value whose end calls the cache again."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


@pytest.mark.parametrize("act", ["get", "set", "delete", "clear", "replace", "many"])
def test_a_value_may_call_the_cache_as_it_dies(act: str) -> None:
    cache = mp.Cache(max_entries=4, policy="lru")
    ended: list[int] = []

    def meddle() -> None:
        ended.append(1)
        if len(ended) > 200:
            return
        if act == "get":
            cache.get("a")
        elif act == "set":
            cache.set("other", len(ended))
        elif act == "delete":
            cache.delete("b")
        elif act == "clear":
            cache.clear()
        elif act == "replace":
            cache.set("a", Meddler(meddle))
        else:
            cache.set_many({str(n): n for n in range(9)})

    for key in ("a", "b", "c", "d", "e", "f", "a"):
        cache[key] = Meddler(meddle)
    cache.delete("a")
    cache.clear()
    ended.extend([0] * 200)
    cache.clear()
    gc.collect()
    assert len(ended) > 200
    assert len(cache) <= 4
    cache["last"] = 1
    assert cache["last"] == 1


@both
def test_a_result_may_call_its_function_as_it_dies(kind: str) -> None:
    holder: list[Any] = []
    depth: list[int] = []

    def body(x: Any, y: Any) -> Any:
        def end() -> None:
            if len(depth) < 20:
                depth.append(1)
                holder[0].cached.cache_invalidate(x)
                holder[0].cached.cache_clear()
                if kind == SYNC:
                    holder[0](x)

        return Meddler(end)

    f = Counted(kind, body=body, max_entries=2, policy="fifo")
    holder.append(f)
    for n in range(8):
        f(n)
    f.cached.cache_clear()
    gc.collect()
    assert depth
    depth.extend([0] * 20)
    assert f.cached.cache_info().currsize <= 2


class Odd:
    """A key that does something when it is hashed or compared."""

    def __init__(self, name: str, on_eq: Any = None, on_hash: Any = None) -> None:
        self.name = name
        self.on_eq = on_eq
        self.on_hash = on_hash

    def __hash__(self) -> int:
        if self.on_hash is not None:
            self.on_hash()
        return 7

    def __eq__(self, other: object) -> bool:
        for one in (self, other):
            if isinstance(one, Odd) and one.on_eq is not None:
                one.on_eq()
        return isinstance(other, Odd) and other.name == self.name


def fail() -> None:
    raise ZeroDivisionError


def test_keys_that_raise_raise_and_change_nothing() -> None:
    cache = mp.Cache()
    cache[Odd("a")] = 1
    for key in (Odd("a", on_eq=fail), Odd("a", on_hash=fail)):
        for way in (
            lambda key=key: cache.get(key),
            lambda key=key: cache.set(key, 2),
            lambda key=key: key in cache,
            lambda key=key: cache.delete(key),
            lambda key=key: cache.incr(key),
            lambda key=key: cache.pop(key),
        ):
            with pytest.raises(ZeroDivisionError):
                way()
    assert cache[Odd("a")] == 1
    assert len(cache) == 1


@both
def test_arguments_that_raise_raise_and_nothing_is_called(kind: str) -> None:
    f = Counted(kind)
    f(Odd("a"))
    for key in (Odd("a", on_eq=fail), Odd("a", on_hash=fail)):
        with pytest.raises(ZeroDivisionError):
            f(key)
    f(Odd("a"))
    assert f.calls == 1


@pytest.mark.parametrize("act", ["clear", "set", "delete", "evict"])
def test_a_comparison_may_change_the_cache_under_the_look_up(act: str) -> None:
    cache = mp.Cache(max_entries=8, policy="lru")
    turns: list[int] = []

    def meddle() -> None:
        turns.append(1)
        if len(turns) > 500 or len(turns) % 2:
            return
        if act == "clear":
            cache.clear()
        elif act == "set":
            cache[Odd(f"n{len(turns)}")] = 1
        elif act == "delete":
            cache.delete(Odd("b"))
        else:
            cache.set_many({f"x{n}": n for n in range(10)})

    for name in ("a", "b", "c", "d"):
        cache[Odd(name)] = name
    for name in ("d", "a", "none", "b"):
        assert cache.get(Odd(name, on_eq=meddle)) in (None, name)
        cache.set(Odd(name, on_eq=meddle), name)
        assert len(cache) <= 8
    turns.extend([0] * 500)
    cache.clear()
    cache[Odd("a")] = 1
    assert cache[Odd("a")] == 1


@both
def test_a_tag_that_begins_the_same_call_leaves_one_entry(kind: str) -> None:
    class Tag:
        busy = False

        def __str__(self) -> str:
            if not self.busy and kind == SYNC:
                self.busy = True
                f(1, self)
            return "tag"

    f = Counted(kind, body=lambda x, y: [x], tags=("{y}",), ignore=("y",))
    f(1, Tag())
    f.cached.cache_invalidate(1)
    assert f.cached.cache_info().currsize == 0
    assert f.cached.cache_contains(1) is False


def test_a_weigher_that_clears_leaves_nothing_behind() -> None:
    holder: list[Any] = []

    def weigh(value: Any) -> int:
        if holder:
            holder[0].clear()
        return 1

    cache = mp.Cache(max_bytes=1000, weigher=weigh)
    cache["a"] = 1
    holder.append(cache)
    for n in range(100):
        assert cache.set(n, n) is False
    assert len(cache) == 0
    holder.clear()
    cache["a"] = 1
    assert dict(cache.items()) == {"a": 1}
    assert cache.stats().bytes == 1


@both
def test_what_fails_beside_a_call_is_reported_and_the_caller_has_the_value(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    for options in ({"condition": broken}, {"cost": broken}, {"weigher": broken}):
        f = Counted(kind, **options)
        assert f(1) == (1, 0)
        assert reported == [ZeroDivisionError]
        reported.clear()
    f = Counted(kind, copy=broken)
    assert f(1) == (1, 0)
    assert f.cached.cache_info().currsize == 0
    reported.clear()

    cache = mp.Cache(max_entries=1, on_removal=broken)
    f = Counted(kind, cache=cache)
    assert [f(1), f(2), f(3)] == [(1, 0), (2, 0), (3, 0)]
    assert reported == [ZeroDivisionError] * 2


def test_a_weigher_of_a_cache_that_fails_is_an_error_of_the_call() -> None:
    cache = mp.Cache(max_bytes=10, weigher=len)
    cache["a"] = "abc"
    with pytest.raises(TypeError):
        cache["a"] = 5
    for weight in ("many", -1, 2**70, 1.5):
        odd = mp.Cache(max_bytes=10, weigher=lambda value, weight=weight: weight)
        with pytest.raises(mp.MillpondError, match="weigher"):
            odd["a"] = 1
    assert cache["a"] == "abc"


@pytest.mark.parametrize("act", ["get", "set", "clear", "delete", "again"])
def test_a_listener_may_call_the_cache(act: str) -> None:
    heard: list[str] = []

    def listen(key: Any, value: Any, cause: str) -> None:
        heard.append(cause)
        if len(heard) > 50:
            return
        if act == "get":
            cache.get(key)
        elif act == "set":
            cache.set(f"{key}+", value)
        elif act == "clear":
            cache.clear()
        elif act == "delete":
            cache.delete("c")
        else:
            cache[key] = value

    cache = mp.Cache(max_entries=2, on_removal=listen)
    for key in "abcdef":
        cache[key] = key
        assert len(cache) <= 2
    assert heard
    heard.extend([""] * 50)
    cache.clear()
    assert len(cache) == 0


def test_listeners_do_not_hear_of_failures_that_were_kept() -> None:
    heard: list[Any] = []
    clock = ManualClock()
    cache = mp.Cache(clock=clock, on_removal=lambda *left: heard.append(left))

    def broken(x: Any, y: Any) -> Any:
        raise KeyError(x)

    f = Counted(SYNC, body=broken, cache=cache, negative_ttl=1)
    with pytest.raises(KeyError):
        f(1)
    clock.advance(2)
    len(cache)
    cache.clear()
    assert heard == []


def test_a_listener_that_raises_is_reported_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_value))
    clock = ManualClock()

    def broken(key: Any, value: Any, cause: str) -> None:
        raise LookupError(key, value, cause)

    cache = mp.Cache(max_entries=2, policy="fifo", clock=clock, on_removal=broken)
    cache["a"] = 1
    cache["a"] = 2
    cache.set("b", 3, ttl=1)
    clock.advance(2)
    assert cache.get("b") is None
    cache["c"] = 4
    cache["d"] = 5
    assert cache.pop("c") == 4
    cache.set("e", 6, tags="e")
    assert cache.invalidate(tags="e") == 1
    cache.clear()
    cache["f"] = 7  # What was cleared is given up bit by bit.
    assert dict(cache.items()) == {"f": 7}
    heard = [failure.args for failure in reported]
    assert heard[:5] == [
        ("a", 1, "replaced"),
        ("b", 3, "expired"),
        ("a", 2, "size"),
        ("c", 4, "explicit"),
        ("e", 6, "explicit"),
    ]
    assert ("d", 5, "explicit") in heard
