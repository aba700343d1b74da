"""`cache_many` and `cache_warm` of a cached function: a list of calls at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    if not _is_async(function):
        return [function(*args, **kwargs) for args, kwargs in made]

    async def together() -> list[Any]:
        import asyncio

        return await asyncio.gather(*(function(*args, **kwargs) for args, kwargs in made))

    return together()


def cache_warm(function: Any, calls: Iterable[Any]) -> Any:
    """Make the calls whose results are not here; how many were made."""
    made = [_arguments(call) for call in calls]
    cold = [call for call in made if not function.cache_contains(*call[0], **call[1])]
    if not _is_async(function):
        for args, kwargs in cold:
            function(*args, **kwargs)
        return len(cold)

    async def together() -> int:
        import asyncio

        await asyncio.gather(*(function(*args, **kwargs) for args, kwargs in cold))
        return len(cold)

    return together()
