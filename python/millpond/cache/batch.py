"""What is behind `Cache.get_or_load_many`: one call of a loader for many keys."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

from millpond._engine import LEFT_OUT, MISSING
from millpond.cache.control import scopes
from millpond.errors import OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from millpond._engine import Function

_numbers: Final = count()  # of batches, never used twice


def load_many(
    function: Function, keys: Iterable[Any], loader: Callable[[list[Any]], Any], *terms: Any
) -> dict[Any, Any]:
    """The values of keys: those that are here, what one load brings, and what others load.

    `function` is the one behind `get_or_load`; `terms` are the ttl, tags and cost of its calls.
    """
    found, others = function._load_many(tuple(dict.fromkeys(keys)), loader, *terms)

    def load_one(key: Any) -> Any:
        # The other's load was interrupted, or waits for this very caller.
        return _value_in(loader([key]), key)

    for key, flight in others:
        value = function._follow(flight, key, load_one, *terms, True)
        if value is not LEFT_OUT:
            found[key] = value
    return found


async def load_many_async(
    function: Function,
    gather: Function,
    keys: Iterable[Any],
    loader: Callable[[list[Any]], Awaitable[Any]],
    *terms: Any,
) -> dict[Any, Any]:
    """The same with an async loader; `gather` runs one load for all that wait for a batch."""
    import asyncio

    wanted = list(dict.fromkeys(keys))
    load = _Batches(gather, loader).load
    values = await asyncio.gather(*(function(key, load, *terms, True) for key in wanted))
    return {key: values[i] for i, key in enumerate(wanted) if values[i] is not LEFT_OUT}


class _Batches:
    """Brings the keys whose loads begin together into one call of the loader.

    Each key has a flight, and the load of each waits for its batch, which has a flight of its own:
    so the engine sees who waits for whom, and a batch is cancelled when nobody needs it any more.
    """

    def __init__(self, gather: Function, loader: Callable[[list[Any]], Awaitable[Any]]) -> None:
        self._gather = gather
        self._loader = loader
        self._open = next(_numbers)
        self._keys: dict[int, list[Any]] = {self._open: []}

    async def load(self, key: Any) -> Any:
        """The load of one key."""
        number = self._open
        self._keys[number].append(key)
        # The scopes are for the calls of the keys, which they have steered already, and for what
        # the loader calls; a batch is no call of anybody's.
        outside = scopes.get()
        scopes.set(None)

        async def run(_number: int) -> Any:
            scopes.set(outside)
            return await self._run(number)

        return _value_in(await self._gather(number, run, MISSING, (), 0.0), key)

    async def _run(self, number: int) -> Any:
        import asyncio

        await asyncio.sleep(0)  # All calls that were made together have begun their loads by then.
        if self._open == number:
            self._open = next(_numbers)
            self._keys[self._open] = []
        return await self._loader(list(self._keys[number]))


def is_batched(loader: Any) -> bool:
    """Whether a loader of one key brings it with the others of its batch."""
    return type(getattr(loader, "__self__", None)) is _Batches


def nothing(_key: Any) -> Any:
    """The loader of a call that only looks."""
    return LEFT_OUT


async def anothing(_key: Any) -> Any:
    """The same in an event loop."""
    return LEFT_OUT


def brings_nothing(loader: Any) -> bool:
    """Whether a call only looks."""
    return loader is nothing or loader is anothing


def _value_in(loaded: Any, key: Any) -> Any:
    if not hasattr(loaded, "keys"):
        raise OptionTypeError(
            f"get_or_load_many: the loader returned a {type(loaded).__name__}; it must return a "
            "mapping of keys to values"
        )
    return loaded[key] if key in loaded else LEFT_OUT  # noqa: SIM401 (get is not asked for)
