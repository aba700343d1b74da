"""`cache_many` and `cache_warm` of a cached function: a list of calls at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from millpond.cache.gathered import Gathered, asking_together, gathering
from millpond.cache.shared import flow_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from millpond.cache.flow import Flow

_Call = tuple[tuple[Any, ...], dict[str, Any]]


def _arguments(call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A tuple is positional arguments, a dict is named ones, anything else a single argument."""
    kind = cast("Any", type(call))
    if kind is tuple:
        return call, {}
    if kind is dict:
        return (), call
    return (call,), {}


def _is_async(function: Any) -> bool:
    return bool(function.cache_parameters()["asynchronous"])


def cache_many(function: Any, calls: Iterable[Any]) -> Any:
    """The results of many calls in order; of an async function, an awaitable of them."""
    made = [_arguments(call) for call in calls]
    return _results(function, made, _cold(function, made))


def cache_warm(function: Any, calls: Iterable[Any]) -> Any:
    """Make the calls whose results are not here; how many were made."""
    made = [_arguments(call) for call in calls]
    cold = _cold(function, made)
    if not _is_async(function):
        return len(_results(function, cold, cold))

    async def together() -> int:
        return len(await _results(function, cold, cold))

    return together()


def _cold(function: Any, made: Sequence[_Call]) -> list[_Call]:
    return [call for call in made if not function.cache_contains(*call[0], **call[1])]


def _results(function: Any, made: Sequence[_Call], cold: Sequence[_Call]) -> Any:
    """The results of calls, of which those that are `cold` ask the tiers together."""
    flow = flow_of(function)
    if flow is None or len(cold) < 2:
        return _afew(function, made) if _is_async(function) else _few(function, made)
    keys = dict(function._shared_call(*args, **kwargs) for args, kwargs in cold)
    together = Gathered(flow, keys)
    return (_amany if _is_async(function) else _many)(function, made, flow, together)


def _few(function: Any, made: Sequence[_Call]) -> list[Any]:
    return [function(*args, **kwargs) for args, kwargs in made]


async def _afew(function: Any, made: Sequence[_Call]) -> list[Any]:
    import asyncio

    return await asyncio.gather(*(function(*args, **kwargs) for args, kwargs in made))


def _many(function: Any, made: Sequence[_Call], flow: Flow, together: Gathered) -> list[Any]:
    outside = gathering.set(together)
    try:
        with asking_together(function, flow):
            return _few(function, made)
    finally:
        gathering.reset(outside)
        together.end()
        together.fill()


async def _amany(function: Any, made: Sequence[_Call], flow: Flow, together: Gathered) -> list[Any]:
    outside = gathering.set(together)
    try:
        with asking_together(function, flow):
            return await _afew(function, made)
    finally:
        gathering.reset(outside)
        together.end()
        await together.afill()
