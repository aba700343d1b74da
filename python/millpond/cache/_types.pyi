"""What `with_cache` returns, as type checkers see it.

Import it under `if TYPE_CHECKING:` only; at run time there is nothing here. The wrappers keep the
parameters of the function (ParamSpec) and its result, and lose `self` or `cls` when they are read
from an instance or a class, as functions do.
"""

from collections.abc import Callable, Collection, Coroutine, Iterable
from concurrent.futures import Executor
from datetime import timedelta
from typing import (
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
    type_check_only,
)

from millpond._engine import CacheInfo as CacheInfo
from millpond.cache.store import Cache

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_S = TypeVar("_S")
_S_contra = TypeVar("_S_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)

# Seconds, a timedelta, text such as "1h30m", or the name of a profile such as "@user_data".
Duration: TypeAlias = float | timedelta | str
# The coroutine of a call: what `async def` makes, and what asyncio.create_task takes.
Call: TypeAlias = Coroutine[Any, Any, _R]
# How values become bytes for tiers.
Codec: TypeAlias = Literal["auto", "tagged", "msgpack", "pickle"]
Policy: TypeAlias = Literal["lru", "lfu", "fifo", "sieve", "s3fifo"]

@type_check_only
class _Wrapper(Generic[_P]):
    """What the wrappers of plain and of async functions share."""

    __name__: str
    __qualname__: str
    __module__: str
    __doc__: str | None

    def cache_info(self) -> CacheInfo:
        """Counts of this function: hits, misses and what they are made of."""

    def cache_clear(self) -> None:
        """Forget every result of this function. O(1)."""

    def cache_parameters(self) -> dict[str, Any]:
        """The options in force; at least functools' `maxsize` and `typed`."""

    def cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> bytes:
        """The key under which a call with these arguments is stored."""

    def cache_contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Is the result of this call in the cache? Counts neither hit nor miss."""

    def cache_invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Forget the result of this call; True if there was one."""

    async def cache_ainvalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """`cache_invalidate` for an event loop, which waits for no tier."""

    async def cache_aclear(self) -> None:
        """`cache_clear` for an event loop, which waits for no tier."""

# What __get__ binds is decided by these two protocols and not by Concatenate, which mypy does not
# compare when it chooses an overload for an attribute. Both checkers apply the decorator below
# `@classmethod` and `@staticmethod`, so the wrapper itself has to tell the three kinds of method
# apart: by a first parameter that is a class, one that takes the instance, or neither.
@type_check_only
class _TakesInstance(Protocol[_S_contra, _Q, _R_co]):
    """A function whose first parameter is bound when it is read from an instance."""

    def __call__(self, instance: _S_contra, /, *args: _Q.args, **kwargs: _Q.kwargs) -> _R_co: ...

@type_check_only
class _TakesClass(Protocol[_S_contra, _Q, _R_co]):
    """What `with_cache` is given above `@classmethod`: the first parameter is a class."""

    def __call__(self, cls: type[_S_contra], /, *args: _Q.args, **kwargs: _Q.kwargs) -> _R_co: ...

@type_check_only
class CachedFunction(_Wrapper[_P], Generic[_P, _R]):
    """A function behind `with_cache`."""

    @property
    def __wrapped__(self) -> Callable[_P, _R]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    @overload
    def __get__(
        self: _TakesClass[_S, _Q, _R], instance: object, owner: type[_S], /
    ) -> CachedFunction[_Q, _R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: _TakesInstance[_S, _Q, _R], instance: _S, owner: type | None = None, /
    ) -> CachedFunction[_Q, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Self: ...
    def cache_refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function now and store what it returns."""

    def cache_bypass(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function as if it were not cached; nothing is stored."""

    def cache_set(self, value: _R, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Store `value` as the result of this call."""

    async def cache_aset(self, value: _R, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """`cache_set` for an event loop, which waits for no tier."""

    def cache_many(self, calls: Iterable[Any], /) -> list[_R]:
        """The results of many calls, in order; only those that miss are made."""

    def cache_warm(self, calls: Iterable[Any], /) -> int:
        """Make those of many calls that are not cached; returns how many were made."""

@type_check_only
class CachedAsyncFunction(_Wrapper[_P], Generic[_P, _R]):
    """An `async def` function behind `with_cache`; `_R` is what awaiting a call gives."""

    @property
    def __wrapped__(self) -> Callable[_P, Call[_R]]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Call[_R]: ...
    @overload
    def __get__(
        self: _TakesClass[_S, _Q, Call[_R]], instance: object, owner: type[_S], /
    ) -> CachedAsyncFunction[_Q, _R]: ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: _TakesInstance[_S, _Q, Call[_R]], instance: _S, owner: type | None = None, /
    ) -> CachedAsyncFunction[_Q, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Self: ...
    def cache_refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> Call[_R]:
        """Call the function now and store what it returns."""

    def cache_bypass(self, *args: _P.args, **kwargs: _P.kwargs) -> Call[_R]:
        """Call the function as if it were not cached; nothing is stored."""

    def cache_set(self, value: _R, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Store `value` as the result of this call."""

    async def cache_aset(self, value: _R, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """`cache_set` for an event loop, which waits for no tier."""

    def cache_many(self, calls: Iterable[Any], /) -> Call[list[_R]]:
        """The results of many calls, in order; only those that miss are made."""

    def cache_warm(self, calls: Iterable[Any], /) -> Call[int]:
        """Make those of many calls that are not cached; returns how many were made."""

@type_check_only
class CacheDecorator(Protocol):
    """`with_cache(ttl=…)`: takes what the bare `with_cache` takes."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Call[_R]], /
    ) -> CachedAsyncFunction[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...

@type_check_only
class WithCache(Protocol):
    """`with_cache`, of the module and of an Engine."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Call[_R]], /
    ) -> CachedAsyncFunction[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> CachedFunction[_P, _R]: ...
    @overload
    def __call__(
        self,
        *,
        ttl: Duration | None = ...,
        tti: Duration | None = None,
        jitter: float = 0.0,
        key: Callable[..., Any] | None = None,
        ignore: Collection[str] = (),
        typed: bool = True,
        ordered: bool = False,
        namespace: str | None = None,
        version: str | int = 1,
        tags: Collection[str] = (),
        condition: Callable[[Any], object] | None = None,
        cache_none: bool = True,
        negative_ttl: Duration | None = None,
        exceptions: type[BaseException] | tuple[type[BaseException], ...] = ...,
        policy: Policy = ...,
        cache: Cache | None = None,
        max_entries: int | None = ...,
        max_bytes: int | str | None = ...,
        weigher: Callable[[Any], int] | None = None,
        cost: float | Callable[[Any], float] | None = None,
        copy: bool | Callable[[Any], Any] = False,
        shared: bool = False,
        wait_timeout: Duration | None = None,
        stale_while_revalidate: Duration | None = None,
        stale_if_error: Duration | None = None,
        executor: Executor | None = None,
        tiers: Collection[str] | None = None,
        lock: bool = True,
        codec: Codec = "auto",
    ) -> CacheDecorator: ...

with_cache: WithCache
