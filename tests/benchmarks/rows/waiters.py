"""100,000 tasks that wait for 1,000 calls: how many calls are made, how much each waiter holds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

from .. import peers, probes
from ..model import Contender, Context, Row, Sampler, Target

TASKS, KEYS = 100_000, 1_000
FUTURE = "bare future"

# Makes what a task awaits for its key, from the load that is to be cached.
Make = Callable[[Callable[[int], Awaitable[int]]], Callable[[int], Awaitable[int]]]


def _millpond(load: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
    return peers.millpond()(load, 2 * KEYS)


def _async_lru(load: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
    module = peers.need("async_lru")
    cached: Callable[[int], Awaitable[int]] = module.alru_cache(maxsize=2 * KEYS)(load)
    return cached


_MAKE: dict[str, Make] = {"millpond": _millpond, "async-lru": _async_lru}


async def _settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def _crowd(name: str, tasks: int, keys: int) -> dict[str, Any]:
    """Start the tasks, count the bytes while all wait, let them go, and check what they got."""
    calls = 0
    gate = asyncio.Event()
    future = asyncio.get_running_loop().create_future()

    async def load(key: int) -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return key

    get = _MAKE[name](load) if name in _MAKE else None

    async def wait_for_call(key: int) -> int:
        assert get is not None
        return await get(key)

    async def wait_for_future(key: int) -> int:
        await future
        return key

    wait = wait_for_call if get else wait_for_future
    gc.collect()
    before = probes.allocated_bytes()
    waiting = [asyncio.ensure_future(wait(number % keys)) for number in range(tasks)]
    await _settle()
    held = probes.allocated_bytes() - before
    gate.set()
    future.set_result(None)
    results = await asyncio.gather(*waiting)
    wrong = sum(result != number % keys for number, result in enumerate(results))
    if wrong:
        raise RuntimeError(f"{wrong} of {tasks} tasks got a wrong result")
    return {"bytes": held / tasks, "calls": calls}


def crowd(name: str, tasks: int, keys: int) -> dict[str, Any]:
    """Run `_crowd` twice, small to warm up and then in full (in a probe)."""

    async def both() -> dict[str, Any]:
        await _crowd(name, 200, 10)
        return await _crowd(name, tasks, keys)

    return asyncio.run(both())


def _contender(name: str, peer: str, what: str) -> Contender:
    def prepare(context: Context) -> Sampler:
        def answer() -> float:
            return float(probes.ask(crowd, name=name, tasks=TASKS, keys=KEYS)[what])

        return probes.asked_already(answer)

    return Contender(name, prepare, peer)


def rows() -> list[Row]:
    who = [("millpond", "millpond"), ("async-lru", "async-lru")]
    return [
        Row(
            name="waiters/bytes",
            title="allocated bytes a task while 100,000 tasks wait on 1,000 calls of one function, "
            "or all on one bare future",
            contenders=tuple(_contender(*each, "bytes") for each in [*who, (FUTURE, "")]),
            unit="B",
            baseline=FUTURE,
            targets=(Target(200.0, of=FUTURE, excess=True),),
            passes=1,
            rounds=2,
            per_round=1,
        ),
        Row(
            name="waiters/calls",
            title="real calls that 100,000 concurrent tasks on 1,000 keys make",
            contenders=tuple(_contender(*each, "calls") for each in who),
            unit="calls",
            targets=(Target(float(KEYS)), Target(float(KEYS), at_least=True)),
            passes=1,
            rounds=2,
            per_round=1,
        ),
    ]
