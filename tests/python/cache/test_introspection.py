"""A decorated function looks like the plain one to inspect, help, pickle, copy and frameworks."""

from __future__ import annotations

import asyncio
import copy
import doctest
import functools
import gc
import inspect
import pickle
import pydoc
import threading
import types
import typing
import weakref
from typing import Any

import anyio
import httpx
import pytest
import uvloop
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import millpond as mp
from tests.python.cache.faces import settled


def plain(x: int, *, y: str = "a") -> tuple[int, str]:
    """What it does.

    >>> 1 + 1
    2
    """
    return x, y


async def plain_later(x: int, *, y: str = "a") -> tuple[int, str]:
    """What it does later."""
    return x, y


@mp.with_cache
def at_top(x: int, *, y: str = "a") -> tuple[int, str]:
    """What it does.

    >>> 1 + 1
    2
    """
    return x, y


@mp.with_cache
async def at_top_later(x: int, *, y: str = "a") -> tuple[int, str]:
    return x, y


class Holder:
    @mp.with_cache
    def method(self, x: int) -> int:
        return x

    @mp.with_cache
    @classmethod
    def of_class(cls, x: int) -> int:
        return x


@pytest.mark.parametrize("function", [plain, plain_later])
def test_inspect_sees_the_plain_function(function: Any) -> None:
    cached = mp.with_cache(function)
    assert inspect.signature(cached) == inspect.signature(function)
    assert inspect.getfullargspec(cached) == inspect.getfullargspec(function)
    assert inspect.getsource(cached) == inspect.getsource(function)
    assert inspect.getdoc(cached) == inspect.getdoc(function)
    assert inspect.unwrap(cached) is function
    assert typing.get_type_hints(cached) == typing.get_type_hints(function)
    for question in (
        inspect.isfunction,
        inspect.isroutine,
        inspect.iscoroutinefunction,
        asyncio.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.isclass,
        callable,
    ):
        assert question(cached) == question(function), question
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(cached, name) == getattr(function, name)


def test_methods_look_like_methods() -> None:
    assert list(inspect.signature(Holder().method).parameters) == ["x"]
    assert list(inspect.signature(Holder.method).parameters) == ["self", "x"]
    assert list(inspect.signature(Holder.of_class).parameters) == ["x"]
    assert inspect.ismethod(Holder().method)
    assert inspect.isfunction(Holder.method)


def test_help_reads_as_for_the_plain_function() -> None:
    def shown(function: Any) -> str:
        return pydoc.render_doc(function, renderer=pydoc.plaintext)

    assert shown(at_top).replace("at_top", "plain") == shown(plain)
    assert "|  method(self, x:" in shown(Holder)


def test_doctests_of_a_decorated_function_are_found() -> None:
    import sys

    found = doctest.DocTestFinder().find(sys.modules[__name__])
    assert any(test.name.endswith("at_top") and test.examples for test in found)


def test_it_passes_for_a_function_only_where_it_wraps_one() -> None:
    assert isinstance(at_top, types.FunctionType)
    assert isinstance(mp.with_cache(at_top), types.FunctionType)
    assert not isinstance(mp.with_cache(len), types.FunctionType)
    assert not isinstance(mp.with_cache(functools.partial(plain, 1)), types.FunctionType)
    assert type(at_top) is type(at_top_later) is not types.FunctionType


@pytest.mark.parametrize("function", [at_top, at_top_later, Holder.method])
def test_pickle_and_copy_go_by_name(function: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(function, protocol)) is function
        assert pickle._loads(pickle._dumps(function, protocol)) is function  # type: ignore[attr-defined]
    assert copy.copy(function) is copy.deepcopy(function) is function
    assert copy.deepcopy([function])[0] is function


def test_a_cache_is_not_copied_by_accident() -> None:
    cache = mp.Cache()
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            way(cache)


def test_weak_references_end_with_the_function() -> None:
    cached = mp.with_cache(lambda x: x)
    weak = weakref.ref(cached)
    assert weak() is cached
    del cached
    gc.collect()
    assert weak() is None


def test_attributes_can_be_set_and_the_class_says_what_it_is() -> None:
    cached = mp.with_cache(plain)
    cached.note = 1  # type: ignore[attr-defined]
    assert cached.note == 1  # type: ignore[attr-defined]
    assert "plain" in repr(cached)
    assert {cached: 1}[cached] == 1


async def fetch(app: Any, *paths: str) -> list[tuple[int, str]]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = [await client.get(path) for path in paths]
    return [(answer.status_code, answer.text) for answer in answers]


