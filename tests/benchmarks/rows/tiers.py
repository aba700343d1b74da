"""The whole way of a call through a tier: key, breaker, look-up, stamps, decoding, hand-over.

The functions here keep nothing in memory (`max_entries=0`), so every call is a tier's hit.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
import time
from collections.abc import Callable
from typing import Any

from .. import peers
from ..loops import AsyncTimedLoop, TimedLoop, new_event_loop
from ..model import Contender, Context, Row, Sampler, Target
from . import postgres, redis

DATA = bytes(range(256)) * 4
COUNT = 500
INPUTS = list(range(COUNT))
BATCHES = [list(range(start, start + 100)) for start in range(0, 400, 8)] * 4
CLIENT = redis.CLIENT

Make = Callable[[Context], Sampler]


def _engine(context: Context, **given: Any) -> Any:
    made = peers.need("millpond.engine").Engine(namespace="bench", **given)
    context.cleanup.callback(made.close)
    return made


def _cached(mill: Any) -> Any:
    """A function whose results are in the tier and nowhere else."""

    @mill.with_cache(namespace="bench", max_entries=0, ttl="1h", lock=False)
    def cached(_number: int) -> bytes:
        return DATA

    for number in INPUTS:
        cached(number)
    return cached


def _acached(mill: Any) -> Any:
    @mill.with_cache(namespace="bench", max_entries=0, ttl="1h", lock=False)
    async def cached(_number: int) -> bytes:
        return DATA

    return cached


def _hit(**given: Any) -> Make:
    def prepare(context: Context) -> Sampler:
        options = {name: value() for name, value in given.items()}
        return TimedLoop(context, "f(x)", {"f": _cached(_engine(context, **options))}, INPUTS)

    return prepare


def _file(context: Context) -> str:
    return str(context.cleanup.enter_context(tempfile.TemporaryDirectory()))


def _sqlite_hit(context: Context) -> Sampler:
    mill = _engine(context, data_dir=_file(context) + "/data")
    return TimedLoop(context, "f(x)", {"f": _cached(mill)}, INPUTS)


def _diskcache(context: Context) -> Sampler:
    made = peers.need("diskcache").Cache(_file(context))
    context.cleanup.callback(made.close)
    for number in INPUTS:
        made.set(number, DATA, expire=3600)
    return TimedLoop(context, "f(x)", {"f": made.get}, INPUTS)


def _redis_ahit(context: Context) -> Sampler:
    loop = new_event_loop(context)
    mill = _engine(context, redis=redis.server().url, database=False)
    cached = _acached(mill)

    async def fill() -> None:
        for number in INPUTS:
            await cached(number)

    loop.run_until_complete(fill())
    return AsyncTimedLoop(context, loop, "await f(x)", {"f": cached}, INPUTS)


def _aiocache(context: Context) -> Sampler:
    loop = new_event_loop(context)
    client = peers.need("redis.asyncio").Redis.from_url(redis.server().url)
    made = peers.need("aiocache.backends.redis").RedisCache(client, namespace="aiocache")
    made.serializer = peers.need("aiocache.serializers").PickleSerializer()

    async def fill() -> None:
        for number in INPUTS:
            await made.set(str(number), DATA, ttl=3600)

    loop.run_until_complete(fill())
    context.cleanup.callback(lambda: loop.run_until_complete(client.aclose()))
    return AsyncTimedLoop(context, loop, "await f(x)", {"f": made.get}, [str(x) for x in INPUTS])


def _cashews(context: Context) -> Sampler:
    loop = new_event_loop(context)
    made = peers.need("cashews").Cache()

    async def fill() -> None:
        made.setup(redis.server().url, client_side=False)
        for number in INPUTS:
            await made.set(f"cashews:{number}", DATA, expire=3600)

    async def close() -> None:
        with contextlib.suppress(Exception):
            await made.close()

    loop.run_until_complete(fill())
    context.cleanup.callback(lambda: loop.run_until_complete(close()))
    keys = [f"cashews:{number}" for number in INPUTS]
    return AsyncTimedLoop(context, loop, "await f(x)", {"f": made.get}, keys)


def _redis_many(context: Context) -> Sampler:
    mill = _engine(context, redis=redis.server().url, database=False)
    cache = mill.cache("bench", max_entries=0)
    cache.set_many(dict.fromkeys(INPUTS, DATA), ttl="1h")
    return TimedLoop(context, "f(x)", {"f": cache.get_many}, BATCHES)


def _redis_amany(context: Context) -> Sampler:
    loop = new_event_loop(context)
    mill = _engine(context, redis=redis.server().url, database=False)
    cache = mill.cache("bench", max_entries=0)
    loop.run_until_complete(cache.aset_many(dict.fromkeys(INPUTS, DATA), ttl="1h"))
    return AsyncTimedLoop(context, loop, "await f(x)", {"f": cache.aget_many}, BATCHES)


@functools.cache
def _cluster() -> Any:
    """Three primaries and no replicas, of the tests' own; they end with this process."""
    redis.server()  # Says what is missing.
    from tests.integration.servers import RedisCluster

    return contextlib.ExitStack().enter_context(RedisCluster(replicas=0))


def _cluster_many(context: Context) -> Sampler:
    nodes = ",".join(f"{host}:{port}" for host, port in _cluster().addresses)
    mill = _engine(context, redis=f"redis+cluster://{nodes}", database=False)
    cache = mill.cache("bench", max_entries=0)
    cache.set_many(dict.fromkeys(INPUTS, DATA), ttl="1h")
    return TimedLoop(context, "f(x)", {"f": cache.get_many}, BATCHES)


