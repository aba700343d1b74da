"""What is held is let go: cycles, entries of dead functions, exact references."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import millpond as mp
from tests.python.cache.faces import ASYNC, Counted


class Node:
    pass


def test_cycles_through_values_functions_and_caches_are_collected() -> None:
    weak: list[Any] = []

    def value_holds_cache() -> None:
        cache, node = mp.Cache(), Node()
        node.cache = cache  # type: ignore[attr-defined]
        cache["a"] = node
        weak.extend([weakref.ref(cache), weakref.ref(node)])

    def value_holds_function() -> None:
        node = Node()

        @mp.with_cache(cache=mp.Cache())
        def of(x: Any) -> Any:
            return node

        of(1)
        node.function = of  # type: ignore[attr-defined]
        weak.extend([weakref.ref(of), weakref.ref(node)])

    def value_of_default_cache_is_free_of_its_function() -> None:
        node = Node()

        @mp.with_cache
        def of(x: Any) -> Any:
            return node

        of(1)
        weak.extend([weakref.ref(of), weakref.ref(node)])

    def key_holds_cache() -> None:
        cache, node = mp.Cache(), Node()
        node.cache = cache  # type: ignore[attr-defined]
        cache[node] = 1
        weak.extend([weakref.ref(cache), weakref.ref(node)])

    def instance_holds_itself() -> None:
        class Service:
            @mp.with_cache
            def called(self) -> Any:
                return 1

        service = Service()
        service.me = service  # type: ignore[attr-defined]
        service.called()
        weak.extend([weakref.ref(service), weakref.ref(Service), weakref.ref(Service.called)])

    def listener_holds_cache() -> None:
        caches: list[Any] = []
        caches.append(mp.Cache(on_removal=lambda *_: caches))
        caches[0]["a"] = 1
        weak.append(weakref.ref(caches[0]))

    def options_hold_function() -> None:
        held: list[Any] = []
        held.append(mp.with_cache(condition=lambda _: bool(held), max_entries=3)(lambda x: x))
        held[0](1)
        weak.append(weakref.ref(held[0]))

    for make in (
        value_holds_cache,
        value_holds_function,
        value_of_default_cache_is_free_of_its_function,
        key_holds_cache,
        instance_holds_itself,
        listener_holds_cache,
        options_hold_function,
    ):
        weak.clear()
        make()
        gc.collect()
        assert [one() for one in weak] == [None] * len(weak), make.__name__


def test_the_entries_of_a_dead_function_leave_a_shared_cache() -> None:
    cache = mp.Cache()
    node = Node()
    weak = weakref.ref(node)
    f = mp.with_cache(cache=cache)(lambda x: x)
    f(node)
    f(1)
    other = mp.with_cache(cache=cache)(lambda x: x)
    other(1)
    assert cache.stats().currsize == 3
    del f, node
    gc.collect()
    assert cache.stats().currsize == 1
    for n in range(20):
        cache[n] = n
    gc.collect()
    assert weak() is None


def test_references_are_exact() -> None:
    class Key:
        pass

    cache, key, value = mp.Cache(max_entries=2, policy="fifo"), Key(), Node()
    f = mp.with_cache(max_entries=2, policy="fifo")(lambda x: value)
    later = Counted(ASYNC, body=lambda x, y: value)
    before = sys.getrefcount(value), sys.getrefcount(key)
    for _ in range(10):
        cache[key] = value
        cache.get(key)
        cache.set("a", value)
        cache.add("a", value)
        cache.get_or_set(key, value)
        f(key), f(key), f("a"), f("b"), f.cache_set(value, "c"), f.cache_refresh(key)
        later("a"), later("a")
        f.cache_invalidate(key)
        list(cache.items())
        cache.pop(key)
        cache.clear()
        f.cache_clear()
        later.cached.cache_clear()
        later.made.clear()
    for n in range(50):  # What was cleared is released bit by bit.
        cache[n] = f(n * 1000) and n
        later.cached.cache_set(n, n)
    f.cache_clear()
    cache.clear()
    del f
    gc.collect()
    assert (sys.getrefcount(value), sys.getrefcount(key)) == (before[0], before[1])
