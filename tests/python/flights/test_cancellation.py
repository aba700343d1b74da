"""Who is cancelled leaves; the load goes on as long as one caller waits for it."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from tests.python.flights.flight_store import FlightStore

RUNNERS = [asyncio.run, uvloop.run]


class Gate:
    """A load that each test lets through, and that notes what becomes of it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = 0
        self.left: list[str] = []

    async def __call__(self, key: object) -> object:
        self.entered += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.left.append("cancelled")
            raise
        self.left.append("ended")
        return key


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def outcome(task: "asyncio.Task[object]") -> object:
    return "cancelled" if task.cancelled() else task.result()


@pytest.mark.parametrize("run", RUNNERS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "cancelled", [c for n in range(4) for c in itertools.combinations(range(3), n)], ids=repr
)
def test_each_set_of_cancelled_callers(cancelled: tuple[int, ...], run: Callable[..., Any]) -> None:
    async def main() -> None:
        gate = Gate()
        store = FlightStore(gate)
        tasks = [asyncio.create_task(store("k")) for _ in range(3)]
        await turns()
        for number in cancelled:
            tasks[number].cancel()
        await turns()
        everybody = len(cancelled) == 3
        assert gate.left == (["cancelled"] if everybody else [])
        gate.open.set()
        await asyncio.wait(tasks)
        expected = ["cancelled" if n in cancelled else "k" for n in range(3)]
        assert [outcome(task) for task in tasks] == expected
        assert gate.entered == 1
        assert store.flights == {}
        assert store.values == ({} if everybody else {"k": "k"})

    run(main())


def test_cancelled_in_the_turn_of_the_landing_the_value_stays_with_the_others() -> None:
    async def main() -> None:
        gate = Gate()
        store = FlightStore(gate)
        tasks = [asyncio.create_task(store("k")) for _ in range(3)]
        await turns()
        gate.open.set()
        while not gate.left:  # noqa: ASYNC110 (turn by turn, to strike in the very next one)
            await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert [outcome(task) for task in tasks] == ["cancelled", "k", "k"]
        assert store.values == {"k": "k"}

    asyncio.run(main())


def test_a_timeout_of_one_caller_is_its_own() -> None:
    async def main() -> None:
        gate = Gate()
        store = FlightStore(gate)
        waits = asyncio.create_task(store("k"))
        await turns()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store("k"), 0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await store("k")
        gate.open.set()
        assert await waits == "k"
        assert gate.entered == 1

    asyncio.run(main())


def test_the_message_of_a_cancellation_arrives() -> None:
    async def main() -> None:
        store = FlightStore(Gate())
        seen = []

        async def caller() -> None:
            try:
                await store("k")
            except asyncio.CancelledError as error:
                seen.append(error.args)
                raise

        task = asyncio.create_task(caller())
        await turns()
        task.cancel("enough")
        await asyncio.wait([task])
        assert seen == [("enough",)]

    asyncio.run(main())


def test_who_comes_after_the_last_has_left_loads_again() -> None:
    async def main() -> None:
        gate = Gate()
        store = FlightStore(gate)
        first = asyncio.create_task(store("k"))
        await turns()
        first.cancel()
        second = asyncio.create_task(store("k"))
        await turns(10)
        gate.open.set()
        assert await second == "k"
        assert gate.left == ["cancelled", "ended"]
        assert store.flights == {}

    asyncio.run(main())


def test_a_load_that_cancels_itself_hits_its_leader_and_the_others_start_again() -> None:
    async def main() -> None:
        calls = 0

        async def load(key: object) -> object:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            if calls < 3:
                raise asyncio.CancelledError
            return key

        store = FlightStore(load)
        tasks = [asyncio.create_task(store("k")) for _ in range(4)]
        await asyncio.wait(tasks)
        assert [outcome(task) for task in tasks] == ["cancelled", "cancelled", "k", "k"]
        assert calls == 3

    asyncio.run(main())


def test_a_load_that_cancels_itself_before_it_suspends_does_the_same() -> None:
    async def main() -> None:
        calls = 0
        go_on = asyncio.Event()

        async def load(key: object) -> object:
            nonlocal calls
            calls += 1
            assert calls < 10, "it starts again without end"
            if calls == 1:
                await go_on.wait()
            if calls < 4:
                raise asyncio.CancelledError(calls)
            return key

        store = FlightStore(load)
        tasks = [asyncio.create_task(store("k")) for _ in range(5)]
        await turns()
        go_on.set()
        await asyncio.wait(tasks)
        cancelled = ["cancelled"] * 3
        assert [outcome(task) for task in tasks] == [*cancelled, "k", "k"]
        assert calls == 4
        assert store.flights == {}
        calls = 1
        store.values.clear()
        with pytest.raises(asyncio.CancelledError, match="2"):
            await store("k")
        assert store.flights == {}

    asyncio.run(main())


def test_a_promoted_caller_that_is_cancelled_passes_the_lead_on() -> None:
    async def main() -> None:
        gate = Gate()
        calls = 0

        async def load(key: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 1:
                await asyncio.sleep(0)
                tasks[1].cancel()  # woken to lead by the line below, cancelled before it runs
                raise asyncio.CancelledError
            gate.open.set()
            return await gate(key)

        store = FlightStore(load)
        tasks = [asyncio.create_task(store("k")) for _ in range(3)]
        await asyncio.wait(tasks)
        assert [outcome(task) for task in tasks] == ["cancelled", "cancelled", "k"]
        assert calls == 2
        assert store.flights == {}

    asyncio.run(main())


def test_closing_a_call_leaves_the_flight() -> None:
    async def main() -> None:
        gate = Gate()
        store = FlightStore(gate)
        task = asyncio.create_task(store("k"))
        await turns()
        call = store("k")
        assert call.send(None) is call
        assert store.waiters("k") == 2
        call.close()
        assert store.waiters("k") == 1
        with pytest.raises(RuntimeError, match="already awaited"):
            call.send(None)
        gate.open.set()
        assert await task == "k"

    asyncio.run(main())


def test_a_throw_into_a_waiting_call_comes_out_and_leaves_the_flight() -> None:
    async def main() -> None:
        gate = Gate()
        store = FlightStore(gate)
        task = asyncio.create_task(store("k"))
        await turns()
        call = store("k")
        call.send(None)
        with pytest.raises(KeyError, match="out"):
            call.throw(KeyError("out"))
        assert store.waiters("k") == 1
        gate.open.set()
        assert await task == "k"

    asyncio.run(main())
