"""What the plain cache costs: `get` of a key that is there, `set` of an old and of a new one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import inputs, peers
from ..loops import Inputs, TimedLoop
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

SIZE = 1_000


@dataclass(frozen=True)
class Store:
    """A plain cache and the statements that its users write."""

    cache: Any
    get: str = "cache.get(x)"
    set: str = "cache.set(x, x)"
    # What `get` gives for a key that is there.
    hit: Callable[[Any], Any] = lambda key: key
    names: dict[str, Any] = field(default_factory=dict)


# Makes a cache of so many entries.
Make = Callable[[int], Store]


def millpond(policy: str | None = None) -> Make:
    def make(size: int) -> Store:
        mp = peers.need_millpond("Cache")
        options = {"policy": policy} if policy else {}
        return Store(mp.Cache(max_entries=size, ttl="10m", **options))

    return make


def cachebox_lru(size: int) -> Store:
    return Store(peers.need("cachebox").LRUCache(size), set="cache[x] = x")


def cachebox_ttl(size: int) -> Store:
    cache = peers.need("cachebox").TTLCache(size, global_ttl=peers.TTL_SECONDS)
    return Store(cache, set="cache[x] = x")


def moka(size: int) -> Store:
    return Store(peers.need("moka_py").Moka(size, ttl=peers.TTL_SECONDS))


def theine(size: int) -> Store:
    return Store(peers.need("theine").Cache(size), hit=lambda key: (key, True))


def cachetools(size: int) -> Store:
    cache = peers.need("cachetools").TTLCache(size, peers.TTL_SECONDS)
    lock = threading.Lock()
    return Store(
        cache,
        get="with lock:\n    cache.get(x)",
        set="with lock:\n    cache[x] = x",
        names={"lock": lock},
    )


def plain_dict(size: int) -> Store:
    return Store({}, set="cache[x] = x")


STORES: dict[str, tuple[str, Make]] = {
    "millpond": ("millpond", millpond()),
    "millpond lru": ("millpond", millpond("lru")),
    "cachebox lru": ("cachebox", cachebox_lru),
    "cachebox ttl": ("cachebox", cachebox_ttl),
    "moka-py": ("moka-py", moka),
    "cachetools+lock": ("cachetools", cachetools),
    "theine": ("theine", theine),
    "dict": ("", plain_dict),
}


def timed(context: Context, store: Store, statement: str, sequence: Inputs) -> TimedLoop:
    return TimedLoop(context, statement, {"cache": store.cache, **store.names}, sequence)


def filled(make: Make, keys: list[Any], size: int) -> Store:
    """Return a cache that holds all of `keys`, put there by its own `set` statement.

    Raises Unavailable if it does not hold them: what is then measured would not be hits.
    """
    store = make(size)
    # The statement is run by a loop over exactly these keys, outside of any sample.
    loop = timed(Context(sample_ns=0), store, store.set, keys)
    loop._loop(keys)
    asked = keys[:: max(1, len(keys) // 10_000)]
    missed = sum(store.cache.get(key) != store.hit(key) for key in asked)
    if missed > len(asked) // 100:
        raise Unavailable(f"misses {missed} of {len(asked)} keys that it should hold")
    return store


def _get_row(kind: str) -> Row:
    keys = inputs.universe(kind, SIZE)
    drawn = inputs.zipf(keys)

    def contender(name: str, peer: str, make: Make) -> Contender:
        def prepare(context: Context) -> Sampler:
            store = filled(make, keys, SIZE)
            return timed(context, store, store.get, drawn)

        return Contender(name, prepare, peer)

    rivals = [name for name in STORES if not name.startswith("millpond") and name != "dict"]
    return Row(
        name=f"get/{kind}",
        title=f"`cache.get(key)` with a TTL, Zipf over a full cache of 1,000 {kind} keys",
        contenders=tuple(contender(name, *how) for name, how in STORES.items()),
        baseline="cachebox lru",
        targets=(
            *(Target(1.0, of=rival) for rival in rivals),
            Target(1.0, of="cachebox lru", whose="millpond lru"),
        ),
    )


def _set_row(name: str, title: str, fresh: Callable[[list[Any]], Inputs], *, bounded: bool) -> Row:
    keys = inputs.universe("str", SIZE)

    def contender(who: str, peer: str, make: Make) -> Contender:
        def prepare(context: Context) -> Sampler:
            store = filled(make, keys, SIZE)
            return timed(context, store, store.set, fresh(keys))

        return Contender(who, prepare, peer)

    return Row(
        name=name,
        title=title,
        contenders=tuple(
            contender(who, *how) for who, how in STORES.items() if not (bounded and who == "dict")
        ),
        baseline="cachebox lru",
    )


def rows() -> list[Row]:
    return [
        _get_row("str"),
        _get_row("int"),
        _set_row(
            "set/replace",
            "`cache.set(key, value)` of a key that is there, Zipf over 1,000 str keys",
            inputs.zipf,
            bounded=False,
        ),
        _set_row(
            "set/evict",
            "`cache.set(key, value)` of a new key into a full cache of 1,000",
            lambda keys: inputs.new_keys("str"),
            bounded=True,
        ),
    ]
