"""Flights and calls leave nothing behind, whatever ended them."""

import asyncio
import contextlib
import gc
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.python.flights.flight_store import FlightStore


class Marker:
    """Something that can be weakly referenced."""


async def turn(key: object) -> object:
    await asyncio.sleep(0)
    return object()


async def at_once(key: object) -> object:
    return object()


async def fail(key: object) -> object:
    await asyncio.sleep(0)
    raise ValueError(key)


async def cancel_oneself(key: object) -> object:
    await asyncio.sleep(0)
    raise asyncio.CancelledError


def flat(blocks: list[int], operations: int) -> bool:
    """Whether memory did not grow with the number of operations."""
    return blocks[-1] - blocks[0] < operations // 100


@pytest.mark.parametrize("load", [turn, at_once, fail, cancel_oneself])
def test_a_hundred_thousand_async_calls_leave_memory_flat(
    load: Callable[[object], Awaitable[object]],
) -> None:
    store = FlightStore(load, keep=False)

    async def caller(key: int) -> None:
        with contextlib.suppress(ValueError, asyncio.CancelledError):
            await store(key)

    async def burst() -> None:
        for number in range(1_000):
            await asyncio.gather(*(caller(number) for _ in range(10)))

    async def main() -> list[int]:
        blocks = []
        for _ in range(10):
            await burst()
            gc.collect()
            blocks.append(sys.getallocatedblocks())
        return blocks[1:]

    blocks = asyncio.run(main())
    assert flat(blocks, 80_000)


def test_a_hundred_thousand_cancelled_calls_leave_memory_flat() -> None:
    async def load(key: object) -> None:
        await asyncio.get_running_loop().create_future()

    store = FlightStore(load, keep=False)

    async def burst() -> None:
        for number in range(1_000):
            tasks = [asyncio.create_task(store(number)) for _ in range(10)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def main() -> list[int]:
        blocks = []
        for _ in range(10):
            await burst()
            gc.collect()
            blocks.append(sys.getallocatedblocks())
        return blocks[1:]

    assert flat(asyncio.run(main()), 80_000)
    assert store.flights == {}


def test_a_hundred_thousand_synchronous_loads_leave_memory_flat() -> None:
    def load(key: int) -> object:
        if key % 3 == 0:
            raise ValueError(key)
        return object()

    store = FlightStore(load, keep=False)
    blocks = []
    for _ in range(6):
        for number in range(20_000):
            with contextlib.suppress(ValueError):
                store.get(number)
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    assert flat(blocks[1:], 80_000)


def test_arguments_value_and_call_die_when_the_call_is_over() -> None:
    async def load(key: object) -> Marker:
        await asyncio.sleep(0)
        return Marker()

    async def main() -> None:
        store = FlightStore(load, keep=False)
        argument = Marker()
        call = store("k", argument)
        value = await call
        alive = weakref.ref(value), weakref.ref(argument), weakref.ref(call)
        del value, argument, call
        assert [reference() for reference in alive[:2]] == [None] * 2
        await asyncio.sleep(0)  # the loop's handle of this very turn has the call
        assert alive[2]() is None

    asyncio.run(main())


def test_a_call_and_its_flight_in_a_cycle_of_garbage_are_collected() -> None:
    async def load(key: object) -> None:
        await asyncio.get_running_loop().create_future()

    async def main(store: FlightStore, loop: Any) -> None:
        tasks = [asyncio.create_task(store("k")) for _ in range(3)]
        while store.waiters("k") < 3:  # noqa: ASYNC110 (turn by turn)
            await asyncio.sleep(0)
        store.tasks = tasks  # type: ignore[attr-defined]

    store = FlightStore(load)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(main(store, loop))
    loop.close()
    alive = [weakref.ref(store), *(weakref.ref(task) for task in store.tasks)]  # type: ignore[attr-defined]
    del store, loop
    gc.collect()
    gc.collect()
    assert [reference() for reference in alive] == [None] * 4


def test_a_call_nobody_awaits_warns_as_a_coroutine_does() -> None:
    store = FlightStore(at_once, name="load_user")
    with pytest.warns(RuntimeWarning, match="coroutine 'load_user' was never awaited"):
        store("k")
    assert store.events == {}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        store("k").close()
        with pytest.raises(KeyError):
            store("k").throw(KeyError())
    assert seen == []


def test_the_warning_as_an_error_cannot_escape(capsys: pytest.CaptureFixture[str]) -> None:
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: seen.append(args.exc_type)
    seen: list[Any] = []
    try:
        FlightStore(at_once)("k")
    finally:
        sys.unraisablehook = hook
    assert seen == [RuntimeWarning]


def test_a_call_awaited_twice_is_refused() -> None:
    async def main() -> None:
        call = FlightStore(turn)("k")
        await call
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        with pytest.raises(RuntimeError, match="already awaited"):
            call.throw(ValueError())

    asyncio.run(main())


def test_reprs_and_states_tell_what_a_call_does() -> None:
    async def main() -> list[str]:
        store = FlightStore(turn, name="load_user")
        task = asyncio.create_task(store("k"))
        texts = [repr(task), repr(store("k"))]
        await asyncio.sleep(0)
        texts += [repr(task)]
        task.print_stack()
        await task
        return texts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        texts = asyncio.run(main(), debug=True)
    assert all("load_user" in text for text in texts)


def test_a_value_cannot_be_sent_into_a_new_call() -> None:
    call = FlightStore(at_once)("k")
    with pytest.raises(TypeError, match="non-None value to a just-started"):
        call.send(1)
    call.close()


def test_a_call_outside_a_loop_says_so() -> None:
    store = FlightStore(turn)
    with pytest.raises(RuntimeError, match="no running event loop"):
        store("k").send(None)
    assert store.events["given up"] == 1
    assert store.flights == {}
