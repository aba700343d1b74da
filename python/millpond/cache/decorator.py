"""`with_cache`: remember what a function returned."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, cast

from millpond import _engine
from millpond.cache import options, plan, registry
from millpond.cache.store import Cache
from millpond.errors import ConfigurationError, OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Executor

    from millpond.cache._types import Duration, Policy
    from millpond.cache.registry import Registry

DEFAULT_TTL: Final = 300  # seconds in memory, where nothing else is said
CODECS: Final = ("auto", "tagged", "msgpack", "pickle")
# Attributes by which inspect recognises a function, and a coroutine function, on 3.11 too.
_FACE = ("__code__", "__defaults__", "__kwdefaults__", "__globals__", "__closure__")


def with_cache(
    function: Any = None,
    /,
    *,
    ttl: Duration | None = options.UNSET,
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
    exceptions: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    policy: Policy = options.UNSET,
    cache: Cache | None = None,
    max_entries: int | None = options.UNSET,
    max_bytes: int | str | None = options.UNSET,
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
    codec: str = "auto",
) -> Any:
    """Remember what a function returned, by its arguments.

    Works on functions, async functions, methods, classmethods, staticmethods and any callable. The
    result keeps the signature; calls that miss at the same time make one call between them.

    Args:
        ttl: how long a result lives: seconds, a timedelta, "10m", a profile such as "@user_data";
            None for no limit. Five minutes unless given.
        tti: how long a result lives unused, from its last hit.
        jitter: shortens each life by a random part of up to this share, 0 to 1.
        key: key(*args, **kwargs) -> anything that can be an argument, in place of the arguments.
        ignore: names of parameters that do not count.
        typed: whether 1, 1.0 and True are different arguments.
        ordered: whether the order of a dict counts.
        namespace: a name for what is shared between processes.
        version: another version has other entries.
        tags: templates over argument names, such as "user:{user_id}", to invalidate by.
        condition: condition(result) -> whether to store it.
        cache_none: whether None is stored.
        negative_ttl: stores failures, and None, for so long; None stores no failure.
        exceptions: the failures that `negative_ttl` stores.
        policy: who leaves first when a bound is reached; makes a private cache.
        cache: the Cache to use; the process's own (256 MiB) unless given.
        max_entries: the most results; makes a private cache. 0 stores nothing, None: no bound.
        max_bytes: the most bytes, an int or "64MiB"; makes a private cache.
        weigher: weigher(result) -> bytes; makes a private cache.
        cost: dollars of a call: a number, or cost(result) -> dollars.
        copy: True hands out deep copies, a function makes them; False shares the result.
        shared: on a method, keys `self` by its fields instead of by identity.
        wait_timeout: how long a thread waits for another caller's load, in any process.
        stale_while_revalidate: how long past its life a result is served while one caller makes the
            call anew: of a plain function the first who comes, of an async one a task.
        stale_if_error: how long past its life a result is served if the call raises.
        executor: makes those calls of a plain function, so that no caller has to.
        tiers: names of the tiers to use, such as ("memory", "redis"); in the order in which they
            are asked; all of the Engine's unless given.
        lock: whether processes that share a tier make one load between them.
        codec: how results become bytes for tiers: "auto", "tagged", "msgpack" or "pickle".

    Raises:
        ConfigurationError, OptionTypeError: an option is outside what is allowed.
        KeyingError: when called, an argument cannot be part of a key.
        WaitTimeoutError: when called, another caller's load took longer than `wait_timeout`.

    Example:
        >>> @with_cache(ttl="10m")
        ... def square(x: int) -> int:
        ...     return x * x
        >>> square(4), square(x=4)
        (16, 16)
        >>> square.cache_info()[:2]
        (1, 1)
    """
    given: Any = locals()
    return decorate(function, {name: given[name] for name in _options()}, registry.default)


def _options() -> dict[str, Any]:
    """The options by name, with their defaults."""
    return with_cache.__kwdefaults__ or {}


def filled(given: dict[str, Any]) -> dict[str, Any]:
    """All options of `with_cache`, those that were not given by their defaults."""
    defaults = _options()
    unknown = sorted(given.keys() - defaults)
    if unknown:
        raise OptionTypeError(
            f"with_cache: {', '.join(unknown)}: there is no such option; there are "
            f"{', '.join(defaults)}"
        )
    return {**defaults, **given}


def decorate(function: Any, given: dict[str, Any], home: Registry) -> Any:
    """What `with_cache` does with all of its options; `home` gives the function its tiers."""
    if function is None:

        def decorate_it(decorated: Any) -> Any:
            return _decorate(decorated, given, home)

        return decorate_it
    return _decorate(function, given, home)


def _decorate(function: Any, given: dict[str, Any], home: Registry) -> Any:
    kind = cast("Any", type(function))
    if kind is classmethod:
        return classmethod(_decorate_plain(function.__wrapped__, given, home, per_instance=True))
    if kind is staticmethod:
        return staticmethod(_decorate_plain(function.__wrapped__, given, home))
    return _decorate_plain(function, given, home)


def _decorate_plain(
    function: Any, given: dict[str, Any], home: Registry, *, per_instance: bool = False
) -> Any:
    if not callable(function):
        raise OptionTypeError(
            f"with_cache decorates a function, not {function!r}; options are given by name, "
            'as in @with_cache(ttl="10m")'
        )
    asynchronous = _is_async(function)
    signature = plan.signature_of(function)
    _check_tiers(given)
    cache, private = _cache_for(given, home)
    cost: Any = given["cost"]
    wrapper = _engine.Function(
        function,
        cache,
        plan.describe(signature, given["ignore"], given["tags"], _engine.parse_template),
        options.function(given["key"], "key"),
        _parameters(given, cache, private, asynchronous),
        asynchronous,
        bool(given["typed"]),
        bool(given["ordered"]),
        per_instance and not given["shared"],
        private,
        False,
        options.life(DEFAULT_TTL if given["ttl"] is options.UNSET else given["ttl"], "ttl"),
        options.life(given["tti"], "tti"),
        options.life(given["negative_ttl"], "negative_ttl"),
        options.share(given["jitter"], "jitter"),
        _dollars(cost),
        _seconds(given["wait_timeout"]),
        _classes(given["exceptions"]),
        options.function(given["condition"], "condition"),
        options.function(cost, "cost") if callable(cost) else None,
        _copier(given["copy"]),
        bool(given["cache_none"]),
        *_freshness(given, asynchronous),
    )
    functools.update_wrapper(wrapper, function)
    for name in _FACE:
        if hasattr(function, name):
            setattr(wrapper, name, getattr(function, name))
    home.add(wrapper)
    return wrapper


def _freshness(given: dict[str, Any], asynchronous: bool) -> tuple[int, int, Any]:
    """The options for what is past its life, as the engine takes them."""
    asked = (given["stale_while_revalidate"], given["stale_if_error"], given["executor"])
    if asked == (None, None, None):
        return 0, 0, None
    from millpond.cache import freshness

    return freshness.read(given, asynchronous)


def _check_tiers(given: dict[str, Any]) -> None:
    tiers = given["tiers"]
    if isinstance(tiers, str):
        raise OptionTypeError(f"tiers={tiers!r}: give a tuple of names, such as ({tiers!r},)")
    if tiers is not None and "memory" not in tiers:
        raise ConfigurationError(
            f'tiers={tuple(tiers)!r}: every function keeps its values in memory first; add "memory"'
        )
    codec(given["codec"])


def codec(given: Any) -> str:
    """The name of a codec."""
    if given not in CODECS:
        raise ConfigurationError(f"codec={given!r}: give one of {', '.join(CODECS)}")
    return str(given)


def _is_async(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    if code is None:
        import inspect

        call = getattr(function, "__call__", None)  # noqa: B004 (asked of its type)
        generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    else:
        generates = bool(code.co_flags & (plan.GENERATOR | plan.ASYNC_GENERATOR))
        asynchronous = bool(code.co_flags & plan.COROUTINE)
    if generates:
        raise ConfigurationError(
            f"with_cache: {function!r} is a generator function, and an iterator serves only one "
            "caller; return a list, or cache the function that makes its parts"
        )
    return asynchronous


def checked_cache(given: Any) -> Cache:
    """A Cache, as an option."""
    if not isinstance(given, Cache):
        raise OptionTypeError(f"cache={given!r}: give a millpond.Cache")
    return given


def _cache_for(given: dict[str, Any], home: Registry) -> tuple[Cache, bool]:
    """The cache to use, and whether it is the function's alone."""
    own = {
        name: given[name]
        for name in ("max_entries", "max_bytes", "policy")
        if given[name] is not options.UNSET
    }
    if given["weigher"] is not None:
        own["weigher"] = given["weigher"]
    if given["cache"] is not None:
        if own:
            raise ConfigurationError(
                f"with_cache: cache= brings its own bounds, so leave out {', '.join(own)}"
            )
        return checked_cache(given["cache"]), False
    if not own:
        return home.cache(), False
    if "max_entries" not in own and "max_bytes" not in own:
        own["max_bytes"] = 256 * 2**20
    return Cache(**own), True


