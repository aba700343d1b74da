"""`Cache`: a bounded mapping of keys to values that live for a while."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, overload

from millpond import _engine
from millpond.cache import batch, options
from millpond.errors import OptionTypeError, UnsupportedError

if TYPE_CHECKING:
    import re
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from millpond.cache._types import Duration, Policy


def _seed() -> int:
    return int.from_bytes(os.urandom(8), "little")


class Cache(_engine.CacheBase):
    """A mapping that keeps itself within bounds, in memory.

    Keys of different types are different keys: `1`, `1.0`, `True` and `"1"` are four. Anything that
    can be an argument of a cached function can be a key. Values are kept by reference.

    Args:
        max_entries: the most entries; 0 stores nothing, None sets no bound.
        max_bytes: the most bytes, weighed deep when a value is stored: an int, or "256MiB".
        policy: who leaves first: "lru", "lfu", "fifo", "sieve" or "s3fifo".
        ttl: how long a value lives: seconds, a timedelta, "10m"; None for no limit.
        tti: how long a value lives unused, from its last hit.
        jitter: shortens each life by a random part of up to this share, 0 to 1.
        weigher: weigher(value) -> bytes, in place of the built-in one.
        on_removal: on_removal(key, value, cause), called after an entry left; the cause is
            "expired", "explicit", "replaced" or "size".
        clock: a `ManualClock` for tests.

    Raises:
        ConfigurationError, OptionTypeError: an option is outside what is allowed.

    Example:
        >>> cache = Cache(max_entries=1000, ttl="10m")
        >>> cache.set("user:1", {"name": "Ada"}, tags=("users",))
        True
        >>> cache.get("user:1")
        {'name': 'Ada'}
        >>> cache.invalidate(tags="users")
        1
    """

    __slots__ = ("_async_loader", "_loader")

    _loader: _engine.Function
    _async_loader: _engine.Function

    def __new__(
        cls,
        *,
        max_entries: int | None = None,
        max_bytes: int | str | None = None,
        policy: Policy = "s3fifo",
        ttl: Duration | None = None,
        tti: Duration | None = None,
        jitter: float = 0.0,
        weigher: Callable[[Any], int] | None = None,
        on_removal: Callable[[Any, Any, str], object] | None = None,
        clock: _engine.ManualClock | None = None,
    ) -> Cache:
        self = super().__new__(
            cls,
            options.count(max_entries, "max_entries"),
            options.size(max_bytes, "max_bytes"),
            options.policy(policy),
            options.life(ttl, "ttl"),
            options.life(tti, "tti"),
            options.share(jitter, "jitter"),
            options.function(weigher, "weigher"),
            options.function(on_removal, "on_removal"),
            clock,
            _seed(),
        )
        self._loader = _make_loader(self, _load, asynchronous=False)
        self._async_loader = _make_loader(self, _load_async, asynchronous=True)
        return self

    def get_or_load(
        self,
        key: Any,
        loader: Callable[[Any], Any],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
        cost: float = 0.0,
    ) -> Any:
        """The live value of `key`, or what `loader(key)` returns, stored.

        Callers that miss at the same time make one load between them: threads and tasks of any
        number of loops. An `async def` loader makes this an awaitable.

        Args:
            key: anything that can be a key.
            loader: loader(key) -> value, plain or async.
            ttl: the life of what is loaded, in place of the cache's own.
            tags: a tag or several to invalidate by.
            cost: dollars of a load.

        Example:
            >>> cache = Cache(max_entries=1000)
            >>> cache.get_or_load("ada", str.upper)
            'ADA'
        """
        given = options.MISSING if ttl is options.UNSET else ttl
        load = self._async_loader if _is_async(loader, "the key") else self._loader
        return load(key, loader, given, options.tags(tags), cost)

    @overload
    def get_or_load_many(
        self,
        keys: Iterable[Any],
        loader: Callable[[list[Any]], Mapping[Any, Any]],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> dict[Any, Any]: ...
    @overload
    def get_or_load_many(
        self,
        keys: Iterable[Any],
        loader: Callable[[list[Any]], Awaitable[Mapping[Any, Any]]],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> Awaitable[dict[Any, Any]]: ...
    def get_or_load_many(
        self,
        keys: Iterable[Any],
        loader: Callable[[list[Any]], Any],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> Any:
        """The live values of keys; one `loader(missing keys)` brings and stores the others.

        A key that another caller is loading is waited for, after the load of the rest. What is
        invalidated or set while the loader runs stays so. An `async def` loader makes this an
        awaitable. Each key that was loaded counts as a load.

        Args:
            keys: hashable keys; one that comes twice is one key.
            loader: loader(keys) -> a mapping of them to values. A key that it leaves out is left
                out of the result and asked for again next time; one too many is not stored.
            ttl: the life of what is loaded, in place of the cache's own.
            tags: a tag or several to invalidate by.

        Example:
            >>> cache = Cache(max_entries=1000)
            >>> cache["ada"] = 3
            >>> cache.get_or_load_many(["ada", "bob"], lambda keys: dict.fromkeys(keys, 0))
            {'ada': 3, 'bob': 0}
        """
        given = options.MISSING if ttl is options.UNSET else ttl
        terms = (given, options.tags(tags), 0.0)
        if not _is_async(loader, "a list of keys"):
            return batch.load_many(self._loader, keys, loader, *terms)
        return batch.load_many_async(self._async_loader, keys, loader, *terms)

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The live values of those keys that have one."""
        found: dict[Any, Any] = {}
        for key in keys:
            value = self.get(key, options.UNSET)
            if value is not options.UNSET:
                found[key] = value
        return found

    def set_many(
        self,
        values: Mapping[Any, Any],
        *,
        ttl: Duration | None = options.UNSET,
        tags: Iterable[str] | str = (),
    ) -> int:
        """Store all values of a mapping; returns how many were kept."""
        given: dict[str, Any] = {"tags": options.tags(tags)}
        if ttl is not options.UNSET:
            given["ttl"] = ttl
        return sum(self.set(key, value, **given) for key, value in values.items())

    def delete_many(self, keys: Iterable[Any]) -> int:
        """Remove keys; returns how many had a live value."""
        return sum(self.delete(key) for key in keys)

    def invalidate(
        self,
        *,
        tags: Iterable[str] | str | None = None,
        prefix: str | None = None,
        glob: str | None = None,
        regex: str | re.Pattern[str] | None = None,
        predicate: Callable[[Any], object] | None = None,
    ) -> int:
        """Remove entries by what they have in common; returns how many were live.

        A load that started before it stores nothing. Give exactly one of:

        Args:
            tags: a tag or several: entries of the whole cache that carry one of them.
            prefix: keys that begin with it.
            glob: keys that match a shell pattern.
            regex: keys that match a regular expression from their start.
            predicate: keys for which predicate(key) is true.

        Raises:
            OptionTypeError: none of them or several were given.
            UnsupportedError: prefix, glob or regex on a cache with keys that are not str.
        """
        given = [way for way in (tags, prefix, glob, regex, predicate) if way is not None]
        if len(given) != 1:
            raise OptionTypeError(
                "invalidate: give exactly one of tags=, prefix=, glob=, regex=, predicate=; "
                "clear() forgets everything"
            )
        if tags is not None:
            return self._invalidate_tags(options.tags(tags))
        if prefix is not None:
            return self._invalidate_prefix(prefix)
        matches = predicate or _matcher(glob, regex)
        return sum(self.delete(key) for key in self._all_keys() if matches(key))

    def dump(self) -> bytes:
        """A snapshot of the live entries whose key and value are both bytes; others are left out.

        Example:
            >>> cache = Cache()
            >>> cache[b"key"] = b"value"
            >>> other = Cache()
            >>> other.restore(cache.dump()), other[b"key"]
            (1, b'value')
        """
        return self._dump(time.time_ns())

    def restore(self, snapshot: bytes) -> int:
        """Store what `dump` wrote; returns how many entries were kept.

        The time since the dump counts against each life.

        Raises:
            SnapshotError: the snapshot is foreign, cut off or damaged; nothing has changed.
            UnsupportedError: it is of a later version.
        """
        return self._restore(snapshot, time.time_ns())

    def stats(self) -> _engine.CacheInfo:
        """Counts of this cache and of all functions that share it."""
        return self._counters()

    def __repr__(self) -> str:
        info = self.stats()
        bound = "" if info.maxsize is None else f" of {info.maxsize}"
        return f"<Cache {info.currsize}{bound} entries, {info.hits} hits, {info.misses} misses>"


