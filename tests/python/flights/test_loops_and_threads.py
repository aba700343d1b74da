"""One flight for threads and several loops; whoever is interrupted passes the lead on."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from tests.python.flights.flight_store import FlightStore, flights, until

Factory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: list[Factory] = [asyncio.new_event_loop, uvloop.new_event_loop]


class LoopThread:
    """A loop that runs in a thread of its own until it is left."""

    def __init__(self, factory: Factory) -> None:
        self.loop = factory()
        # A loop stopped in the middle says of each task that it was destroyed: as it should.
        self.loop.set_exception_handler(lambda *_: None)
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> "LoopThread":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if not self.loop.is_closed():
            self.loop.close()

    def stop(self) -> None:
        """Stops the loop where it is, and cancels nothing."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(60)

    def run(self, coroutine: Any) -> Any:
        """A concurrent future of the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)


async def awaited(call: Any) -> object:
    return await call


def held() -> tuple[Any, threading.Event, list[object]]:
    """An async load that waits for a thread's event, and the loops that ran it."""
    go_on = threading.Event()
    loops: list[object] = []

    async def load(key: object) -> object:
        loops.append(asyncio.get_running_loop())
        while not go_on.is_set():  # noqa: ASYNC110 (the event is a thread's)
            await asyncio.sleep(0.001)
        return key

    return load, go_on, loops


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_two_loops_and_a_thread_share_one_load(
    factory: Factory,
) -> None:
    load, go_on, loops = held()
    store = FlightStore(load)
    found: list[object] = []
    with LoopThread(factory) as one, LoopThread(factory) as two:
        futures = [one.run(awaited(store("k")))]
        until(lambda: store.waiters("k") == 1)
        futures += [loop.run(awaited(store("k"))) for loop in (one, two, one, two) for _ in "ab"]
        flight = store.flights["k"]
        thread = threading.Thread(target=lambda: found.append(flights.wait(flight)))
        thread.start()
        until(lambda: store.waiters("k") == 10)
        go_on.set()
        assert [future.result(60) for future in futures] == ["k"] * 9
        thread.join(60)
    assert found == [("value", "k")]
    assert loops == [one.loop]


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_tasks_wait_for_a_load_led_by_a_thread(
    factory: Factory,
) -> None:
    go_on = threading.Event()
    store = FlightStore(lambda key: go_on.wait(60) and key)
    thread = threading.Thread(target=store.get, args=("k",))
    thread.start()
    until(lambda: "k" in store.flights)
    with LoopThread(factory) as one, LoopThread(factory) as two:
        futures = [loop.run(awaited(store("k"))) for loop in (one, two) for _ in range(3)]
        until(lambda: store.waiters("k") == 6)
        go_on.set()
        assert [future.result(60) for future in futures] == ["k"] * 6
    thread.join(60)
    assert store.events["loads"] == 1


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("waits", ["a task", "a thread"])
def test_when_the_loop_that_loads_is_closed_another_starts_again(
    factory: Factory, waits: str
) -> None:
    load, go_on, loops = held()
    store = FlightStore(load)
    found: list[object] = []
    with LoopThread(factory) as two:
        one = LoopThread(factory)
        with one:
            one.run(awaited(store("k")))
            until(lambda: store.waiters("k") == 1)
            if waits == "a task":
                future = two.run(awaited(store("k")))
            else:
                flight = store.flights["k"]
                thread = threading.Thread(target=lambda: found.append(flights.wait(flight)))
                thread.start()
            until(lambda: store.waiters("k") == 2)
        if waits == "a task":
            until(lambda: len(loops) == 2)
            go_on.set()
            assert future.result(60) == "k"
            assert loops == [one.loop, two.loop]
            assert store.flights == {}
        else:
            thread.join(60)
            assert found == [("lead", None)]
            flights.land(flight, "k")
            assert store.values == {"k": "k"}


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_thread_that_joined_a_thread_notices_the_end_of_a_loop_that_took_over(
    factory: Factory,
) -> None:
    load, _, loops = held()
    store = FlightStore(load)
    flight = store.flights["k"] = flights.lead(store)
    found: list[object] = []
    with LoopThread(factory) as loop:
        loop.run(awaited(store("k")))
        until(lambda: store.waiters("k") == 1)
        thread = threading.Thread(target=lambda: found.append(flights.wait(flight, 60)))
        thread.start()
        until(lambda: store.waiters("k") == 2)
        flights.abandon(flight)
        until(lambda: len(loops) == 1)
    thread.join(120)
    assert found == [("lead", None)]
    flights.land(flight, "k")
    assert store.values == {"k": "k"}


