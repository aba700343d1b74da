"""What is behind `Cache.get_or_load_many`: one call of a loader for many keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from millpond._engine import LEFT_OUT
from millpond.errors import OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from millpond._engine import Function


def load_many(
    function: Function, keys: Iterable[Any], loader: Callable[[list[Any]], Any], *terms: Any
) -> dict[Any, Any]:
    """The values of keys: those that are here, what one load brings, and what others load.

    `function` is the one behind `get_or_load`; `terms` are the ttl, tags and cost of its calls.
    """
    found, others = function._load_many(tuple(dict.fromkeys(keys)), loader, *terms)

    load_one = _One(loader).load
    for key, flight in others:
        value = function._follow(flight, key, load_one, *terms, True)
        if value is not LEFT_OUT:
            found[key] = value
    return found


async def load_many_async(
    function: Function,
    keys: Iterable[Any],
    loader: Callable[..., Awaitable[Any]],
    *terms: Any,
) -> dict[Any, Any]:
    """The same with an async loader, which one task runs for all who want any of its keys."""
    batch = function._begin_many(tuple(dict.fromkeys(keys)), *terms)
    missing, names = batch.missing, batch.names

    async def bring() -> None:
        # A loader that asks tiers is told what the keys are called there.
        batch.end(await (loader(missing, names) if names else loader(missing)))

    if missing:
        await batch.run(bring)
    found = batch.found
    load_one = _One(loader).aload
    for key, flight in batch.waiting:
        value = await function._await(flight, key, load_one, *terms, True)
        if value is not LEFT_OUT:
            found[key] = value
    return found


@final
class _One:
    """Brings one key by the loader of a batch: for who has waited for another's load, which was
    interrupted, or which waits for this very caller."""

    def __init__(self, loader: Callable[[list[Any]], Any]) -> None:
        self._loader = loader

    def load(self, key: Any) -> Any:
        return _value_in(self._loader([key]), key)

    async def aload(self, key: Any) -> Any:
        """The same in an event loop."""
        return _value_in(await self._loader([key]), key)


def is_batched(loader: Any) -> bool:
    """Whether a loader of one key is one of a batch, which asks the tiers itself."""
    return type(getattr(loader, "__self__", None)) is _One


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
