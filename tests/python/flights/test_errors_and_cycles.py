"""Errors reach every caller unchanged; a wait that would never end is not begun."""

import asyncio
import contextvars
import gc
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from millpond.errors import WaitTimeoutError
from tests.python.flights.flight_store import FlightStore, until


def depth(error: BaseException) -> int:
    return len(traceback.extract_tb(error.__traceback__))


class Crash(BaseException):
    """A BaseException of a user's own: shared like any other error."""


@pytest.mark.parametrize("kind", [ValueError, Crash])
@pytest.mark.parametrize("suspends", [False, True])
def test_tasks_raise_the_leaders_exception_with_one_traceback(
    kind: type[BaseException], suspends: bool
) -> None:
    async def load(key: object) -> None:
        if suspends:
            await asyncio.sleep(0)
        raise kind(key)

    store = FlightStore(load)
    depths = []
    errors = []

    async def caller() -> None:
        try:
            await store("k")
        except kind as error:
            errors.append(error)
            depths.append(depth(error))

    async def main() -> None:
        await asyncio.gather(*(caller() for _ in range(20)))

    asyncio.run(main())
    if suspends:
        assert len({id(error) for error in errors}) == 1
    assert len(errors) == 20
    assert set(depths) == {2}  # the caller's line and the load's
    assert all(error.__context__ is None for error in errors)


def test_threads_raise_the_leaders_exception_with_one_traceback() -> None:
    go_on = threading.Event()

    def load(key: object) -> None:
        assert go_on.wait(60)
        raise ValueError(key)

    store = FlightStore(load)
    depths = []

    def follow() -> None:
        try:
            store.get("k")
        except ValueError as error:
            depths.append(depth(error))

    def lead() -> None:
        with pytest.raises(ValueError):
            store.get("k")

    leader = threading.Thread(target=lead)
    leader.start()
    until(lambda: "k" in store.flights)
    followers = [threading.Thread(target=follow) for _ in range(6)]
    for number, thread in enumerate(followers, 1):
        thread.start()
        until(lambda number=number: store.waiters("k") == number)  # type: ignore[misc]
    go_on.set()
    for thread in [leader, *followers]:
        thread.join(60)
    assert len(depths) == 6
    assert len(set(depths)) == 1


def test_an_error_raised_again_and_again_does_not_grow() -> None:
    async def load(key: object) -> None:
        await asyncio.sleep(0)
        raise ValueError(key)

    async def main() -> list[int]:
        store = FlightStore(load)
        first, second = store("k"), store("k")
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert results[0] is results[1]
        return [depth(error) for error in results if isinstance(error, ValueError)]

    # gather's own task adds nothing: the traceback is the load's.
    assert len(set(asyncio.run(main()))) == 1


def test_a_failure_nobody_waits_for_is_not_reported_as_never_retrieved() -> None:
    reports: list[object] = []

    async def load(key: object) -> None:
        await asyncio.sleep(0)
        raise ValueError(key)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        store = FlightStore(load)
        with pytest.raises(ValueError):
            await store("k")
        del store
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert reports == []


def test_context_variables_set_by_the_load_stay_inside() -> None:
    variable = contextvars.ContextVar("variable", default="outside")

    async def load(key: object) -> str:
        before = variable.get()
        variable.set("inside")
        await asyncio.sleep(0)
        return before

    async def main() -> None:
        variable.set("caller")
        assert await FlightStore(load)("k") == "caller"
        assert variable.get() == "caller"

    asyncio.run(main())


def test_a_thread_times_out_while_the_load_goes_on() -> None:
    go_on = threading.Event()
    store = FlightStore(lambda key: go_on.wait(60) and key)
    leader = threading.Thread(target=store.get, args=("k",))
    leader.start()
    until(lambda: "k" in store.flights)
    with pytest.raises(WaitTimeoutError, match="wait_timeout"):
        store.get("k", timeout=0)
    with pytest.raises(TimeoutError):
        store.get("k", timeout=0.001)
    assert store.waiters("k") == 0
    go_on.set()
    leader.join(60)
    assert store.values == {"k": "k"}


# ---- cycles


def test_a_load_that_asks_for_itself_runs_uncoalesced() -> None:
    depths = []

    def load(key: object) -> object:
        depths.append(key)
        return store.get("k") if len(depths) < 3 else "found"

    store = FlightStore(load)
    assert store.get("k") == "found"
    assert store.events["alone"] == 2


def test_an_async_load_that_asks_for_itself_runs_uncoalesced() -> None:
    calls = 0

    async def load(key: object) -> object:
        nonlocal calls
        calls += 1
        if calls < 4:
            # Directly, then from a child task.
            return await (store("k") if calls % 2 else asyncio.create_task(store("k")))
        return "found"

    store = FlightStore(load)

    async def main() -> object:
        return await asyncio.wait_for(store("k"), 10)

    assert asyncio.run(main()) == "found"
    assert store.events["alone"] == 3


def test_two_async_loads_that_ask_for_each_other_both_end() -> None:
    met = asyncio.Event()
    inside: set[object] = set()

    async def load(key: str) -> str:
        if key in inside:
            return f"alone {key}"
        inside.add(key)
        if len(inside) == 2:
            met.set()
        await met.wait()
        other = "b" if key == "a" else "a"
        return f"{key} saw {await store(other)}"

    store = FlightStore(load)

    async def main() -> list[str]:
        return await asyncio.wait_for(asyncio.gather(store("a"), store("b")), 10)

    found = asyncio.run(main())
    assert store.events["alone"] == 1
    assert sum("alone" in text for text in found) == 2  # one directly, one through the other


def test_two_threads_that_ask_for_each_others_load_both_end() -> None:
    met = threading.Barrier(2)
    inside: set[object] = set()

    def load(key: str) -> str:
        if key in inside:
            return f"alone {key}"
        inside.add(key)
        met.wait(60)
        return f"{key} saw {store.get('b' if key == 'a' else 'a')}"

    store = FlightStore(load)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(store.get, "ab", timeout=60))
    assert store.events["alone"] == 1
    assert sum("alone" in text for text in found) == 2


def test_a_load_that_asks_for_itself_from_a_thread_with_its_context_ends() -> None:
    def load(key: object) -> object:
        if threading.current_thread().name != "outer":
            return "alone"
        found = []
        context = contextvars.copy_context()
        inner = threading.Thread(target=lambda: found.append(context.run(store.get, "k")))
        inner.start()
        inner.join(60)
        return found[0]

    store = FlightStore(load)
    outer = threading.Thread(target=store.get, args=("k",), name="outer")
    outer.start()
    outer.join(60)
    assert store.values == {"k": "alone"}


def test_a_load_below_on_the_stack_is_seen_even_without_its_context() -> None:
    calls = 0

    def load(key: object) -> object:
        nonlocal calls
        calls += 1
        return contextvars.Context().run(store.get, "k") if calls == 1 else "alone"

    store = FlightStore(load)
    assert store.get("k") == "alone"


def test_a_task_that_waits_inside_a_synchronous_load_of_its_thread_runs_alone() -> None:
    calls = 0

    async def value(key: object) -> str:
        return "alone"

    def load(key: object) -> object:
        nonlocal calls
        calls += 1
        asynchronous = FlightStore(value)
        asynchronous.flights = store.flights

        async def main() -> object:
            return await asynchronous("k")

        return contextvars.Context().run(asyncio.run, main())

    store = FlightStore(load)
    assert store.get("k") == "alone"
    assert calls == 1