def _parameters(
    given: dict[str, Any], cache: Cache, private: bool, asynchronous: bool
) -> dict[str, Any]:
    parameters = {name: value for name, value in given.items() if value is not options.UNSET}
    parameters["ttl_given"] = "ttl" in parameters
    parameters.setdefault("ttl", DEFAULT_TTL)
    parameters["maxsize"] = cache.stats().maxsize if private else None
    parameters["cache"] = cache
    parameters["asynchronous"] = asynchronous
    return parameters


def _dollars(cost: Any) -> float:
    if cost is None or callable(cost):
        return 0.0
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        raise OptionTypeError(f"cost={cost!r}: give dollars, or a function of the result")
    if not 0 <= cost <= 1e15:
        raise ConfigurationError(f"cost={cost}: give a number of dollars from 0 to 1e15")
    return float(cost)


def _seconds(wait_timeout: Duration | None) -> float:
    nanos = options.life(wait_timeout, "wait_timeout")
    return -1.0 if nanos == options.NO_LIMIT else nanos / 1e9


def _classes(exceptions: Any) -> tuple[type[BaseException], ...]:
    several = isinstance(exceptions, tuple)
    classes: list[Any] = [*exceptions] if several else [exceptions]
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise OptionTypeError(f"exceptions={exceptions!r}: give exception classes")
    return tuple(classes)


def _copier(copy: Any) -> Any:
    if copy is False or copy is None:
        return None
    if copy is True:
        from copy import deepcopy

        return deepcopy
    return options.function(copy, "copy")