_engine.own_methods(Cache)  # Calling an inherited one is slower.


def loaders(cache: Cache) -> tuple[_engine.Function, _engine.Function]:
    """The functions behind `get_or_load` of a cache, for threads and for event loops."""
    # The class is this module's, and its users are not to see them.
    return cache._loader, cache._async_loader  # pyright: ignore[reportPrivateUsage]


_COROUTINE = 0x80  # inspect.CO_COROUTINE


def _load(key: Any, loader: Callable[[Any], Any], *_terms: Any) -> Any:
    return loader(key)


async def _load_async(key: Any, loader: Callable[[Any], Any], *_terms: Any) -> Any:
    return await loader(key)


def _is_async(loader: Any, takes: str) -> bool:
    code = getattr(loader, "__code__", None)
    if code is not None:
        return bool(code.co_flags & _COROUTINE)
    options.loader(loader, takes)
    import inspect

    call = getattr(loader, "__call__", None)  # noqa: B004 (asked of its type)
    return inspect.iscoroutinefunction(loader) or inspect.iscoroutinefunction(call)


def _make_loader(cache: Cache, load: Any, *, asynchronous: bool) -> _engine.Function:
    """The function behind get_or_load: its entries are the cache's own."""
    plan = ((), (), 0, 0, True, True, set[str](), ())
    function = _engine.Function(
        load,
        cache,
        plan,
        None,
        {"asynchronous": asynchronous, "shared": True},
        asynchronous,
        True,
        False,
        False,
        False,
        True,
        options.NO_LIMIT,
        options.NO_LIMIT,
        options.NO_LIMIT,
        0.0,
        0.0,
        -1.0,
        (Exception,),
        None,
        None,
        None,
        True,
        0,
        0,
        None,
    )
    vars(function)["__qualname__"] = "Cache.get_or_load"
    return function


def _matcher(glob: str | None, regex: str | re.Pattern[str] | None) -> Callable[[Any], object]:
    import re

    if glob is not None:
        import fnmatch

        regex = fnmatch.translate(glob)
    pattern = re.compile(regex) if isinstance(regex, str) else regex
    if not isinstance(pattern, re.Pattern):
        raise OptionTypeError(f"regex={regex!r}: give a str or a compiled pattern")

    def matches(key: Any) -> object:
        if not isinstance(key, str):
            raise UnsupportedError(
                f"glob and regex match str keys, and this cache holds a {type(key).__name__}; "
                "use tags= or predicate="
            )
        return pattern.match(key)

    return matches


_default: Cache | None = None


def default_cache() -> Cache:
    """The process's own cache, 256 MiB, made when first asked for."""
    global _default
    if _default is None:
        _default = Cache(max_bytes=256 * 2**20)
    return _default