def test_who_joins_after_the_loop_was_closed_starts_again() -> None:
    load, go_on, loops = held()
    store = FlightStore(load)
    with LoopThread(asyncio.new_event_loop) as one:
        one.run(awaited(store("k")))
        until(lambda: store.waiters("k") == 1)
    go_on.set()
    assert asyncio.run(awaited(store("k"))) == "k"
    assert len(loops) == 2


def test_a_loop_that_cancels_its_tasks_at_the_end_leaves_the_load_to_another() -> None:
    load, go_on, loops = held()
    store = FlightStore(load)

    async def main() -> None:
        task = asyncio.create_task(store("k"))
        await asyncio.to_thread(until, lambda: store.waiters("k") == 2)
        assert not task.done()

    with LoopThread(asyncio.new_event_loop) as other:
        runner = threading.Thread(target=lambda: asyncio.run(main()))
        runner.start()
        until(lambda: store.waiters("k") == 1)
        future = other.run(awaited(store("k")))
        runner.join(60)
        until(lambda: len(loops) == 2)
        go_on.set()
        assert future.result(60) == "k"
        assert loops[1] is other.loop


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_thread_interrupted_while_it_leads_promotes_who_waited_longest(
    kind: type[BaseException],
) -> None:
    go_on = threading.Event()
    ran: list[str] = []

    def load(key: object) -> object:
        ran.append(threading.current_thread().name)
        if len(ran) == 1:
            assert go_on.wait(60)
            raise kind
        return key

    store = FlightStore(load)
    raised: list[type[BaseException]] = []
    found: list[object] = []

    def lead() -> None:
        try:
            store.get("k")
        except BaseException as error:
            raised.append(type(error))

    leader = threading.Thread(target=lead, name="leader")
    leader.start()
    until(lambda: "k" in store.flights)
    followers = []
    for number in range(3):
        follower = threading.Thread(target=lambda: found.append(store.get("k")), name=str(number))
        follower.start()
        followers.append(follower)
        until(lambda number=number: store.waiters("k") == number + 1)  # type: ignore[misc]
    go_on.set()
    for thread in [leader, *followers]:
        thread.join(60)
    assert raised == [kind]
    assert found == ["k"] * 3
    assert ran == ["leader", "0"]
    assert store.flights == {}


@pytest.fixture
def alarm() -> Any:
    """Makes SIGUSR1 raise KeyboardInterrupt, as Ctrl-C would, in the main thread."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_ends_the_wait_of_the_main_thread(alarm: None) -> None:
    go_on = threading.Event()
    store = FlightStore(lambda key: go_on.wait(60) and key)
    leader = threading.Thread(target=store.get, args=("k",))
    leader.start()
    until(lambda: "k" in store.flights)
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        until(lambda: store.waiters("k") == 1)
        signal.pthread_kill(main, signal.SIGUSR1)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        store.get("k")
    assert store.waiters("k") == 0
    go_on.set()
    presser.join(60)
    leader.join(60)
    assert store.values == {"k": "k"}


def test_a_signal_whose_handler_returns_does_not_end_the_wait() -> None:
    go_on = threading.Event()
    seen: list[int] = []
    store = FlightStore(lambda key: go_on.wait(60) and key)
    leader = threading.Thread(target=store.get, args=("k",))
    leader.start()
    until(lambda: "k" in store.flights)
    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))

    def press() -> None:
        until(lambda: store.waiters("k") == 1)
        signal.pthread_kill(main, signal.SIGUSR1)
        until(lambda: seen != [])
        go_on.set()

    presser = threading.Thread(target=press)
    presser.start()
    try:
        assert store.get("k") == "k"
    finally:
        signal.signal(signal.SIGUSR1, before)
        presser.join(60)
        leader.join(60)
    assert seen == [signal.SIGUSR1]
