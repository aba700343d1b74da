"""Functions that ask their tiers in another order than the Engine has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millpond import Engine
from millpond.errors import ConfigurationError
from tests.python.tiers.memory_tier import MemoryTier


def named(name: str) -> MemoryTier:
    made = MemoryTier()
    made.name = name
    return made


class Fleet:
    """Two processes that share two tiers; the Engine has `near` before `far`."""

    def __init__(self) -> None:
        self.near, self.far = named("near"), named("far")
        self.mills = [Engine(redis=self.near, database=self.far, namespace="x") for _ in range(2)]
        self.value = 1

    def function(self, mill: int, tiers: Any, kind: str = "sync") -> Any:
        given: dict[str, Any] = {"namespace": "x", "tags": ("t",), "max_entries": 0}
        with_cache = self.mills[mill].with_cache(key=lambda x: x, tiers=tiers, **given)
        if kind == "sync":
            return with_cache(lambda _: self.value)

        async def body(_: int) -> int:
            return self.value

        cached = with_cache(body)

        async def call(x: int) -> int:
            return await cached(x)

        return lambda x: asyncio.run(call(x))


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("order", [("near", "far"), ("far", "near")])
def test_none_is_filled_with_what_another_has_yet_to_be_told(
    order: tuple[str, str], kind: str
) -> None:
    """A reader comes between the two steps of an invalidation."""
    fleet = Fleet()
    function = fleet.function(0, ("memory", *order), kind)
    assert function(1) == 1
    # The tier that is told first is the one that has to have lost it.
    for tier in (fleet.near, fleet.far):

        def bump(names: Any, deadline: Any, tier: MemoryTier = tier) -> list[int]:
            between.append(function(1))
            return MemoryTier.bump(tier, names, deadline)

        tier.bump = bump  # type: ignore[method-assign]
    between: list[int] = []
    fleet.value = 2
    assert fleet.mills[1].invalidate(tags="t").done
    assert between[0] == 1
    assert function(1) == 2


def test_the_order_is_that_which_is_given() -> None:
    fleet = Fleet()
    assert fleet.function(0, ("memory", "near"))(1) == 1
    assert not fleet.far.entries
    fleet.value = 2
    assert fleet.function(0, ("memory", "far"))(1) == 2
    for order, value in [(("near", "far"), 1), (("far", "near"), 2)]:
        assert fleet.function(0, ("memory", *order))(1) == value
    # A set has none: they are asked as the Engine has them.
    assert fleet.function(0, {"far", "near", "memory"})(1) == 1
    with pytest.raises(ConfigurationError, match="twice"):
        fleet.function(0, ("memory", "near", "near"))
