"""One load for many callers, tasks and threads alike, through every way to await a call."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import uvloop

from tests.python.flights.flight_store import FlightStore, until

RUNNERS = [asyncio.run, uvloop.run]


def runner_id(run: Callable[..., Any]) -> str:
    return run.__module__.partition(".")[0]


async def at_once(key: object) -> tuple[str, object]:
    return ("loaded", key)


async def after_a_turn(key: object) -> tuple[str, object]:
    await asyncio.sleep(0)
    return ("loaded", key)


@pytest.fixture(params=[at_once, after_a_turn], ids=["never suspends", "suspends"])
def store(request: pytest.FixtureRequest) -> FlightStore:
    return FlightStore(request.param)


@pytest.mark.parametrize("run", RUNNERS, ids=runner_id)
def test_every_way_to_await_a_call_loads_once(store: FlightStore, run: Callable[..., Any]) -> None:
    async def main() -> list[object]:
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(store("k"))
            plain = asyncio.create_task(store("k"))
            rest = await asyncio.gather(store("k"), store(key="k"))
            in_time = await asyncio.wait_for(store("k"), 10)
            async with asyncio.timeout(10):
                timed = await store("k")
            shielded = await asyncio.shield(store("k"))
        return [grouped.result(), await plain, *rest, in_time, timed, shielded]

    assert run(main()) == [("loaded", "k")] * 7
    assert store.events["loads"] == 1


@pytest.mark.parametrize("options", [{}, {"use_uvloop": True}], ids=["asyncio", "uvloop"])
def test_anyio_awaits_calls(store: FlightStore, options: dict[str, Any]) -> None:
    async def main() -> object:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(store, "k")
        with anyio.fail_after(10):
            return await store("k")

    assert anyio.run(main, backend="asyncio", backend_options=options) == ("loaded", "k")
    assert store.events["loads"] == 1


def test_the_python_task_drives_a_call(store: FlightStore) -> None:
    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(
            lambda loop, coro, **kw: asyncio.tasks._PyTask(coro, loop=loop, **kw)  # type: ignore[attr-defined]
        )
        return await asyncio.gather(*(store("k") for _ in range(3)))

    assert asyncio.run(main()) == [("loaded", "k")] * 3
    assert store.events["loads"] == 1


@pytest.mark.parametrize("run", RUNNERS, ids=runner_id)
@pytest.mark.parametrize("keys", [1, 7, 1_000])
def test_a_hundred_thousand_tasks_load_each_key_once(run: Callable[..., Any], keys: int) -> None:
    store = FlightStore(after_a_turn)

    async def caller(key: int) -> object:
        return await store(key)

    async def main() -> list[object]:
        return await asyncio.gather(*(caller(n % keys) for n in range(100_000)))

    assert run(main()) == [("loaded", n % keys) for n in range(100_000)]
    assert store.events["loads"] == store.events["landed"] == keys


def test_threads_share_one_load() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def load(key: str) -> str:
        inside.set()
        assert go_on.wait(60)
        return key.upper()

    store = FlightStore(load)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(store.get("k"))) for _ in range(8)]
    threads[0].start()
    assert inside.wait(60)
    for thread in threads[1:]:
        thread.start()
    until(lambda: store.waiters("k") == 7)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert found == ["K"] * 8
    assert store.events == {"loads": 1, "waits": 7, "value": 7, "landed": 1}
