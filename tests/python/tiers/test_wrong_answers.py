"""A tier of somebody's own that answers anything: no call fails, and the tier is found out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Engine
from millpond.cache.wiring import stage_of
from millpond.io.deadline import Deadline
from millpond.tiers.base import Fetched, Lease
from tests.python.tiers.memory_tier import MemoryTier, mutant

if TYPE_CHECKING:
    from collections.abc import Iterator

WRONG: dict[str, list[Any]] = {
    "fetch": [
        None,
        1,
        [],
        (None, None, None),
        Fetched([], [], []),
        Fetched([None], [0], []),
        Fetched([None], [], [1, 1]),
        Fetched([None], ["g"], [1, 1]),  # type: ignore[list-item]
        Fetched([None], [-1], [1, 1]),
        Fetched([None], [0], ["x", "y"]),  # type: ignore[list-item]
        Fetched([None], [0], [-1, 2**70]),
        Fetched(["text"], [0], [1, 1]),  # type: ignore[list-item]
        Fetched([b"junk"], [0], [1, 1]),
    ],
    "stamp": [None, 5, [], [1], ["a", "b"], [-1, 2**70]],
    "store": [None, 5, []],
    "delete": [None, 5, []],
    "bump": [None, 5, []],
    "acquire": [None, 5, ("held", 1, 2.0), Lease("strange"), Lease("taken", 1, "soon")],  # type: ignore[arg-type]
    "now": [None, "noon", -5, 2**80],
}
CASES = [(op, answer) for op, answers in WRONG.items() for answer in answers]


class WrongError(Exception):
    """Nothing that a tier should raise."""


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]!r}"[:60])
def tier(request: pytest.FixtureRequest) -> Iterator[MemoryTier]:
    op, answer = request.param

    def plain(*_args: Any) -> Any:
        return answer

    async def awaited(*_args: Any) -> Any:
        return answer

    methods = {op: plain} if op == "now" else {op: plain, f"a{op}": awaited}
    made = mutant("Mutant", **methods)()
    made.name = "mutant"
    return made


def test_no_call_of_a_function_fails(tier: MemoryTier) -> None:
    with Engine(database=tier, namespace="wrong") as mill:
        function = mill.with_cache(namespace="wrong", key=lambda x: x)(lambda x: x + 1)
        assert function(1) == 2
        function._drop_entries()
        assert function(1) == 2
        assert function.cache_many([1, 2, 3]) == [2, 3, 4]
        function.cache_set(7, 5)
        assert function(5) in (6, 7)
        assert function.cache_refresh(1) == 2
        function.cache_invalidate(1)
        mill.invalidate(tags="any")
        mill.invalidate(function=function)


def test_nor_does_one_in_an_event_loop(tier: MemoryTier) -> None:
    async def more(x: int) -> int:
        return x + 1

    async def main() -> None:
        async with Engine(database=tier, namespace="wrong") as mill:
            function: Any = mill.with_cache(namespace="wrong", key=lambda x: x)(more)
            assert await function(1) == 2
            function._drop_entries()
            assert await function(1) == 2
            assert await function.cache_many([1, 2, 3]) == [2, 3, 4]
            await function.cache_aset(7, 5)
            await function.cache_ainvalidate(1)
            await mill.ainvalidate(tags="any")

    asyncio.run(main())


def test_nor_one_of_a_cache(tier: MemoryTier) -> None:
    with Engine(database=tier, namespace="wrong") as mill:
        cache = mill.cache("numbers")
        cache.set(1, 2)
        assert cache.get(1) == 2
        assert cache.get(2) is None
        assert cache.get_many([1]) in (
            {1: 2},
            {},
        )  # What the tier was not told is dropped here too.
        cache.set_many({3: 4})
        assert cache.get_or_load(9, lambda key: key, tags="some") == 9
        cache.delete(1)
        cache.clear()


def test_it_counts_as_damaged_and_is_left_alone() -> None:
    tier = mutant("Mutant", fetch=lambda *_: Fetched([], [], []))()
    tier.name = "mutant"
    with Engine(database=tier, namespace="wrong") as mill:
        cache = mill.cache("numbers")
        for key in range(20):
            cache.get_or_load(key, lambda key: key)
        stats = mill.stats()["mutant"]
        assert stats["operations"]["fetch"]["errors"]["damaged"] > 0
        assert stats["state"] != "closed"


def test_a_tier_without_a_clock_has_that_of_the_machine() -> None:
    def no_time(_tier: Any) -> int:
        raise WrongError

    stage = stage_of(mutant("Mutant", now=no_time)())
    assert abs(stage.now() - time.time_ns() // 1000) < 60e6


@pytest.mark.parametrize("way", ["watch", "stamp_word"])
def test_one_that_cannot_tell_is_not_heard(way: str, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_args: Any) -> Any:
        raise WrongError

    others = {"watch": ["unwatch"], "stamp_word": ["changes", "last_change"]}[way]
    methods = {way: fails, **dict.fromkeys(others, lambda *_: None)}
    with Engine(database=mutant("Mutant", **methods)(), namespace="wrong") as mill:
        assert mill.cache("numbers").get_or_load(1, lambda key: key) == 1
    assert "invalidations are not heard" in caplog.text


def test_one_that_can_keep_no_leases_at_present_is_not_wrong() -> None:
    absent = mutant("Mutant", acquire=lambda *_: Lease("absent"))()
    absent.name = "mutant"
    with Engine(database=absent, namespace="wrong") as mill:
        assert mill.cache("numbers").get_or_load(1, lambda key: key) == 1
        stats = mill.stats()["mutant"]
    assert stats["errors"] == {}
    assert set(stats["leases"].values()) == {0}
    assert absent.inspect(next(iter(absent.entries)), Deadline.after(1)) is not None
