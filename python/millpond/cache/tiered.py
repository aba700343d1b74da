"""`TieredCache`: a mapping of keys to values that is kept in memory and in tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from millpond import _engine
from millpond.cache import batch, options
from millpond.cache.fills import Item
from millpond.cache.flow import Flow
from millpond.cache.invalidation import spread
from millpond.cache.looks import Look
from millpond.cache.stage import Budget
from millpond.cache.steps import adrive, drive
from millpond.cache.store import loaders
from millpond.errors import TierError
from millpond.tiers.amounts import whole_amount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from millpond.cache._types import Duration
    from millpond.cache.coherence import Holdings
    from millpond.cache.invalidation import Outcome
    from millpond.cache.listening import Listening
    from millpond.cache.names import Name
    from millpond.cache.rules import Rules
    from millpond.cache.stage import Stage
    from millpond.cache.steps import Steps
    from millpond.cache.store import Cache
    from millpond.io.codecs import Codec

_NO_TERMS: Final = (options.MISSING, (), 0.0)


@final
class TieredCache:
    """What `Engine.cache` gives: a cache by name, the same for every process that names it.

    Each method exists twice: `get` for threads, `aget` for event loops. Keys are anything that has
    the same meaning in every process; what holds for values holds for those of cached functions.

    Example:
        >>> from millpond import Engine
        >>> with Engine(database=False) as mill:
        ...     users = mill.cache("users", ttl="10m")
        ...     users.set(7, {"name": "Ada"}, tags="users")
        ...     users.get(7)
        {'name': 'Ada'}
    """

    __slots__ = ("_aload", "_async_flow", "_flow", "_load", "_memory", "_name", "_stages")

    def __init__(
        self,
        name: Name,
        memory: Cache,
        *,
        stages: Sequence[Stage],
        codec: Codec,
        rules: Rules,
        budget: float,
        listening: Listening,
        lock: bool = True,
    ) -> None:
        self._name = name
        self._memory = memory
        self._stages = tuple(stages)
        self._flow, self._async_flow = (
            Flow(
                name,
                load,
                stages=stages,
                codec=codec,
                rules=rules,
                budget=budget,
                listening=listening,
                mapping=True,
                lock=lock,
            )
            for load in (_load, _aload)
        )
        self._load, self._aload = loaders(memory)
        self._load._set_flow(self._flow.load, name.prefix, self._flow.first())
        self._aload._set_flow(self._async_flow.aload, name.prefix, None)

    def hold(self, holdings: Holdings) -> None:
        """Have what memory keeps of it dropped when others change it."""
        holdings.add(self._load, self._flow, self._memory)

    # ---- One key

    def get(self, key: Any, default: Any = None) -> Any:
        """The live value of `key`, from memory or the first tier that has it."""
        value = self._load(key, batch.nothing, *_NO_TERMS, True)
        return default if value is _engine.LEFT_OUT else value

    async def aget(self, key: Any, default: Any = None) -> Any:
        """The same in an event loop."""
        value = await self._aload(key, batch.anothing, *_NO_TERMS, True)
        return default if value is _engine.LEFT_OUT else value

    def get_or_load(
        self,
        key: Any,
        loader: Callable[[Any], Any],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
        cost: float = 0.0,
    ) -> Any:
        """The live value of `key`, or what `loader(key)` returns, stored everywhere.

        An `async def` loader makes this an awaitable.
        """
        return self._memory.get_or_load(key, loader, ttl=ttl, tags=tags, cost=cost)

    def set(
        self,
        key: Any,
        value: Any,
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> None:
        """Store a value everywhere; what other processes hold under the key is old from now on."""
        drive(self._writing({key: value}, ttl, tags))

    async def aset(
        self,
        key: Any,
        value: Any,
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> None:
        """The same in an event loop."""
        await adrive(self._writing({key: value}, ttl, tags))

    def delete(self, key: Any) -> Outcome:
        """Remove a key everywhere."""
        return self.delete_many((key,))

    async def adelete(self, key: Any) -> Outcome:
        """The same in an event loop."""
        return await self.adelete_many((key,))

    def incr(self, key: Any, amount: int = 1, *, ttl: Duration | None = None) -> int:
        """Add to a counter and return its sum, which the slowest tier keeps; 0 reads it.

        Counters are apart from values. `ttl` (None: for ever) counts from the first `incr`.

        Raises:
            TierError: that tier is out or did not answer.
            LimitError: the sum does not fit in 64 bits.
            OptionTypeError: `amount` is no whole number.
        """
        amount = whole_amount(amount)
        if not self._stages:
            return self._memory.incr(("counter", key), amount, ttl=ttl)
        return int(drive(self._counting(key, amount, ttl)))

    async def aincr(self, key: Any, amount: int = 1, *, ttl: Duration | None = None) -> int:
        """The same in an event loop."""
        amount = whole_amount(amount)
        if not self._stages:
            return self._memory.incr(("counter", key), amount, ttl=ttl)
        return int(await adrive(self._counting(key, amount, ttl)))

    def decr(self, key: Any, amount: int = 1, *, ttl: Duration | None = None) -> int:
        """Take from a counter; the rest is as for `incr`."""
        return self.incr(key, -whole_amount(amount), ttl=ttl)

    async def adecr(self, key: Any, amount: int = 1, *, ttl: Duration | None = None) -> int:
        """The same in an event loop."""
        return await self.aincr(key, -whole_amount(amount), ttl=ttl)

    # ---- Many keys

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The live values of those keys that have one; one round trip a tier for all of them."""
        return self.get_or_load_many(keys, None)

    async def aget_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The same in an event loop."""
        return await self.aget_or_load_many(keys, None)

    def get_or_load_many(
        self,
        keys: Iterable[Any],
        loader: Callable[[list[Any]], Mapping[Any, Any]] | None,
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> dict[Any, Any]:
        """The live values of keys; one `loader(missing keys)` brings and stores the others.

        Args:
            keys: hashable keys; one that comes twice is one key.
            loader: loader(keys) -> a mapping of them to values; what it leaves out is left out of
                the result. None loads nothing.
            ttl: the life of what is loaded.
            tags: a tag or several to invalidate by.
        """
        terms = self._terms(ttl, tags)
        bring = self._bring(loader, *terms)
        return batch.load_many(self._load, keys, bring, options.MISSING, terms[0], 0.0)

    async def aget_or_load_many(
        self,
        keys: Iterable[Any],
        loader: Callable[[list[Any]], Awaitable[Mapping[Any, Any]]] | None,
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> dict[Any, Any]:
        """The same in an event loop."""
        terms = self._terms(ttl, tags)
        bring = self._abring(loader, *terms)
        return await batch.load_many_async(self._aload, keys, bring, options.MISSING, terms[0], 0.0)

    def set_many(
        self,
        values: Mapping[Any, Any],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> None:
        """Store all values of a mapping, one round trip a tier."""
        drive(self._writing(values, ttl, tags))

    async def aset_many(
        self,
        values: Mapping[Any, Any],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> None:
        """The same in an event loop."""
        await adrive(self._writing(values, ttl, tags))

    def delete_many(self, keys: Iterable[Any]) -> Outcome:
        """Remove keys everywhere."""
        outcome: Outcome = drive(self._deleting(keys))
        return outcome

    async def adelete_many(self, keys: Iterable[Any]) -> Outcome:
        """The same in an event loop."""
        outcome: Outcome = await adrive(self._deleting(keys))
        return outcome

    # ---- All of it

    def clear(self) -> Outcome:
        """Forget every value, everywhere; counters stay. O(1)."""
        outcome: Outcome = drive(self._clearing())
        return outcome

    async def aclear(self) -> Outcome:
        """The same in an event loop."""
        outcome: Outcome = await adrive(self._clearing())
        return outcome

    def stats(self) -> _engine.CacheInfo:
        """Counts of this process's calls."""
        return self._memory.stats()

    def __repr__(self) -> str:
        tiers = ", ".join(["memory", *(stage.tier.name for stage in self._stages)])
        return f"<TieredCache {self._name.prefix.rstrip(':')}: {tiers}>"

    # ---- The steps

    def _key(self, key: Any, tags: Any = ()) -> tuple[str, tuple[str, ...]]:
        call: tuple[str, tuple[str, ...]] = self._load._shared_call(key, None, None, tags, 0.0)
        return call

    def _named(self, keys: list[Any], names: list[str] | None = None) -> dict[str, Any]:
        """Keys by what they are called in the tiers."""
        known = names or [self._key(key)[0] for key in keys]
        return dict(zip(known, keys, strict=True))

    def _terms(self, ttl: Any, tags: Any) -> tuple[tuple[str, ...], Rules]:
        texts = options.tags(tags)
        every = (texts,) if isinstance(texts, str) else texts
        return every, self._flow.rules.for_call(ttl, 0.0)

    def _bring(self, loader: Any, tags: tuple[str, ...], rules: Rules) -> Callable[[Any], Any]:
        """The loader of a batch: the tiers first."""

        def bring(keys: list[Any], names: list[str] | None = None) -> Any:
            calls = self._named(keys, names)
            return drive(self._flow.many(calls, self._key(None, tags)[1], rules, loader))

        return bring

    def _abring(self, loader: Any, tags: tuple[str, ...], rules: Rules) -> Callable[[Any], Any]:
        """The same in an event loop."""

        async def bring(keys: list[Any], names: list[str] | None = None) -> Any:
            calls = self._named(keys, names)
            return await adrive(self._flow.many(calls, self._key(None, tags)[1], rules, loader))

        return bring

    def _writing(self, values: Mapping[Any, Any], ttl: Any, tags: Any) -> Steps:
        every, rules = self._terms(ttl, tags)
        named = {self._key(key, every)[0]: key for key in values}
        generations = [*self._name.generations, *self._key(None, every)[1]]
        budget = Budget(self._flow.budget)
        items = [
            Item(name, values[key], rules.life(values[key]), 0.0) for name, key in named.items()
        ]
        yield from self._flow.listen()
        cap = self._flow.cap()
        with self._flow.writes.setting(named, generations) as write:
            looks: list[Look] = []
            for stage in self._stages:
                look = yield from self._flow.looks.stamps(stage, generations, budget)
                if look is None:
                    stage.owe("delete", [*named])
                else:
                    looks.append(look)
            yield from self._flow.fills.store(looks, items, budget, write=True)
            for name, value, life, *_ in items:
                kept = _engine.memory_life(life, rules.memory_ttl, self._flow.monitors)
                kept = _engine.memory_life(kept, cap, ())
                self._memory.set(named[name], value, ttl=kept, tags=(*every, name))
                if not write.keeps(name):
                    self._memory.delete(named[name])

    def _deleting(self, keys: Iterable[Any]) -> Steps:
        wanted = list(keys)

        def here() -> int:
            return self._memory.delete_many(wanted)

        names = [self._key(key)[0] for key in wanted]
        return (yield from spread(self._stages, "delete", names, here))

    def _clearing(self) -> Steps:
        def here() -> int:
            removed = len(self._memory)
            self._memory.clear()
            return removed

        return (yield from spread(self._stages, "bump", [self._name.generations[1]], here))

    def _counting(self, key: Any, amount: int, ttl: Any) -> Steps:
        nanos = options.life(ttl, "ttl")
        seconds = None if nanos == options.NO_LIMIT else nanos / 1e9
        stage = self._stages[-1]
        budget = Budget(stage.tier.timeout)
        total = yield stage, "incr", (budget, f"{self._key(key)[0]}~n", amount, seconds)
        if total is None:
            raise TierError(
                f"incr: {stage.tier.name}, which keeps the counters, is out; nothing was counted",
                tier=stage.tier.name,
            )
        return total


def _load(key: Any, loader: Callable[[Any], Any], *_terms: Any) -> Any:
    return loader(key)


async def _aload(key: Any, loader: Callable[[Any], Any], *_terms: Any) -> Any:
    return await loader(key)
