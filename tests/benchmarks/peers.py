"""How each contender is made: the decorator of millpond and of its peers, and their plain caches.

Every peer is set up as its documentation shows for the same job, with the cheapest of its options
that still does the job (cachebox without its copying of results, a TTL where it has one). A peer
that is not installed is left out of the table with the reason.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .model import Unavailable

TTL_SECONDS = 600
PEERS = (
    "cachetools",
    "cachebox",
    "moka-py",
    "theine",
    "async-lru",
    "aiocache",
    "cashews",
    "orjson",
    "msgspec",
)

# Turns a function into a cached one that holds so many entries.
Decorate = Callable[[Callable[..., Any], int], Callable[..., Any]]


def need(module: str) -> Any:
    """Import a peer's module, or say that it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(f"{module} cannot be imported: {error}") from error


def need_millpond(*names: str) -> Any:
    """Import millpond and check that it has the dotted `names`, or say what is missing."""
    millpond = need("millpond")
    for name in names:
        part = millpond
        for attribute in name.split("."):
            part = getattr(part, attribute, None)
        if part is None:
            raise Unavailable(f"this build of millpond has no {name}")
    return millpond


def versions() -> dict[str, str]:
    """Return the version of millpond and of each peer, "not installed" where it is missing."""
    found = {}
    for name in ("millpond", *PEERS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def millpond(policy: str | None = None) -> Decorate:
    """`with_cache` with a TTL and statistics, the default policy or a named one."""

    def decorate(function: Callable[..., Any], size: int) -> Callable[..., Any]:
        mp = need_millpond("with_cache")
        options = {"policy": policy} if policy else {}
        decorated: Callable[..., Any] = mp.with_cache(ttl="10m", max_entries=size, **options)(
            function
        )
        return decorated

    return decorate


def lru_cache(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    return functools.lru_cache(maxsize=size)(function)


def cachebox(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    module = need("cachebox")
    cache = module.TTLCache(size, global_ttl=TTL_SECONDS)
    decorated: Callable[..., Any] = module.cached(cache, postprocess=None)(function)
    return decorated


def cachebox_lru(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    module = need("cachebox")
    decorated: Callable[..., Any] = module.cached(module.LRUCache(size), postprocess=None)(function)
    return decorated


def moka(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    module = need("moka_py")
    decorated: Callable[..., Any] = module.cached(maxsize=size, ttl=TTL_SECONDS)(function)
    return decorated


def theine(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    module = need("theine")
    decorated: Callable[..., Any] = module.Memoize(size, timedelta(seconds=TTL_SECONDS))(function)
    return decorated


def cachetools(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    module = need("cachetools")
    cache = module.TTLCache(size, TTL_SECONDS)
    decorated: Callable[..., Any] = module.cached(cache, lock=threading.Lock())(function)
    return decorated


# Name in the table -> (distribution, decorator), in the order of the columns.
DECORATORS: dict[str, tuple[str, Decorate]] = {
    "millpond": ("millpond", millpond()),
    "millpond lru": ("millpond", millpond("lru")),
    "lru_cache": ("", lru_cache),
    "cachebox lru": ("cachebox", cachebox_lru),
    "cachebox ttl": ("cachebox", cachebox),
    "moka-py": ("moka-py", moka),
    "cachetools+lock": ("cachetools", cachetools),
    "theine": ("theine", theine),
}
