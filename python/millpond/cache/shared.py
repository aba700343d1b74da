"""What the methods of a cached function do when it has tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond import _engine
from millpond.cache.flow import Flow
from millpond.cache.invalidation import spread
from millpond.cache.looks import Look
from millpond.cache.stage import Budget
from millpond.cache.steps import adrive, drive

if TYPE_CHECKING:
    from millpond._engine import Function
    from millpond.cache.invalidation import Outcome
    from millpond.cache.steps import Steps


def flow_of(function: Function) -> Flow | None:
    """The flow of a function; None while it has no tiers."""
    load = function._flow()
    # A bound method, which the stub calls a callable.
    return None if load is None else load.__self__  # type: ignore[attr-defined]


def invalidate(function: Function, /, *args: Any, **kwargs: Any) -> bool:
    """`cache_invalidate`, in memory and in every tier."""
    return bool(drive(_invalidating(function, args, kwargs)))


async def ainvalidate(function: Function, /, *args: Any, **kwargs: Any) -> bool:
    """The same in an event loop."""
    return bool(await adrive(_invalidating(function, args, kwargs)))


def _invalidating(function: Function, args: Any, kwargs: Any) -> Steps:
    flow = flow_of(function)

    def here() -> int:
        return int(function._invalidate_here(*args, **kwargs))

    if flow is None:
        return bool(here())
    key, _ = function._shared_call(*args, **kwargs)
    outcome: Outcome = yield from spread(flow.stages, "delete", [key], here)
    return outcome.found


def clear(function: Function) -> None:
    """`cache_clear`, in memory and in every tier."""
    drive(_clearing(function))


async def aclear(function: Function) -> None:
    """The same in an event loop."""
    await adrive(_clearing(function))


def _clearing(function: Function) -> Steps:
    flow = flow_of(function)

    def here() -> int:
        function._clear_here()
        return 0

    if flow is None:
        return here()
    return (yield from spread(flow.stages, "bump", [flow.name.generations[1]], here))


def set_value(function: Function, value: object, /, *args: Any, **kwargs: Any) -> None:
    """`cache_set`, in memory and in every tier."""
    drive(_writing(function, value, args, kwargs))


async def aset_value(function: Function, value: object, /, *args: Any, **kwargs: Any) -> None:
    """The same in an event loop."""
    await adrive(_writing(function, value, args, kwargs))


def _writing(function: Function, value: object, args: Any, kwargs: Any) -> Steps:
    flow = flow_of(function)
    if flow is None:
        function._set_here(value, None, *args, **kwargs)
        return
    key, tags = function._shared_call(*args, **kwargs)
    names = [*flow.name.generations, *tags]
    budget = Budget(flow.budget)
    yield from flow.listen()
    cap = flow.cap()
    with flow.writes.setting([key], names) as write:
        looks: list[Look] = []
        for stage in flow.stages:
            look = yield from flow.looks.stamps(stage, names, budget)
            if look is not None:
                looks.append(look)
            else:
                stage.owe("delete", [key])
        yield from flow.fills.keep(key, value, flow.rules, looks, budget, write=True)
        most = _engine.memory_life(cap, None, flow.monitors)
        function._set_here(value, most, *args, **kwargs)
        if not write.keeps(key):
            function._invalidate_here(*args, **kwargs)