def _cluster_client(context: Context) -> Sampler:
    host, port = _cluster().addresses[0]
    client = peers.need("redis").RedisCluster(host, port)
    context.cleanup.callback(client.close)
    for number in INPUTS:
        client.set(f"plain:{number}", DATA)
    batches = [[f"plain:{number}" for number in batch] for batch in BATCHES]
    return TimedLoop(context, "f(x)", {"f": client.mget_nonatomic}, batches)


def _miss(where: Callable[[Context], dict[str, Any]], *, lock: bool) -> Make:
    """A call that finds nothing, calls the function and stores what it gave."""

    def prepare(context: Context) -> Sampler:
        mill = _engine(context, **where(context))

        @mill.with_cache(namespace="bench", max_entries=0, ttl="10s", lock=lock)
        def cached(_number: int) -> bytes:
            return DATA

        first = time.monotonic_ns()  # Numbers that no process has used before.
        names = {"f": cached, "n": itertools.count(first)}
        return TimedLoop(context, "f(next(n))", names, INPUTS)

    return prepare


def _misses(name: str, where: Callable[[Context], dict[str, Any]]) -> Row:
    return Row(
        name=f"tiers/{name}-miss",
        title="a miss that calls the function and stores 1 KB, with the lease and without",
        contenders=(
            Contender("millpond", _miss(where, lock=True), "millpond"),
            Contender("no lease", _miss(where, lock=False), "millpond"),
        ),
        baseline="no lease",
    )


def _nowhere() -> str:
    return "redis://127.0.0.1:1/0"


def _out(context: Context) -> Sampler:
    mill = _engine(context, redis=_nowhere(), database=False)

    @mill.with_cache(namespace="bench", max_entries=0)
    def cached(number: int) -> int:
        return number

    for number in range(100):
        cached(number)
    return TimedLoop(context, "f(x)", {"f": cached}, INPUTS)


def _memory_miss(context: Context) -> Sampler:
    with_cache = peers.need("millpond").with_cache

    @with_cache(max_entries=0)
    def cached(number: int) -> int:
        return number

    return TimedLoop(context, "f(x)", {"f": cached}, INPUTS)


def rows() -> list[Row]:
    def url() -> str:
        return str(redis.server().url)

    return [
        Row(
            name="tiers/redis-hit",
            title="a call that Redis answers, 1 KB, beside redis-py's GET of the same",
            contenders=(
                Contender("millpond", _hit(redis=url, database=lambda: False), "millpond"),
                Contender(CLIENT, redis.client("get", redis.KEYS), "redis"),
            ),
            baseline=CLIENT,
            targets=(Target(1.0, of=CLIENT),),
        ),
        Row(
            name="tiers/redis-ahit",
            title="the same in an event loop, beside those who cache there",
            contenders=(
                Contender("millpond", _redis_ahit, "millpond"),
                Contender(CLIENT, redis.client_async("get", redis.KEYS), "redis"),
                Contender("aiocache", _aiocache, "aiocache"),
                Contender("cashews", _cashews, "cashews"),
            ),
            baseline=CLIENT,
            targets=(Target(1.0, of=CLIENT),),
        ),
        Row(
            name="tiers/redis-get-many",
            title="get_many of 100 values that Redis has, beside redis-py's MGET",
            contenders=(
                Contender("millpond", _redis_many, "millpond"),
                Contender(CLIENT, redis.client("mget", redis.BATCHES), "redis"),
            ),
            baseline=CLIENT,
            targets=(Target(1.25, of=CLIENT),),
        ),
        Row(
            name="tiers/redis-aget-many",
            title="the same in an event loop",
            contenders=(
                Contender("millpond", _redis_amany, "millpond"),
                Contender(CLIENT, redis.client_async("mget", redis.BATCHES), "redis"),
            ),
            baseline=CLIENT,
            targets=(Target(1.25, of=CLIENT),),
        ),
        Row(
            name="tiers/cluster-get-many",
            title="get_many of a Cluster of three primaries, beside redis-py's mget_nonatomic",
            contenders=(
                Contender("millpond", _cluster_many, "millpond"),
                Contender(CLIENT, _cluster_client, "redis"),
            ),
            baseline=CLIENT,
        ),
        _misses("redis", lambda _: {"redis": url(), "database": False}),
        _misses("sqlite", lambda context: {"data_dir": _file(context) + "/data"}),
        _misses("postgres", lambda _: {"database": postgres.server().url}),
        Row(
            name="tiers/sqlite-hit",
            title="a call that the SQLite file answers, 1 KB, beside diskcache's get",
            contenders=(
                Contender("millpond", _sqlite_hit, "millpond"),
                Contender("diskcache", _diskcache, "diskcache"),
            ),
            baseline="diskcache",
            targets=(Target(0.8, of="diskcache"),),
        ),
        Row(
            name="tiers/postgres-hit",
            title="a call that PostgreSQL answers, 1 KB, beside a bare prepared SELECT",
            contenders=(
                Contender("millpond", _hit(database=lambda: postgres.server().url), "millpond"),
                Contender(postgres.BARE, postgres.bare, "psycopg"),
            ),
            baseline=postgres.BARE,
            targets=(Target(1.25, of=postgres.BARE),),
        ),
        Row(
            name="tiers/out",
            title="a call while every tier is out, beside the same without tiers",
            contenders=(
                Contender("millpond", _out, "millpond"),
                Contender("memory", _memory_miss, "millpond"),
            ),
            baseline="memory",
            targets=(Target(5000, of="memory", excess=True),),
        ),
    ]
