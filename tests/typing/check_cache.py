"""What type checkers make of Cache, its statistics and the scopes. Never executed."""

from collections.abc import Awaitable, Mapping
from typing import Any, assert_type

import millpond as mp
from millpond.testing import ManualClock

cache = mp.Cache(max_entries=1000, max_bytes="64MiB", policy="lru", ttl="10m")
assert_type(cache.set("key", 1, ttl=60, tags=("tag",), cost=0.01), bool)
assert_type(cache.get_or_set("key", 1), int)
assert_type(cache.ttl("key"), float | None)
assert_type(cache.incr("hits"), int)
assert_type(cache.invalidate(tags="tag"), int)
assert_type(cache.dump(), bytes)


def load_many(keys: list[Any]) -> dict[Any, Any]:
    return dict.fromkeys(keys)


async def load_many_later(keys: list[Any]) -> Mapping[Any, Any]:
    return dict.fromkeys(keys)


assert_type(cache.get_or_load_many("ab", load_many), dict[Any, Any])
assert_type(cache.get_or_load_many("ab", load_many_later, ttl=60), Awaitable[dict[Any, Any]])
cache.get_or_load_many(
    "ab",
    len,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
)
mp.Cache(clock=ManualClock(start=1.0))
info = cache.stats()
assert_type(info, mp.CacheInfo)
assert_type(info.coalesced, int)
assert_type(info.miss_reasons, dict[str, int])
mp.Cache(policy="random")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

with mp.observe() as calls:
    assert_type(calls, list[mp.CallRecord])
with mp.cache_control(no_store=True, max_age="5m"), mp.disabled():
    pass


@mp.with_cache(cache=cache, tags=("user:{user_id}",))
def load(user_id: int) -> str:
    return str(user_id)


assert_type(load(1), str)
assert_type(load.cache_info().cost_saved, float)
