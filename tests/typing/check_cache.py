"""What type checkers make of Cache, its statistics and the scopes. Never executed."""

from typing import assert_type

import millpond as mp

cache = mp.Cache(max_entries=1000, max_bytes="64MiB", policy="lru", ttl="10m")
assert_type(cache.set("key", 1, ttl=60, tags=("tag",), cost=0.01), bool)
assert_type(cache.get_or_set("key", 1), int)
assert_type(cache.ttl("key"), float | None)
assert_type(cache.incr("hits"), int)
assert_type(cache.invalidate(tags="tag"), int)
assert_type(cache.dump(), bytes)
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
