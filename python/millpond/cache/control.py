"""Scopes that steer the cached calls inside them: `cache_control`, `observe`, `disabled`.

A scope holds for the code that runs in its context: the block, what it calls, and the tasks it
starts. While none is open anywhere in the process, the hit path does not look for one.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from millpond import _engine
from millpond.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from millpond.cache._types import Duration

_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")


class CallRecord:
    """One call of a cached function, as `observe` saw it.

    Attributes:
        function: the decorated function.
        hit: whether the value came from the cache, in memory or in a tier.
        tier: where it came from, `"memory"` or the name of the tier; None for a miss.
        age: seconds since the value was stored there; None for a miss.
        key: the bytes that name the call; None when caching was disabled.
        reason: why memory missed (`"cold_or_evicted"`, `"expired"`, …); None if it did not.
        coalesced: whether it waited for another caller's load.
    """

    __slots__ = ("age", "coalesced", "function", "hit", "key", "reason", "tier")

    def __init__(
        self,
        function: Any,
        key: bytes | None,
        hit: bool,
        age: float,
        reason: str | None,
        coalesced: bool,
    ) -> None:
        self.function = function
        self.key = key
        self.hit = hit
        self.tier = "memory" if hit else None
        self.age = age if hit else None
        self.reason = reason
        self.coalesced = coalesced

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", "?")
        if self.hit:
            return f"<CallRecord {name} hit in {self.tier}, {self.age:.3f} s old>"
        return f"<CallRecord {name} miss: {self.reason}{', coalesced' if self.coalesced else ''}>"


class _State:
    """What holds in a context; immutable, and read by the engine attribute by attribute."""

    __slots__ = ("disabled", "max_age", "no_cache", "no_store", "observers", "refresh", "ttl")

    def __init__(self) -> None:
        self.disabled = False
        self.no_cache = False
        self.no_store = False
        self.refresh = False
        self.ttl: int | None = None
        self.max_age: int | None = None
        self.observers: tuple[list[CallRecord], ...] = ()

    def changed(self, changes: dict[str, Any]) -> _State:
        state = _State()
        for name in _State.__slots__:
            setattr(state, name, changes.get(name, getattr(self, name)))
        return state


scopes: ContextVar[_State | None] = ContextVar("millpond.cache.control", default=None)


def _record(observers: tuple[list[CallRecord], ...], *call: Any) -> CallRecord:
    record = CallRecord(*call)
    for observer in observers:
        observer.append(record)
    return record


def _landed(records: list[CallRecord], tier: str, age: float) -> None:
    """The misses of memory were hits of a tier."""
    for record in records:
        record.hit, record.tier, record.age = True, tier, max(age, 0.0)


class Scope:
    """A block in which cached calls are steered; use it with `with`. It can be entered again."""

    __slots__ = ("_calls", "_changes", "_tokens")

    def __init__(self, changes: dict[str, Any], calls: list[CallRecord] | None = None) -> None:
        self._changes = changes
        self._calls = calls
        self._tokens: list[Token[_State | None]] = []

    def __enter__(self) -> list[CallRecord]:
        state = (scopes.get() or _State()).changed(self._changes)
        calls: list[CallRecord] = []
        if self._calls is not None:
            calls = self._calls
            state.observers = (*state.observers, calls)
        self._tokens.append(scopes.set(state))
        _engine.open_scope()
        return calls

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _engine.close_scope()
        scopes.reset(self._tokens.pop())


def cache_control(
    *,
    no_cache: bool = False,
    no_store: bool = False,
    refresh: bool = False,
    ttl: Duration | None = None,
    max_age: Duration | None = None,
) -> Scope:
    """Steer the cached calls of a block.

    Args:
        no_cache: take no stored value and join no load; what is loaded is stored.
        no_store: store nothing that is loaded.
        refresh: load and replace, as `no_cache` does; both count as misses of reason `bypass`.
        ttl: the life of what is stored, in place of the function's own.
        max_age: take no value that was stored longer ago; 0 takes none. Such a miss has the
            reason `stale`.

    Raises:
        ConfigurationError: a duration is not one.

    Example:
        >>> import millpond as mp
        >>> @mp.with_cache
        ... def double(x): return 2 * x
        >>> with mp.cache_control(refresh=True):
        ...     double(4)
        8
    """
    changes: dict[str, Any] = {}
    for name, wanted in (("no_cache", no_cache), ("no_store", no_store), ("refresh", refresh)):
        if wanted:
            changes[name] = True
    for name, life in (("ttl", ttl), ("max_age", max_age)):
        if name == "max_age" and life == 0:
            changes[name] = 0
        elif life is not None:
            changes[name] = _engine.life_nanos(life, name)
    return Scope(changes)


def observe() -> Scope:
    """Record the cached calls of a block.

    Example:
        >>> import millpond as mp
        >>> @mp.with_cache
        ... def double(x): return 2 * x
        >>> with mp.observe() as calls:
        ...     double(1), double(1)
        (2, 2)
        >>> [call.hit for call in calls]
        [False, True]
    """
    return Scope({}, [])


def disabled() -> Scope:
    """Call the plain functions inside a block: nothing is looked up and nothing stored.

    `MILLPOND_DISABLED=1` in the environment does the same for the whole process.

    Example:
        >>> import millpond as mp
        >>> @mp.with_cache
        ... def double(x): return 2 * x
        >>> with mp.disabled():
        ...     double(4), double.cache_info().hits
        (8, 0)
    """
    return Scope({"disabled": True})


def _start() -> ContextVar[_State | None]:
    """The context variable, disabled from the start where the environment says so."""
    asked = os.environ.get("MILLPOND_DISABLED", "").strip().lower()
    if asked not in _YES + _NO:
        raise ConfigurationError(
            f"MILLPOND_DISABLED={asked!r}: give one of {', '.join(_YES)} or {', '.join(_NO[1:])}"
        )
    if asked in _NO:
        return scopes
    _engine.open_scope()
    off = _State().changed({"disabled": True})
    return ContextVar("millpond.cache.control", default=off)


scopes = _start()
_engine.set_scopes(scopes, _record, _landed)
