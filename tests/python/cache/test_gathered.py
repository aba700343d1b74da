"""A list of calls that asks its tier at once: where the tier is slow, and when the list is over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Engine
from millpond.errors import TierTimeoutError
from tests.python.cache.stale_fleet import LIFE, Fleet, rest
from tests.python.tiers.memory_tier import MemoryTier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from millpond.io.deadline import Deadline
    from millpond.tiers.base import Fetched

TIMEOUT = 0.2


@pytest.fixture
def tasks(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet("async", tmp_path)
    yield made
    made.close()


def test_what_tasks_load_after_the_list_is_stored(tasks: Fleet) -> None:
    """A list that gets stale values is over before the new ones are loaded."""
    rules = {"stale_while_revalidate": 50, "lock": False}
    first, second, third = (tasks.process(**rules) for _ in range(3))

    async def together(process: Any) -> Any:
        got = await process.cached.cache_many([1, 2])
        await rest()
        return got

    assert asyncio.run(together(first)) == [1, 2]
    tasks.pass_by(LIFE + 20)
    assert asyncio.run(together(second)) == [1, 2]
    assert len(tasks.made) == 4
    assert sorted(asyncio.run(together(third))) == [3, 4]
    assert len(tasks.made) == 4


class Narrow(MemoryTier):
    """Too slow for more than one entry at once."""

    timeout = TIMEOUT

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, float]] = []  # how many, and until when

    def fetch(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        self.asked.append((len(keys), deadline.at))
        if len(keys) > 1:
            time.sleep(max(0.0, deadline.left()))
            raise TierTimeoutError("too slow", tier=self.name)
        return super().fetch(keys, names, deadline)

    async def afetch(
        self, keys: Sequence[str], names: Sequence[str], deadline: Deadline
    ) -> Fetched:
        if len(keys) > 1:
            self.asked.append((len(keys), deadline.at))
            await asyncio.sleep(max(0.0, deadline.left()))
            raise TierTimeoutError("too slow", tier=self.name)
        return self.fetch(keys, names, deadline)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_tier_that_cannot_answer_for_all_is_asked_for_each(kind: str) -> None:
    tier, calls = Narrow(), []

    def body(x: int) -> int:
        calls.append(x)
        return x

    async def abody(x: int) -> int:
        return body(x)

    with Engine(database=tier, namespace="lists", budget=TIMEOUT + 0.05) as mill:
        rules: dict[str, Any] = {"key": lambda x: x, "namespace": "lists", "lock": False}
        if kind == "sync":
            function: Any = mill.with_cache(**rules)(body)
            many = function.cache_many
            one = function
        else:
            function = mill.with_cache(**rules)(abody)

            def many(xs: list[int]) -> Any:
                return asyncio.run(_awaited(function.cache_many, xs))

            def one(x: int) -> Any:
                return asyncio.run(_awaited(function, x))

        numbers = list(range(9))
        for x in numbers:
            one(x)
        function._drop_entries()
        del calls[:], tier.asked[:]
        assert many(numbers) == numbers
        assert not calls
        (count, until), *others = tier.asked
        assert count == 9
        assert [n for n, _ in others] == [1] * 9
        if kind == "async":
            # Each has waited for the answer that did not come, in its own time.
            assert max(at for _, at in others) - until < TIMEOUT / 2


async def _awaited(function: Any, *args: Any) -> Any:
    return await function(*args)
