"""Values past their life: loading them in another thread, and saying when that fails.

The engine decides who loads and who is served meanwhile (function_fresh.cpp), and the flow what of
that tiers have (flow.py). A load that nobody
waits for has nobody to raise at, so what it raises is logged.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, ref

from millpond.cache import options
from millpond.errors import ConfigurationError, OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor, Future

    from millpond._engine import Function

_NAMES: Final = ("stale_while_revalidate", "stale_if_error")
_log: Final = logging.getLogger("millpond")
# Seconds in which a function's failures are said once: where it fails, each of its calls may.
_SAID_FOR: Final = 60.0

_lock: Final = threading.Lock()
_said: WeakKeyDictionary[Function, float] = WeakKeyDictionary()
_loading: set[tuple[int, bytes]] = set()


def read(given: dict[str, Any], asynchronous: bool) -> tuple[int, int, Callable[..., None] | None]:
    """The options, as the engine takes them.

    Raises:
        ConfigurationError, OptionTypeError: they are outside what is allowed, or do not go with
            the others.
    """
    lives = [0 if given[name] is None else options.life(given[name], name) for name in _NAMES]
    executor = given["executor"]
    if any(lives):
        name = next(name for name in _NAMES if given[name] is not None)
        if given["tti"] is not None:
            raise ConfigurationError(
                f"with_cache: {name}= is for values that end by ttl=; leave out tti="
            )
        if given["ttl"] is None:
            raise ConfigurationError(
                f"with_cache: ttl=None has no end that {name}= could follow; give another ttl="
            )
    if executor is None:
        return lives[0], lives[1], None
    if not callable(getattr(executor, "submit", None)):
        raise OptionTypeError(f"executor={executor!r}: give a concurrent.futures.Executor")
    if not lives[0]:
        raise ConfigurationError(
            "with_cache: executor= loads values that stale_while_revalidate= keeps; give that too"
        )
    if asynchronous:
        raise ConfigurationError(
            "with_cache: executor= is for plain functions; those of async functions are loaded in "
            "tasks"
        )
    return lives[0], lives[1], partial(revalidate, executor)


def revalidate(
    executor: Executor,
    function: Function,
    identity: bytes,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Have the executor load a call, unless it is about to."""
    this = (id(function), identity)
    with _lock:
        if this in _loading:
            return
        _loading.add(this)
    try:
        future = executor.submit(function._revalidate, *args, **kwargs)
    except BaseException:
        _loading.discard(this)
        raise
    future.add_done_callback(partial(_loaded, function, this))


def _loaded(function: Function, this: tuple[int, bytes], future: Future[Any]) -> None:
    _loading.discard(this)
    if not future.cancelled() and (error := future.exception()) is not None:
        report(function, error)


async def guarded(
    load: Awaitable[Any],
    function: Function,
    behind: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """What a load brings, or the value past its life if it fails and that may be served.

    Args:
        load: the function's awaitable, or that of its tiers.
        function: the function.
        behind: whether the caller has a value already.
        args, kwargs: of the call.
    """
    try:
        return await load
    except Exception as error:
        instead = function._stale(*args, **kwargs)
        if behind or instead is not None:
            report(function, error)
        if instead is None:
            raise
        return instead


def reporter(function: Function) -> Callable[[BaseException], None]:
    """`report` for what must not keep the function alive."""
    known = ref(function)

    def report_of_it(error: BaseException) -> None:
        there = known()
        if there is not None:
            report(there, error)

    return report_of_it


def report(function: Function, error: BaseException) -> None:
    """Say that a load failed whose caller got a value all the same."""
    now = time.monotonic()
    with _lock:
        if now - _said.get(function, -_SAID_FOR) < _SAID_FOR:
            return
        _said[function] = now
    name = getattr(function, "__qualname__", repr(function))
    _log.warning("%s: a value past its life is served, since its load failed", name, exc_info=error)
