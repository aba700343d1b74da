"""`get_or_load_many` in event loops: one load of many keys, whoever waits for whichever of them."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

import millpond as mp
from tests.python.flights.flight_store import until


def fresh() -> mp.Cache:
    return mp.Cache(max_entries=100)


def doubled(keys: list[int]) -> dict[int, int]:
    return {key: key * 2 for key in keys}


async def one(key: int) -> int:
    return -key


class Load:
    """A loader that says when it has begun, goes on when it may, and counts how it ended."""

    def __init__(self, body: Callable[[list[int]], Any] = doubled) -> None:
        self.body = body
        self.asked: list[list[int]] = []
        self.ended: list[str] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, keys: list[int]) -> Any:
        self.asked.append(list(keys))
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("landed")
        return self.body(keys)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def in_thread(results: list[Any], call: Callable[[], Any]) -> threading.Thread:
    def body() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_the_last_to_leave_cancels_the_load_whatever_they_wait_for(order: tuple[int, ...]) -> None:
    async def main() -> None:
        cache, load = fresh(), Load()
        calls = [asyncio.ensure_future(cache.get_or_load_many([1, 2, 3], load))]
        await load.begun.wait()
        calls.append(asyncio.ensure_future(cache.get_or_load(1, one)))
        calls.append(asyncio.ensure_future(cache.get_or_load(3, one)))
        await turn()
        for left, place in enumerate(order, 1):
            assert load.ended == []
            calls[place].cancel()
            await turn()
            assert load.ended == (["cancelled"] if left == 3 else [])
        assert await cache.get_or_load_many([1, 2], load_now) == {1: 2, 2: 4}

    async def load_now(keys: list[int]) -> dict[int, int]:
        return doubled(keys)

    asyncio.run(main())


def test_a_caller_that_leaves_has_the_load_go_on_for_a_thread() -> None:
    cache = fresh()
    results: list[Any] = []

    async def main() -> None:
        load = Load()
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await load.begun.wait()
        thread = in_thread(results, lambda: cache.get_or_load(2, lambda key: -key))
        await asyncio.to_thread(until, lambda: cache.stats().coalesced == 1)
        many.cancel()
        await turn()
        assert load.ended == []
        load.go_on.set()
        await asyncio.to_thread(thread.join, 60)

    asyncio.run(main())
    assert results == [4]
    assert dict(cache.items()) == {1: 2, 2: 4}


def test_the_loaders_exception_reaches_tasks_and_threads() -> None:
    cache = fresh()
    results: list[Any] = []

    async def main() -> list[Any]:
        load = Load(lambda keys: dict.fromkeys(keys, 1 // 0))
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await load.begun.wait()
        thread = in_thread(results, lambda: cache.get_or_load(1, lambda key: -key))
        others = [
            asyncio.ensure_future(cache.get_or_load(2, one)),
            asyncio.ensure_future(cache.get_or_load_many([2, 1], load)),
        ]
        await asyncio.to_thread(until, lambda: cache.stats().coalesced == 4)
        load.go_on.set()
        raised = await asyncio.gather(many, *others, return_exceptions=True)
        await asyncio.to_thread(thread.join, 60)
        return raised

    raised = [*asyncio.run(main()), *results]
    assert [type(error) for error in raised] == [ZeroDivisionError] * 4
    assert len({id(error) for error in raised}) == 1
    assert len(cache) == 0


def test_a_load_that_cancels_itself_hits_its_caller_and_the_others_load() -> None:
    async def main() -> None:
        def cancelled(_keys: list[int]) -> Any:
            raise asyncio.CancelledError

        cache, load = fresh(), Load(cancelled)
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2, 3], load))
        await load.begun.wait()
        waits = asyncio.ensure_future(cache.get_or_load(2, one))
        both = asyncio.ensure_future(cache.get_or_load_many([1, 9], load_now))
        await turn()
        load.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await many
        assert (await waits, await both) == (-2, {1: 2, 9: 18})
        assert dict(cache.items()) == {1: 2, 2: -2, 9: 18}

    async def load_now(keys: list[int]) -> dict[int, int]:
        return doubled(keys)

    asyncio.run(main())


def test_ctrl_c_in_the_loader_ends_the_loop_and_a_thread_loads_by_itself() -> None:
    cache = fresh()
    results: list[Any] = []
    threads: list[threading.Thread] = []

    async def main() -> None:
        def interrupted(_keys: list[int]) -> Any:
            raise KeyboardInterrupt

        load = Load(interrupted)
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await load.begun.wait()
        threads.append(in_thread(results, lambda: cache.get_or_load(2, lambda key: -key)))
        await asyncio.to_thread(until, lambda: cache.stats().coalesced == 1)
        load.go_on.set()
        await many

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    threads[0].join(60)
    assert results == [-2]
    assert dict(cache.items()) == {2: -2}


def test_when_the_loop_is_closed_under_it_a_thread_loads_by_itself() -> None:
    cache = fresh()
    results: list[Any] = []
    loop = asyncio.new_event_loop()

    async def main() -> Any:
        load = Load()
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await load.begun.wait()
        return many

    many = loop.run_until_complete(main())
    thread = in_thread(results, lambda: cache.get_or_load(2, lambda key: -key))
    until(lambda: cache.stats().coalesced == 1)
    loop.close()
    thread.join(60)
    assert results == [-2]
    many._log_destroy_pending = False
    del many
    gc.collect()
    assert cache.get_or_load(1, lambda key: -key) == -1


def test_a_loop_that_is_forgotten_with_its_batch_is_collected() -> None:
    cache = fresh()

    async def main() -> Any:
        load = Load()
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await load.begun.wait()
        return many

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())._log_destroy_pending = False
    loop.close()
    del loop
    gc.collect()
    assert cache.get_or_load_many([1, 2], doubled) == {1: 2, 2: 4}


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_loaders_that_wait_for_each_other_both_end(wanted: int) -> None:
    # Each asks for a key of the other's: the second to do so runs the load by itself.
    async def main() -> None:
        cache = fresh()
        both = asyncio.Barrier(2)

        async def load(keys: list[int]) -> dict[int, Any]:
            await both.wait()
            other = wanted if keys[0] > 3 else wanted + 3
            got = await cache.get_or_load(other, one)
            return dict.fromkeys(keys, got)

        a, b = await asyncio.wait_for(
            asyncio.gather(
                cache.get_or_load_many([1, 2, 3], load), cache.get_or_load_many([4, 5, 6], load)
            ),
            60,
        )
        assert len({*a.values(), *b.values()}) == 1

    asyncio.run(main())


def test_two_that_want_each_others_keys_both_end() -> None:
    async def main() -> None:
        cache, load = fresh(), Load()
        first = asyncio.ensure_future(cache.get_or_load_many([1, 2, 3], load))
        await load.begun.wait()
        load.begun.clear()
        second = asyncio.ensure_future(cache.get_or_load_many([3, 4], load))
        await load.begun.wait()
        third = asyncio.ensure_future(cache.get_or_load_many([4, 1], load))
        await turn()
        load.go_on.set()
        assert await asyncio.gather(first, second, third) == [
            {1: 2, 2: 4, 3: 6},
            {3: 6, 4: 8},
            {4: 8, 1: 2},
        ]
        assert load.asked == [[1, 2, 3], [4]]

    asyncio.run(main())


def test_a_call_whose_batch_asks_for_that_call_does_not_wait_for_itself() -> None:
    cache = fresh()
    made: list[str] = []

    @mp.with_cache
    async def total(name: str) -> int:
        made.append(name)
        if len(made) > 1:
            return 0
        return sum((await cache.get_or_load_many([1, 2], load)).values())

    async def load(keys: list[int]) -> dict[int, int]:
        await asyncio.sleep(0)
        assert await asyncio.create_task(total("x")) == 0
        return doubled(keys)

    async def main() -> int:
        return await asyncio.wait_for(total("x"), 60)

    assert asyncio.run(main()) == 6
    assert made == ["x", "x"]


def test_a_batch_of_keys_that_all_others_load_makes_no_load() -> None:
    async def main() -> None:
        cache, load = fresh(), Load()
        calls = [asyncio.ensure_future(cache.get_or_load_many([1, 2], load)) for _ in range(3)]
        await load.begun.wait()
        await turn()
        load.go_on.set()
        assert await asyncio.gather(*calls) == [{1: 2, 2: 4}] * 3
        assert load.asked == [[1, 2]]
        assert cache.stats().coalesced == 4

    asyncio.run(main())


def test_what_the_loader_leaves_out_another_batch_leaves_out_too() -> None:
    async def main() -> None:
        cache, load = fresh(), Load(lambda keys: {1: 2})
        many = asyncio.ensure_future(cache.get_or_load_many([1, 2], load))
        await load.begun.wait()
        other = asyncio.ensure_future(cache.get_or_load_many([2, 1], load))
        alone = asyncio.ensure_future(cache.get_or_load(2, one))
        await turn()
        load.go_on.set()
        assert await asyncio.gather(many, other, alone) == [{1: 2}, {1: 2}, -2]
        assert load.asked == [[1, 2]]

    asyncio.run(main())


def test_a_loader_that_never_suspends_lands_at_once() -> None:
    async def load(keys: list[int]) -> dict[int, int]:
        return doubled(keys)

    async def main() -> None:
        cache = fresh()
        assert await cache.get_or_load_many([1, 2], load) == {1: 2, 2: 4}
        with mp.disabled():
            assert await cache.get_or_load_many([1, 3], load) == {1: 2, 3: 6}
        assert dict(cache.items()) == {1: 2, 2: 4}

    asyncio.run(main())
