"""With the cache on or off a program gives the same results."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import anyio
import pytest
import uvloop

import millpond as mp
from millpond._engine import ManualClock
from tests.python.cache.faces import ASYNC, SYNC, Counted


def workload(seed: int) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Calls with arguments of many shapes, some of them again and again."""
    chance = random.Random(seed)
    atoms: list[Any] = [0, 1, 1.0, True, None, "", "1", b"1", -0.0, 0.0, 2**70, float("inf")]

    def value(depth: int) -> Any:
        kind = chance.randrange(6 if depth else 1)
        if kind < 2:
            return chance.choice(atoms)
        parts = [value(depth - 1) for _ in range(chance.randrange(3))]
        if kind == 2:
            return parts
        if kind == 3:
            return tuple(parts)
        if kind == 4:
            return {"ab"[n]: part for n, part in enumerate(parts)}
        # Of one member: the order in which a set shows more of them is no part of its value.
        return frozenset({chance.choice(atoms)})

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for _ in range(600):
        if calls and chance.random() < 0.5:
            calls.append(chance.choice(calls))
        elif chance.random() < 0.3:
            calls.append(((), {"x": value(2), "y": value(1)}))
        else:
            calls.append(((value(3),), {}))
    return calls


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [{}, {"max_entries": 20, "policy": "lru"}, {"max_bytes": 20_000}, {"copy": True}, {"tti": 5}],
)
def test_a_recorded_workload_gives_the_same_with_and_without(
    kind: str, seed: int, options: dict[str, Any]
) -> None:
    def body(x: Any, y: Any) -> Any:
        if x == "1":
            raise ValueError(y)
        return repr((type(x), x, type(y), y)), [x, y]

    def outcome(call: Any, args: Any, kwargs: Any) -> Any:
        try:
            return repr(call(*args, **kwargs))
        except ValueError as failure:
            return repr(failure)

    clock = ManualClock()
    if not options.keys() & {"max_entries", "max_bytes"}:
        options = {**options, "cache": mp.Cache(clock=clock)}
    f = Counted(kind, body=body, **options)
    calls = workload(seed)
    if kind == ASYNC:
        calls = calls[:80]
    cached = []
    for args, kwargs in calls:
        clock.advance(0.5)
        cached.append(outcome(f, args, kwargs))
    made = f.calls
    with mp.disabled():
        plain = [outcome(f, args, kwargs) for args, kwargs in calls]
    assert cached == plain
    assert made < f.calls - made == len(calls)


def test_the_same_on_other_loops() -> None:
    @mp.with_cache
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def main() -> list[int]:
        got = await asyncio.gather(*(later(n % 3) for n in range(9)))
        async with anyio.create_task_group() as group:
            for n in range(3):
                group.start_soon(later, n)
        with anyio.fail_after(5):
            return [*got, await later(1)]

    wanted = [0, 2, 4] * 3 + [2]
    assert uvloop.run(main()) == wanted
    assert anyio.run(main) == wanted
    later.cache_clear()
    assert uvloop.run(main()) == wanted
    assert later.cache_info().loads == 3