def test_fastapi_routes_are_served_and_run_once_a_key() -> None:
    made: list[Any] = []
    threads: set[threading.Thread] = set()
    app = FastAPI()

    def where(x: int, y: str = "a") -> tuple[int, str]:
        threads.add(threading.current_thread())  # Asked on a hit too.
        return x, y

    @app.get("/sync/{x}")
    @mp.with_cache
    def of_sync(x: int, y: str = "a") -> dict[str, Any]:
        made.append(("sync", x, y))
        return {"x": x, "y": y}

    @app.get("/async/{x}")
    @mp.with_cache(key=where)
    async def of_async(x: int, y: str = "a") -> dict[str, Any]:
        made.append(("async", x, y))
        assert asyncio.get_running_loop() is not None
        return {"x": x, "y": y}

    @mp.with_cache
    async def setting(z: int = 7) -> int:
        made.append("setting")
        return z

    @app.get("/depends")
    async def of_depends(z: int = Depends(setting)) -> int:
        return z

    assert (
        asyncio.run(fetch(app, "/sync/1", "/sync/1", "/async/1?y=b", "/async/1?y=b", "/sync/one"))[
            :4
        ]
        == [(200, '{"x":1,"y":"a"}')] * 2 + [(200, '{"x":1,"y":"b"}')] * 2
    )
    assert asyncio.run(fetch(app, "/depends", "/depends")) == [(200, "7")] * 2
    assert made == [("sync", 1, "a"), ("async", 1, "b"), "setting"]
    assert threads == {threading.current_thread()}, "hit or miss, it runs on the event loop"


def test_starlette_endpoints_are_served_and_run_once_a_key() -> None:
    made: list[str] = []
    threads: set[threading.Thread] = set()

    def path(request: Any) -> str:
        if request.url.path == "/async":
            threads.add(threading.current_thread())  # Asked on a hit too.
        return str(request.url.path)

    @mp.with_cache(key=path)
    def of_sync(request: Any) -> Response:
        made.append("sync")
        return PlainTextResponse("sync")

    @mp.with_cache(key=path)
    async def of_async(request: Any) -> Response:
        made.append("async")
        return PlainTextResponse("async")

    app = Starlette(routes=[Route("/sync", of_sync), Route("/async", of_async)])
    assert asyncio.run(fetch(app, "/sync", "/sync", "/async", "/async")) == [
        (200, "sync"),
        (200, "sync"),
        (200, "async"),
        (200, "async"),
    ]
    assert made == ["sync", "async"]
    assert threads == {threading.current_thread()}, "hit or miss, it runs on the event loop"


@pytest.mark.parametrize(
    "run", [asyncio.run, uvloop.run, anyio.run], ids=["asyncio", "uvloop", "anyio"]
)
def test_what_an_async_hit_returns_can_be_awaited_by_all_means(run: Any) -> None:
    async def main() -> list[Any]:
        await at_top_later(1)
        before = at_top_later.cache_info()
        got: list[Any] = [await at_top_later(1)]
        got += await asyncio.gather(at_top_later(1), at_top_later(1))
        got.append(await asyncio.create_task(at_top_later(1)))  # type: ignore[arg-type]
        got.append(await asyncio.wait_for(at_top_later(1), 5))
        got.append(await asyncio.shield(at_top_later(1)))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(at_top_later(1))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            got.append(await at_top_later(1))
        with anyio.fail_after(5):
            got.append(await at_top_later(1))
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(at_top_later, 1)
        after = at_top_later.cache_info()
        assert (after.hits - before.hits, after.misses - before.misses) == (10, 0)
        return [*got, task.result()]

    assert (run(main) if run is anyio.run else run(main())) == [(1, "a")] * 9
    assert settled(at_top_later(1)) == (1, "a")


def test_a_cache_owns_its_methods_which_the_interpreter_calls_faster_than_inherited_ones() -> None:
    for name in ("get", "set", "pop", "delete", "touch", "incr"):
        method = vars(mp.Cache)[name]
        assert method.__objclass__ is mp.Cache
        assert inspect.isroutine(method)

    class Doubling(mp.Cache):
        def get(self, key: Any, default: Any = None, /) -> Any:
            return 2 * super().get(key, default)

    cache = Doubling()
    cache.set("a", 4)
    assert (cache.get("a"), cache["a"], mp.Cache.get(cache, "a")) == (8, 4, 4)
