"""What is loaded before a process hears of others is kept for no longer than the grace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import millpond as mp
from millpond import Engine
from millpond.testing import ManualClock
from millpond.tiers.base import Listener
from tests.python.tiers.memory_tier import MemoryTier

GRACE = 5.0


class Telling(MemoryTier):
    """A tier that tells of others from when the test says so."""

    listener: Listener
    asked: Callable[[], None] | None = None

    def watch(self, listener: Listener, grace: float) -> None:
        self.listener = listener

    def unwatch(self) -> None: ...

    def fetch(self, *given: Any) -> Any:
        if self.asked is not None:
            self.asked()
        return super().fetch(*given)

    def begin_to_tell(self) -> None:
        self.listener.up(True)
        self.listener.alive(3600.0)


class Mill:
    """An Engine that has begun to listen, and hears nothing yet."""

    def __init__(self, tier: Telling) -> None:
        self.clock = ManualClock()
        self.tier = tier
        cache = mp.Cache(clock=self.clock)
        self.engine = Engine(
            redis=self.tier, database=False, cache=cache, coherence_grace=GRACE
        ).open()

    def holds(self, contains: Callable[[], bool]) -> tuple[bool, bool]:
        """Whether it is there just before the grace is over, and just after."""
        self.clock.advance(GRACE - 0.1)
        before = contains()
        self.clock.advance(0.2)
        return before, contains()


@pytest.fixture
def mill() -> Iterator[Mill]:
    made = Mill(Telling())
    yield made
    made.engine.close()


def function(mill: Mill, body: Callable[[], object], kind: str) -> tuple[Any, Callable[[], Any]]:
    if kind == "sync":

        def load(x: int) -> int:
            body()
            return x

        made = mill.engine.with_cache(namespace="test", ttl="1h")(load)
        return made, lambda: made(1)

    async def aload(x: int) -> int:
        body()
        return x

    amade = mill.engine.with_cache(namespace="test", ttl="1h")(aload)

    async def main() -> int:
        return int(await amade(1))

    return amade, lambda: asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_load_that_began_before_is_kept_for_the_grace(mill: Mill, kind: str) -> None:
    made, call = function(mill, mill.tier.begin_to_tell, kind)
    call()
    assert mill.holds(lambda: bool(made.cache_contains(1))) == (True, False)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_that_begins_afterwards_is_kept_for_its_life(mill: Mill, kind: str) -> None:
    made, call = function(mill, lambda: None, kind)
    mill.tier.begin_to_tell()
    call()
    assert mill.holds(lambda: bool(made.cache_contains(1))) == (True, True)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_that_ends_when_nothing_is_heard_any_more_is_too(mill: Mill, kind: str) -> None:
    made, call = function(mill, lambda: mill.tier.listener.up(False), kind)
    mill.tier.begin_to_tell()
    call()
    assert mill.holds(lambda: bool(made.cache_contains(1))) == (True, False)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_tier_was_asked_for_before(mill: Mill, kind: str) -> None:
    made, call = function(mill, lambda: None, kind)
    call()
    made._drop_entries()
    mill.tier.asked = mill.tier.begin_to_tell
    call()
    assert made.cache_info().loads == 1
    assert mill.holds(lambda: bool(made.cache_contains(1))) == (True, False)


class Stamping(Telling):
    """One that begins to tell while it is asked for stamps, as it is by who sets a value."""

    def stamp(self, *given: Any) -> Any:
        if self.asked is not None:
            self.asked()
        return super().stamp(*given)


def test_what_is_set_while_it_begins() -> None:
    mill = Mill(Stamping())
    made, _ = function(mill, lambda: None, "sync")
    things = mill.engine.cache("things", ttl="1h")
    mill.tier.asked = mill.tier.begin_to_tell
    things.set(1, 2)
    kept = things._memory.ttl(1)
    assert kept is not None
    assert kept <= GRACE
    mill.tier.listener.up(False)
    made.cache_set(2, 1)
    assert mill.holds(lambda: bool(made.cache_contains(1))) == (True, False)
    things.set(3, 4)
    made.cache_set(2, 1)
    assert mill.holds(lambda: bool(made.cache_contains(1))) == (True, True)
    kept = things._memory.ttl(3)
    assert kept is not None
    assert kept > 60
    mill.engine.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_batches_too(mill: Mill, kind: str) -> None:
    things = mill.engine.cache("things", ttl="1h")

    def load(keys: list[int]) -> dict[int, int]:
        mill.tier.begin_to_tell()
        return dict.fromkeys(keys, 1)

    async def aload(keys: list[int]) -> dict[int, int]:
        return load(keys)

    def loads(key: int) -> float:
        if kind == "sync":
            things.get_or_load_many([key, key + 1], load)
        else:
            asyncio.run(things.aget_or_load_many([key, key + 1], aload))
        kept = things._memory.ttl(key)
        assert kept is not None
        return kept

    assert loads(1) <= GRACE
    assert loads(3) > 60
