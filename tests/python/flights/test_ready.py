"""The finished awaitable that an async hit returns: a coroutine in all but the work."""

import asyncio
import collections.abc
import gc
import inspect
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest
import uvloop

from millpond._engine import _testing

ready: Callable[[object], Coroutine[Any, Any, Any]] = _testing.flights.ready

VALUES = [1, None, "text", (1, 2), StopIteration(3), ValueError("a value"), [], {"a": 1}]


class Marker:
    """Something that can be weakly referenced."""


async def pass_on(awaitable: Awaitable[object]) -> object:
    return await awaitable


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_await_gives_the_value_back(value: object) -> None:
    assert asyncio.run(pass_on(ready(value))) is value


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_is_driven_by_send_like_a_coroutine_that_never_suspends(value: object) -> None:
    with pytest.raises(StopIteration) as stopped:
        ready(value).send(None)
    assert stopped.value.value is value
    with pytest.raises(StopIteration) as stopped:
        next(ready(value).__await__())  # type: ignore[call-overload]
    assert stopped.value.value is value


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_every_way_to_run_a_coroutine_takes_it(run: Callable[..., Any]) -> None:
    async def main() -> list[object]:
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(ready("grouped"))
        found = [
            await asyncio.create_task(ready("task")),
            *await asyncio.gather(ready("a"), ready("b")),
            await asyncio.wait_for(ready("in time"), 10),
            await asyncio.shield(ready("shielded")),
            grouped.result(),
        ]
        done, _ = await asyncio.wait([asyncio.ensure_future(ready("waited"))])
        return [*found, *(task.result() for task in done)]

    assert run(main()) == ["task", "a", "b", "in time", "shielded", "grouped", "waited"]


@pytest.mark.parametrize("backend", [{}, {"use_uvloop": True}], ids=["asyncio", "uvloop"])
def test_anyio_starts_it(backend: dict[str, Any]) -> None:
    async def main() -> object:
        async with anyio.create_task_group() as group:
            group.start_soon(ready, 1)
        with anyio.fail_after(10):
            return await ready("anyio")

    assert anyio.run(main, backend="asyncio", backend_options=backend) == "anyio"


def test_the_python_task_takes_it() -> None:
    async def main() -> object:
        loop = asyncio.get_running_loop()
        return await asyncio.tasks._PyTask(ready(7), loop=loop)  # type: ignore[attr-defined]

    assert asyncio.run(main()) == 7


def test_a_second_await_is_refused() -> None:
    async def main() -> None:
        call = ready(1)
        assert await call == 1
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        with pytest.raises(RuntimeError, match="already awaited"):
            call.send(None)
        with pytest.raises(RuntimeError, match="already awaited"):
            call.throw(ValueError())

    asyncio.run(main())


def test_a_value_cannot_be_sent_into_it() -> None:
    call = ready(1)
    with pytest.raises(TypeError, match="non-None value to a just-started"):
        call.send("x")
    with pytest.raises(StopIteration):
        call.send(None)


class NeedsArgumentError(Exception):
    """An exception that cannot be made without an argument."""

    def __init__(self, needed: object) -> None:
        super().__init__(needed)


@pytest.mark.parametrize(
    ("thrown", "expected"),
    [
        ((ValueError("given"),), ValueError),
        ((ValueError,), ValueError),
        ((ValueError, "text"), ValueError),
        ((ValueError, ValueError("made")), ValueError),
        ((KeyError, ("a",)), KeyError),
        ((NeedsArgumentError,), TypeError),
        ((ValueError("given"), "value"), TypeError),
        ((1,), TypeError),
        ((ValueError, None, 1), TypeError),
        ((), TypeError),
    ],
    ids=repr,
)
def test_throw_raises_what_it_is_given(thrown: tuple[Any, ...], expected: type[Exception]) -> None:
    call = ready(1)
    with pytest.raises(expected) as raised:
        call.throw(*thrown)
    assert type(raised.value) is expected
    with pytest.raises(RuntimeError, match="already awaited"):
        call.send(None)


def test_throw_takes_a_traceback() -> None:
    try:
        raise ValueError("first")
    except ValueError as error:
        traceback = error.__traceback__
    with pytest.raises(ValueError) as raised:
        ready(1).throw(ValueError, None, traceback)
    last = raised.value.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    assert traceback is not None
    assert last is not None
    assert last.tb_lineno == traceback.tb_lineno


def test_close_ends_it() -> None:
    call = ready(1)
    assert call.close() is None
    call.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        call.send(None)


def test_dropping_it_unawaited_warns_nobody() -> None:
    ready(1)
    gc.collect()  # any warning is an error here


def test_it_counts_as_a_coroutine_where_libraries_ask() -> None:
    call = ready(1)
    assert isinstance(call, collections.abc.Coroutine)
    assert asyncio.iscoroutine(call)
    assert inspect.isawaitable(call)
    assert not asyncio.isfuture(call)
    assert inspect.getcoroutinestate(call) in {"CORO_CREATED", "CORO_CLOSED"}


def test_debug_mode_and_reprs_can_show_it() -> None:
    async def main() -> str:
        task = asyncio.create_task(ready(1))
        text = repr(task)
        task.print_stack()
        await task
        return text

    assert "cached" in asyncio.run(main(), debug=True)


def test_the_value_dies_with_the_last_who_holds_it() -> None:
    async def main() -> None:
        marker = Marker()
        alive = weakref.ref(marker)
        assert await ready(marker) is marker
        del marker
        assert alive() is None

    asyncio.run(main())


def test_a_stop_iteration_that_is_kept_keeps_its_own_value() -> None:
    kept = []
    for number in range(3):
        try:
            next(ready(number))  # type: ignore[call-overload]
        except StopIteration as stop:
            kept.append(stop)
    assert [stop.value for stop in kept] == [0, 1, 2]
    assert asyncio.run(pass_on(ready(4))) == 4
    assert [stop.value for stop in kept] == [0, 1, 2]


def test_a_cycle_through_it_is_collected() -> None:
    marker = Marker()
    marker.call = ready(marker)  # type: ignore[attr-defined]
    alive = weakref.ref(marker)
    del marker
    gc.collect()
    assert alive() is None


def test_a_hundred_thousand_leave_memory_flat() -> None:
    async def main() -> int:
        for _ in range(1_000):
            await ready(object())
        before = sys.getallocatedblocks()
        for _ in range(100_000):
            await ready(object())
        return sys.getallocatedblocks() - before

    assert asyncio.run(main()) < 50
