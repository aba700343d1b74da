"""What `await f(x)` costs: a hit and a miss, beside awaiting a coroutine that caches nothing."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from .. import inputs, peers
from ..loops import AsyncTimedLoop, Inputs, new_event_loop
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

SIZE = 1_000


Load = Callable[[Any], Awaitable[Any]]
# Makes an awaitable function from the one that loads, with a cache of so many entries.
Make = Callable[[Load, int], Callable[..., Any]]


def millpond(policy: str | None = None) -> Make:
    return peers.millpond(policy)


def plain(load: Load, size: int) -> Callable[..., Any]:
    async def coroutine(x: Any) -> Any:
        return x

    return coroutine


def with_dict(load: Load, size: int) -> Callable[..., Any]:
    """The least that a cache written by hand would do: a coroutine that looks into a dict."""
    table: dict[Any, Any] = {}

    async def coroutine(x: Any) -> Any:
        try:
            return table[x]
        except KeyError:
            if len(table) >= size:
                del table[next(iter(table))]
            table[x] = value = await load(x)
            return value

    return coroutine


def async_lru(load: Load, size: int) -> Callable[..., Any]:
    module = peers.need("async_lru")
    decorated: Callable[..., Any] = module.alru_cache(maxsize=size, ttl=peers.TTL_SECONDS)(load)
    return decorated


def aiocache(load: Load, size: int) -> Callable[..., Any]:
    module = peers.need("aiocache")
    decorated: Callable[..., Any] = module.cached(ttl=peers.TTL_SECONDS)(load)
    return decorated


def cashews(load: Load, size: int) -> Callable[..., Any]:
    module = peers.need("cashews")
    cache = module.Cache()
    cache.setup(f"mem://?size={size}")
    decorated: Callable[..., Any] = cache(ttl=peers.TTL_SECONDS, key="load:{x}")(load)
    return decorated


CONTENDERS: dict[str, tuple[str, Make]] = {
    "millpond": ("millpond", millpond()),
    "millpond lru": ("millpond", millpond("lru")),
    "plain coroutine": ("", plain),
    "coroutine+dict": ("", with_dict),
    "async-lru": ("async-lru", async_lru),
    "moka-py": ("moka-py", peers.moka),
    "cachebox ttl": ("cachebox", peers.cachebox),
    "aiocache": ("aiocache", aiocache),
    "cashews": ("cashews", cashews),
}


async def _missed(f: Callable[..., Any], keys: list[Any], calls: list[int]) -> int:
    """Fill the cache, ask for each key once more, and return how many of those were misses."""
    for key in keys:
        await f(key)
    before = calls[0]
    for key in keys:
        await f(key)
    return calls[0] - before


def _contender(name: str, how: tuple[str, Make], keys: list[Any], sequence: Any) -> Contender:
    """`sequence` makes the inputs, so that a row of misses gives each contender its own."""
    peer, make = how

    def prepare(context: Context) -> Sampler:
        event_loop = new_event_loop(context)
        calls = [0]

        async def counted(x: Any) -> Any:
            calls[0] += 1
            return x

        f = make(counted, SIZE)
        missed = event_loop.run_until_complete(_missed(f, keys, calls))
        if missed > len(keys) // 100:
            raise Unavailable(f"misses {missed} of {len(keys)} keys that it should hold")
        made: Inputs = sequence()
        return AsyncTimedLoop(context, event_loop, "await f(x)", {"f": f}, made)

    return Contender(name, prepare, peer)


def _row(name: str, title: str, keys: list[Any], sequence: Any, targets: tuple[Target, ...]) -> Row:
    return Row(
        name=name,
        title=title,
        contenders=tuple(_contender(who, how, keys, sequence) for who, how in CONTENDERS.items()),
        baseline="plain coroutine",
        targets=targets,
    )


def rows() -> list[Row]:
    keys = inputs.universe("str", SIZE)
    one = keys[:1] * inputs.DRAWS
    drawn = inputs.zipf(keys)
    # From 3.13 on a coroutine got cheaper and an awaitable that is none did not, see the design.
    limit = 1.0 if sys.version_info >= (3, 13) else 0.9
    targets = tuple(
        Target(limit, of="plain coroutine", whose=whose) for whose in ("millpond", "millpond lru")
    )
    return [
        _row("await/one", "`await f(x)`, a hit, one str key", keys, lambda: one, targets),
        _row("await/zipf", "the same, Zipf over 1,000 str keys", keys, lambda: drawn, targets),
        _row(
            "await/miss",
            "`await f(x)`, every call a new key, full cache of 1,000",
            keys,
            lambda: inputs.new_keys("str"),
            (),
        ),
    ]
